"""KDM-F: a complex factorisation whose eigenvalues are parameters (KDM App. C).

The paper lifts z to [z; 0], applies P_inv Lambda P in real block form and keeps the first half. With complex
matrices that is M = Re(P_inv Lambda P), a real d x d map. Its eigenvalues are not those of Lambda, since half
of the lifted vector is dropped: `spectrum()` tells both.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from koopstep.core.config import Config
from koopstep.core.errors import UsageError
from koopstep.operators.flat import FlatOperator
from koopstep.operators.spectrum import Spectrum


class FactorisedConfig(Config):
    """KDM-F. The eigenvalues start uniformly over a ring sector, by area.

    The start keeps the latent: moduli near 1 and small phases make a map near the identity. The published
        code starts
    over the whole disk instead: smallest_modulus 0, largest_modulus 1, largest_phase 6.283.

    Attributes:
        smallest_modulus, largest_modulus: of the eigenvalues set at the start, in [0, 1].
        largest_phase: in radians; phases start in [0, largest_phase].
    """

    kind: Literal["factorised"] = "factorised"
    smallest_modulus: float = Field(default=0.9, ge=0, le=1)
    largest_modulus: float = Field(default=0.999, ge=0, le=1)
    largest_phase: float = Field(default=math.pi / 10, ge=0)


class FactorisedOperator(FlatOperator):
    """z' = Re(P_inv Lambda P) z with lambda_j = exp(-exp(nu_j)) e^{i theta_j}, |lambda_j| < 1 (KDM App. C).

    P_re and P_im start orthonormal, as the paper says, and related by a reflection, P_im = P_re W with W =
    W^T = W^-1, which makes P a multiple of a unitary matrix (all singular values sqrt(2)); random ones
    without that relation give a nearly singular P. P_inv is learned by itself and starts at the exact
    inverse, P^H / 2. At the start the norm of the map is therefore at most max |lambda|. Nothing keeps P
    orthonormal or P_inv an inverse in training; add `inverse_consistency()` to the loss for that (the
    published code does, the paper does not tell).
    """

    def __init__(self, config: FactorisedConfig, shape: tuple[int, ...], generator: Generator) -> None:
        super().__init__(shape, continuous=False)
        dimension = self.dimension
        if config.smallest_modulus > config.largest_modulus:
            raise UsageError(
                f"operator: smallest_modulus {config.smallest_modulus} is above largest_modulus "
                f"{config.largest_modulus}"
            )
        first = _orthogonal(dimension, generator)
        reflector = _orthogonal(dimension, generator)
        signs = torch.ones(dimension)
        signs[::2] = -1
        second = first @ (reflector * signs @ reflector.T)
        self.forward_real = nn.Parameter(first)
        self.forward_imag = nn.Parameter(second)
        self.inverse_real = nn.Parameter(first.T.contiguous() / 2)
        self.inverse_imag = nn.Parameter(-second.T.contiguous() / 2)
        area = torch.rand(dimension, generator=generator)
        low, high = config.smallest_modulus**2, config.largest_modulus**2
        # exp(-exp(nu)) reaches neither 0 nor 1; nu stays where it still has a gradient
        modulus = torch.sqrt(low + (high - low) * area).clamp(1e-4, 1 - 1e-5)
        self.nu = nn.Parameter(torch.log(-torch.log(modulus)))
        self.theta = nn.Parameter(config.largest_phase * torch.rand(dimension, generator=generator))

    def controlled_eigenvalues(self) -> tuple[Tensor, Tensor]:
        modulus = torch.exp(-torch.exp(self.nu))
        return modulus * torch.cos(self.theta), modulus * torch.sin(self.theta)

    def matrix(self, du: float | Tensor = 1.0) -> Tensor:
        if not self._is_one(du):
            return torch.eye(self.dimension).to(self.nu)
        real, imag = self.controlled_eigenvalues()
        scaled_real = self.inverse_real * real - self.inverse_imag * imag  # P_inv Lambda, its two parts
        scaled_imag = self.inverse_real * imag + self.inverse_imag * real
        return scaled_real @ self.forward_real - scaled_imag @ self.forward_imag

    def spectrum(self) -> Spectrum:
        spectrum = super().spectrum()
        real, imag = (part.detach().double().cpu() for part in self.controlled_eigenvalues())
        return Spectrum(eigenvalues=spectrum.eigenvalues, lifted=torch.complex(real, imag))

    def inverse_consistency(self) -> Tensor:
        """Returns the mean squares of P_inv P - I and P P_inv - I over the real 2d x 2d blocks, summed.

        A scalar, formed from d x d products: a block matrix holds its real and imaginary part twice each.
        From the published code, not in the paper.
        """
        total = torch.zeros_like(self.nu[0])
        forward, inverse = (self.forward_real, self.forward_imag), (self.inverse_real, self.inverse_imag)
        for (left_real, left_imag), (right_real, right_imag) in ((inverse, forward), (forward, inverse)):
            real = left_real @ right_real - left_imag @ right_imag
            imag = left_real @ right_imag + left_imag @ right_real
            difference = real - torch.eye(self.dimension).to(real)
            total = total + (difference.square().mean() + imag.square().mean()) / 2
        return total

    def _advance(self, latent: Tensor, du: Tensor, condition: Tensor | None) -> Tensor:
        # folding costs 2 d^3 + B d^2 multiplications, the four thin products 4 B d^2
        if 3 * len(latent) > 2 * self.dimension:
            moved = latent @ self.matrix().T
        else:
            real, imag = self.controlled_eigenvalues()
            inner_real, inner_imag = latent @ self.forward_real.T, latent @ self.forward_imag.T
            moved = (inner_real * real - inner_imag * imag) @ self.inverse_real.T
            moved = moved - (inner_real * imag + inner_imag * real) @ self.inverse_imag.T
        return moved if condition is None else moved + condition


def _orthogonal(dimension: int, generator: Generator) -> Tensor:
    orthogonal: Tensor = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator)).Q
    return orthogonal.contiguous()
