"""The spectral operator: conjugate pairs between a basis and its true inverse, a flow with exact spectrum."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from koopstep.core.config import Config
from koopstep.core.errors import NumericsError, UsageError
from koopstep.operators.exponential import expm, rotation, rotation_integral
from koopstep.operators.flat import FlatOperator
from koopstep.operators.spectrum import Spectrum


class SpectralConfig(Config):
    """A continuous operator with eigenvalues as parameters.

    Attributes:
        orthogonal: keeps the basis orthogonal by construction, so that the map is normal and nothing
            transient grows.
        stable: bounds every |eigenvalue| by 1, by parametrisation.
        basis: where the basis starts: a random orthogonal matrix, or the identity. Both have condition number
            1.
        initial_rate: growth rate alpha of every pair at the start, per unit of u; below 0 when `stable`.
        initial_frequency: the angular frequencies start evenly spread over (0, initial_frequency], in radians
            per unit of u.
        real_modes: how many eigenvalues are single and real (and positive) instead of members of a pair; one
            more where an odd number would be left for pairs. A pair cannot become two different real ones.
    """

    kind: Literal["spectral"] = "spectral"
    orthogonal: bool = False
    stable: bool = True
    basis: Literal["orthogonal", "identity"] = "orthogonal"
    initial_rate: float = -0.05
    initial_frequency: float = Field(default=1.0, ge=0)
    real_modes: int = Field(default=0, ge=0)


class SpectralOperator(FlatOperator):
    """z' = P e^{B du} P^-1 z, B of 2x2 blocks [[alpha, beta], [-beta, alpha]], then 1x1 ones.

    The eigenvalues of the applied map are e^{(alpha +- i beta) du} exactly: unlike KDM-F nothing is dropped,
    and unlike a dense matrix no eigendecomposition is needed to penalise them. The semigroup law is exact for
    every P.
    """

    def __init__(self, config: SpectralConfig, shape: tuple[int, ...], generator: Generator) -> None:
        super().__init__(shape, continuous=True)
        dimension = self.dimension
        if config.stable and config.initial_rate >= 0:
            raise UsageError(
                f"operator: initial_rate is {config.initial_rate}; a stable one starts below 0, such as -0.05"
            )
        self.orthogonal, self.stable = config.orthogonal, config.stable
        if config.real_modes > dimension:
            raise UsageError(f"operator: real_modes is {config.real_modes}, more than the dimension {dimension}")
        self.pairs = (dimension - config.real_modes) // 2
        if config.basis == "orthogonal":
            start = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator))[0].contiguous()
        else:
            start = torch.eye(dimension)
        if config.orthogonal:  # P = start e^{S - S^T}
            self.register_buffer("start", start)
            self.start: Tensor
            self.basis_weight = nn.Parameter(torch.zeros(dimension, dimension))
        else:
            self.basis_weight = nn.Parameter(start)
        rate = config.initial_rate
        raw = math.log(math.expm1(-rate)) if config.stable else rate  # softplus(raw) = -rate
        self.rate_weight = nn.Parameter(torch.full((dimension - self.pairs,), raw))
        steps = torch.arange(1, self.pairs + 1, dtype=torch.get_default_dtype())
        self.frequency = nn.Parameter(config.initial_frequency * steps / max(self.pairs, 1))

    def growth(self) -> Tensor:
        """Returns alpha per unit of u, one a pair, then one a real mode; shape (d - pairs,)."""
        return -nn.functional.softplus(self.rate_weight) if self.stable else self.rate_weight

    def basis(self) -> Tensor:
        """Returns P, shape (d, d): its columns 2j and 2j+1 span the plane of pair j."""
        if not self.orthogonal:
            return self.basis_weight
        turned = self.start @ expm(self.basis_weight - self.basis_weight.T)
        # one Newton step towards the nearest orthogonal matrix squares away the rounding of the product, and
        # that of a start drawn in float32 and moved to float64
        return 1.5 * turned - 0.5 * turned @ (turned.T @ turned)

    def matrix(self, du: float | Tensor = 1.0) -> Tensor:
        step = torch.as_tensor(du, dtype=self.frequency.dtype, device=self.frequency.device)
        eye = torch.eye(self.dimension).to(step)
        return torch.where(step == 0, eye, self._advance(eye, step, None).T)

    def controlled_eigenvalues(self) -> tuple[Tensor, Tensor]:
        rates, frequency = self.growth(), self.frequency
        growth = torch.exp(rates[: self.pairs])
        real, imag = growth * torch.cos(frequency), growth * torch.sin(frequency)
        single = torch.exp(rates[self.pairs :])
        return torch.cat([real, real, single]), torch.cat([imag, -imag, torch.zeros_like(single)])

    def spectrum(self) -> Spectrum:
        rates, frequency = (part.detach().double().cpu() for part in (self.growth(), self.frequency))
        pairs = torch.exp(torch.complex(rates[: self.pairs], frequency))
        single = torch.exp(rates[self.pairs :]).to(pairs.dtype)
        eigenvalues = torch.cat([torch.stack([pairs, pairs.conj()], dim=-1).flatten(), single])
        if not bool(torch.isfinite(torch.view_as_real(eigenvalues)).all()):
            raise NumericsError("operator: its eigenvalues hold NaN or infinity; train it again")
        return Spectrum(eigenvalues=eigenvalues)

    def _control(self) -> Tensor | None:
        one = torch.ones((), dtype=self.frequency.dtype, device=self.frequency.device)
        eye = torch.eye(self.dimension).to(one)
        return self._advance(torch.zeros_like(eye), one, eye).T.contiguous()

    def _advance(self, latent: Tensor, du: Tensor, condition: Tensor | None) -> Tensor:
        basis = self.basis()
        step = du if du.ndim == 0 else du[:, None]
        moved = self._blocks(self._to_modes(latent, basis), step, integral=False)
        if condition is not None:
            moved = moved + self._blocks(self._to_modes(condition, basis), step, integral=True)
        return moved @ basis.T

    def _to_modes(self, latent: Tensor, basis: Tensor) -> Tensor:
        """P^-1 z for each row z."""
        if self.orthogonal:
            return latent @ basis
        try:
            modes: Tensor = torch.linalg.solve(basis, latent.T).T
            return modes
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # documented, not exported
            raise NumericsError(
                "operator: the basis of the spectral operator became singular; "
                "set orthogonal: true or lower the learning rate"
            ) from error

    def _blocks(self, modes: Tensor, step: Tensor, *, integral: bool) -> Tensor:
        """Applies e^{B step}, or its integral over [0, step], to each row of modes."""
        entries = rotation_integral if integral else rotation
        rates, pairs = self.growth(), self.pairs
        cosine, sine = entries(rates[:pairs], self.frequency, step)
        first, second = modes[:, 0 : 2 * pairs : 2], modes[:, 1 : 2 * pairs : 2]
        turned = torch.stack([cosine * first + sine * second, cosine * second - sine * first], dim=-1).flatten(1)
        if self.dimension == 2 * pairs:
            return turned
        single, _ = entries(rates[pairs:], torch.zeros_like(rates[pairs:]), step)
        return torch.cat([turned, single * modes[:, 2 * pairs :]], dim=1)
