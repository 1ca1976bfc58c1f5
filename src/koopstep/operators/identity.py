"""The control: no operator at all. What an experiment gains over this one is what the operator gives."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor

from koopstep.core.config import Config
from koopstep.operators.base import Operator, check_matrix
from koopstep.operators.spectrum import Spectrum


class IdentityConfig(Config):
    """No operator: the latent stays as it is."""

    kind: Literal["identity"] = "identity"


class IdentityOperator(Operator):
    """z' = z + du c, with c the control input; it has no parameters and every eigenvalue is 1."""

    still = True

    def __init__(self, config: IdentityConfig, shape: tuple[int, ...], generator: Generator) -> None:
        super().__init__(shape, continuous=True)
        # knows the device and dtype of the module; not part of the saved weights
        self.register_buffer("place", torch.zeros(()), persistent=False)
        self.place: Tensor

    def matrix(self, du: float | Tensor = 1.0) -> Tensor:
        check_matrix(self.shape)
        return torch.eye(self.dimension).to(self.place)

    def controlled_eigenvalues(self) -> tuple[Tensor, Tensor]:
        return self.place.new_ones(self.dimension), self.place.new_zeros(self.dimension)

    def spectrum(self) -> Spectrum:
        return Spectrum(eigenvalues=torch.ones(self.dimension, dtype=torch.complex128))

    def _move(self, latent: Tensor, step: float | Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            return latent
        du = torch.as_tensor(step, dtype=latent.dtype, device=latent.device)
        return latent + (du if du.ndim == 0 else du.view(-1, *[1] * len(self.shape))) * condition.to(latent.dtype)
