"""The dense operator: one learned (d, d) matrix, applied once (KDM) or as the flow of a generator."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from koopstep.core.config import Config
from koopstep.operators.exponential import expm, expm_with_integral
from koopstep.operators.flat import FlatOperator


class DenseConfig(Config):
    """A dense operator.

    Attributes:
        affine: adds a learned bias (the published KDM code has one; the paper's operator is linear).
        continuous: the matrix is the generator A of a flow, dz/du = A z + b, instead of the map itself.
        init: "identity" starts from the map that changes nothing; "default" as `torch.nn.Linear` does.
    """

    kind: Literal["dense"] = "dense"
    affine: bool = False
    continuous: bool = False
    init: Literal["identity", "default"] = "identity"


class DenseOperator(FlatOperator):
    """z' = M z + b (KDM Eq. 6), or, continuous, z' = e^{A du} z + (integral of e^{sA} over [0, du]) b."""

    def __init__(self, config: DenseConfig, shape: tuple[int, ...], generator: Generator) -> None:
        super().__init__(shape, continuous=config.continuous)
        dimension = self.dimension
        bound = 1 / math.sqrt(dimension)

        def uniform(*shape: int) -> Tensor:
            return torch.empty(shape).uniform_(-bound, bound, generator=generator)

        if config.init == "default":
            weight = uniform(dimension, dimension)
        else:
            weight = torch.zeros(dimension, dimension) if config.continuous else torch.eye(dimension)
        self.weight = nn.Parameter(weight)
        self.offset: nn.Parameter | None = None
        if config.affine:
            self.offset = nn.Parameter(uniform(dimension) if config.init == "default" else torch.zeros(dimension))

    def matrix(self, du: float | Tensor = 1.0) -> Tensor:
        if self.continuous:
            return expm(self.weight * du)
        return self.weight if self._is_one(du) else torch.eye(self.dimension).to(self.weight)

    def bias(self) -> Tensor | None:
        if self.offset is None or not self.continuous:
            return self.offset
        return expm_with_integral(self.weight)[1] @ self.offset

    def _control(self) -> Tensor | None:
        return expm_with_integral(self.weight)[1] if self.continuous else None

    def _advance(self, latent: Tensor, du: Tensor, condition: Tensor | None) -> Tensor:
        if du.ndim == 1 and self.continuous:
            return self._advance_rows(latent, du, condition)
        drive = condition
        if self.offset is not None:
            drive = self.offset if drive is None else drive + self.offset
        if not self.continuous:
            moved = latent @ self.weight.T
            return moved if drive is None else moved + drive
        if drive is None:
            return latent @ expm(self.weight * du).T
        exponential, integral = expm_with_integral(self.weight * du)
        return latent @ exponential.T + du * (drive @ integral.T)

    def _advance_rows(self, latent: Tensor, du: Tensor, condition: Tensor | None) -> Tensor:
        """One exponential for each distinct step; for each row where gradients reach du."""
        if du.requires_grad:
            groups = list(torch.arange(len(du), device=du.device)[:, None])
        else:
            groups = [torch.nonzero(du == step)[:, 0] for step in torch.unique(du)]
        moved = [
            self._advance(latent[rows], du[rows[0]], None if condition is None else condition[rows]) for rows in groups
        ]
        return torch.cat(moved)[torch.argsort(torch.cat(groups))] if groups else latent
