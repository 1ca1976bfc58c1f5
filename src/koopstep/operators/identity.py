"""The control: no operator at all. What an experiment gains over this one is what the operator gives."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor

from koopstep.core.config import Config
from koopstep.operators.base import Operator


class IdentityConfig(Config):
    """No operator: the latent stays as it is."""

    kind: Literal["identity"] = "identity"


class IdentityOperator(Operator):
    """z' = z + du c, with c the control input; it has no parameters and every eigenvalue is 1."""

    folds = False

    def __init__(self, config: IdentityConfig, dimension: int, generator: Generator) -> None:
        super().__init__(dimension, continuous=True)
        # knows the device and dtype of the module; not part of the saved weights
        self.register_buffer("place", torch.zeros(()), persistent=False)
        self.place: Tensor

    def matrix(self, du: float | Tensor = 1.0) -> Tensor:
        return torch.eye(self.dimension).to(self.place)

    def _advance(self, latent: Tensor, du: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            return latent
        return latent + (du if du.ndim == 0 else du[:, None]) * condition
