"""Koopman modes of the state itself: a level that holds images, each of which turns and grows at one rate.

The Koopman mode decomposition with the state as observable (Mezic 2005, Nonlinear Dynamics 41; Rowley et al. 2009, J. Fluid
Mech. 641): the state at progress u is a sum of images that do not depend on u, each times ``e^{alpha u}`` and turned by
``beta u``.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from koopstep.core.config import Config
from koopstep.core.errors import NumericsError, UsageError
from koopstep.operators.base import Operator, check_matrix
from koopstep.operators.exponential import rotation
from koopstep.operators.rates import Rates, advance
from koopstep.operators.spectrum import Spectrum

_FIRST_DECAY, _FIRST_TURN = 2.0, 6.0  # of a level that knows nothing of its path; every further mode is as much faster
_SPREAD = 0.1  # of each such rate, by the seed

Finite = Annotated[float, Field(allow_inf_nan=False)]


class ModesOperatorConfig(Config):
    """A :class:`ModesOperator`.

    Attributes:
        modes: K, besides the constant image and the remainder.
        real: how many of them, the last ones, grow and do not turn.
        rates: learned (``free``), or kept as they start (``fixed``).
        shared_by: whose rates are the same: of ``all`` paths, of those of a ``class``, or each ``noise`` has its own.
        growth_rates: the initial alpha of each mode, and of the remainder last; when absent, a student of modes takes those
            that fit a Gaussian's path along its schedule.
        rotation_rates: the initial beta of each mode that turns, radians per unit of u; when absent, the same.
    """

    kind: Literal["modes"] = "modes"
    modes: int = Field(default=2, ge=0)
    real: int = Field(default=0, ge=0)
    rates: Literal["free", "fixed"] = "free"
    shared_by: Literal["all", "class", "noise"] = "all"
    growth_rates: tuple[Finite, ...] | None = None
    rotation_rates: tuple[Finite, ...] | None = None

    @property
    def images(self) -> int:
        """M: the constant image, the modes, the remainder."""
        return self.modes + 2

    @property
    def turning(self) -> int:
        """The modes with a second image."""
        return self.modes - self.real

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.real > self.modes:
            raise ValueError(f"real {self.real} is more than the {self.modes} modes there are")
        if self.growth_rates is not None and len(self.growth_rates) != self.modes + 1:
            raise ValueError(
                f"growth_rates needs one for each of the {self.modes} modes and one for the remainder, "
                f"got {len(self.growth_rates)}"
            )
        if self.rotation_rates is not None and len(self.rotation_rates) != self.turning:
            raise ValueError(
                f"rotation_rates needs one for each of the {self.turning} modes that turn, got {len(self.rotation_rates)}"
            )
        return self


class ModesOperator(Operator):
    """A level of M = K + 2 images and M partners, moved along exactly.

    The level is (C, H, W), or (D,) for vectors; C is 2 M c. Its first half holds M images of c channels: the constant c_0,
    the modes a_1 to a_K, the remainder r. Its second half holds their partners 0, b_1 to b_K, 0. Image and partner of mode k
    turn into each other and grow at the rates alpha_k and beta_k. With ``shared_by`` other than ``all`` the last channel of
    each image and of its partner is no picture: it holds what the row adds to alpha and to beta, and stays as it is.
    """

    growth: Tensor
    rotation: Tensor
    _numbers: Tensor

    def __init__(self, config: ModesOperatorConfig, shape: tuple[int, ...], generator: Generator) -> None:
        super().__init__(shape, continuous=True)
        if len(shape) not in (1, 3):
            raise UsageError(f"operator: modes are of levels (D,) or (C, H, W), got shape {shape}")
        carried = config.shared_by != "all"
        if shape[0] % (2 * config.images) or shape[0] // (2 * config.images) <= carried:
            raise UsageError(
                f"operator: {config.modes} modes, a constant and a remainder with their partners need a multiple of "
                f"{2 * config.images} channels, got {shape[0]}"
            )
        self.config, self.carried, self.state_dependent = config, carried, carried
        self.width = shape[0] // (2 * config.images)
        self.register_buffer("_numbers", torch.arange(config.images), persistent=False)
        growth, rotation_ = _start(config, generator)
        if config.rates == "free":
            self.growth, self.rotation = nn.Parameter(growth), nn.Parameter(rotation_)
        else:
            self.register_buffer("growth", growth)
            self.register_buffer("rotation", rotation_)

    def mode_rates(self) -> tuple[Tensor, Tensor]:
        """Rates (M,) alpha and beta of the images in order; those that paths share, without what a row adds."""
        alpha = torch.cat([self.growth.new_zeros(1), self.growth])
        beta = self.growth.new_zeros(self.config.images)
        beta[1 : 1 + self.config.turning] = self.rotation
        return alpha, beta

    def learned_rates(self) -> Tensor:
        """1 where the alphas of the M images, and then their betas, are not 0 by definition: (2 M,)."""
        alpha, beta = self.growth.new_ones(self.config.images), self.growth.new_zeros(self.config.images)
        alpha[0] = 0
        beta[1 : 1 + self.config.turning] = 1
        return torch.cat([alpha, beta])

    def rates(self, latent: Tensor | None = None) -> Rates:
        """One rate an image, repeated for its channels: (C/2, 1, 1), or (B, C/2, H, W) where rows have their own."""
        alpha, beta = (self._every_channel(rate) for rate in self.mode_rates())
        if latent is None or not self.carried:
            return Rates(alpha, beta, self._every_mode())
        added = self._images(_as_maps(latent))[:, :, :, -1].to(alpha.dtype)
        own = [self._every_channel(rate, dim=1) for rate in added.unbind(dim=1)]
        return Rates(alpha + own[0], beta + own[1], self._every_mode())

    def rates_of_rows(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Rates alpha and beta (B, M) of each row, or (1, M) where all share them.

        Where an edit left different rates at different pixels it is their mean.
        """
        alpha, beta = self.mode_rates()
        if not self.carried:
            return alpha[None], beta[None]
        carried = self._images(latent)[:, :, :, -1].reshape(*self._images(latent).shape[:3], -1).mean(dim=3)
        return alpha + carried[:, 0], beta + carried[:, 1]

    def read(self, latent: Tensor, du: Tensor) -> Tensor:
        """The sum of the images, ``du`` further on: the states of a path, without evolving the level for each.

        Args:
            latent: (B, *shape).
            du: (N,), or (N, B) where rows have their own.

        Returns:
            (N, B, c, H, W), or (N, B, c) for vectors.
        """
        pictures = self.pictures(latent)
        with torch.autocast(device_type=latent.device.type, enabled=False):
            alpha, beta = self.rates_of_rows(latent)
            step = du.to(alpha)[..., None] if du.ndim == 2 else du.to(alpha)[:, None, None]
            weights = torch.cat(rotation(alpha, beta, step), dim=2)  # (N, B or 1, 2 M)
            flat = pictures.flatten(3).flatten(1, 2).to(weights.dtype)
            if weights.shape[1] == 1:
                states = torch.einsum("nk,bkp->nbp", weights[:, 0], flat)
            else:
                states = torch.einsum("nbk,bkp->nbp", weights, flat)
        return states.view(len(du), len(latent), *pictures.shape[3:])

    def pictures(self, latent: Tensor) -> Tensor:
        """The images of a level and their partners, (B, 2, M, c, H, W), or (B, 2, M, c) for vectors."""
        return self._images(latent)[:, :, :, : self.width - self.carried]

    def matrix(self, du: float | Tensor = 1.0) -> Tensor:
        check_matrix(self.shape)
        rates = self.rates()
        every = torch.eye(self.dimension).to(rates.alpha).view(self.dimension, *self.shape)
        step = torch.as_tensor(du, dtype=rates.alpha.dtype, device=rates.alpha.device)
        return advance(_as_maps(every), rates, step).flatten(1).T

    def controlled_eigenvalues(self) -> tuple[Tensor, Tensor]:
        rates, places = self.rates(), self.shape[1:] or (1, 1)
        size = rates.alpha.exp()
        real, imaginary = (
            part.expand(-1, *places).flatten() for part in (size * rates.beta.cos(), size * rates.beta.sin())
        )
        return torch.cat([real, real]), torch.cat([imaginary, -imaginary])

    def closeness(self) -> Tensor:
        """How near the images' rates are: a mean over pairs of ``e^{-distance^2 / 2}``, at distances in radians per u.

        A pair a whole turn apart counts as apart: the path is read within one u.
        """
        rates = torch.stack(self.mode_rates(), dim=1)
        apart = (rates[:, None] - rates[None]).square().sum(dim=2)
        first, second = torch.triu_indices(len(rates), len(rates), 1)
        return (-apart[first, second] / 2).exp().mean()

    def spectrum(self) -> Spectrum:
        """Eigenvalues ``exp(alpha +- i beta)`` over du = 1 of every number of the level.

        Raises:
            NumericsError: if a rate is not finite.
        """
        with torch.no_grad():
            rates, places = self.rates(), self.shape[1:] or (1, 1)
            alpha, beta = (rate.double().cpu().expand(-1, *places).flatten() for rate in (rates.alpha, rates.beta))
        logarithm = torch.complex(alpha, beta)
        if not bool(torch.isfinite(torch.view_as_real(logarithm)).all()):
            raise NumericsError("operator: its rates hold NaN or infinity, so it has no spectrum; train it again")
        return Spectrum(eigenvalues=torch.stack([logarithm.exp(), logarithm.conj().exp()], dim=1).flatten())

    def _move(self, latent: Tensor, step: float | Tensor, condition: Tensor | None) -> Tensor:
        maps, control = _as_maps(latent), None if condition is None else _as_maps(condition)
        rates = self.rates(maps)
        du = torch.as_tensor(step, dtype=rates.alpha.dtype, device=rates.alpha.device)
        return advance(maps, rates, du, control).view(latent.shape)

    def _every_channel(self, rate: Tensor, dim: int = 0) -> Tensor:
        """Rates of the images along ``dim`` for each of their channels, with 0 for those that carry rates."""
        every = rate.repeat_interleave(self.width, dim=dim)
        if self.carried:
            keeps = torch.ones(self.config.images, self.width, dtype=rate.dtype, device=rate.device)
            keeps[:, -1] = 0
            every = every * keeps.view(-1, *[1] * (every.ndim - dim - 1))
        return every[:, None, None] if every.ndim == 1 else every

    def _every_mode(self) -> Tensor:
        """The image that each pair of channels belongs to, (C/2, 1, 1)."""
        return self._numbers.repeat_interleave(self.width)[:, None, None]

    def _images(self, latent: Tensor) -> Tensor:
        """(B, 2, M, channels, ...) of a level (B, *shape): images, and their partners."""
        return latent.view(len(latent), 2, self.config.images, self.width, *latent.shape[2:])

    def _takes(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 3 and len(self.shape) == 3 and shape[0] == self.shape[0]


def _start(config: ModesOperatorConfig, generator: Generator) -> tuple[Tensor, Tensor]:
    """Initial rates: as they are given, else evenly apart and moved a little, by the seed."""
    growth = _given(config.growth_rates, config.modes + 1, -_FIRST_DECAY, generator)
    return growth, _given(config.rotation_rates, config.turning, _FIRST_TURN, generator)


def _given(rates: tuple[float, ...] | None, count: int, step: float, generator: Generator) -> Tensor:
    if rates is not None:
        return torch.tensor(rates)
    even = torch.tensor([step * (place + 1) for place in range(count)])
    return even * (1 + _SPREAD * torch.randn(count, generator=generator))


def _as_maps(latent: Tensor) -> Tensor:
    """Levels (B, C) as (B, C, 1, 1)."""
    return latent[:, :, None, None] if latent.ndim == 2 else latent
