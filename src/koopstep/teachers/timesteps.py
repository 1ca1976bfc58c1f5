"""Networks that were trained on integer timesteps (DDPM): their noise levels, and the paths that keep to them.

DDPM's state is ``sqrt(abar) data + sqrt(1 - abar) noise``. Ours is that over ``sqrt(abar)``: ``data + sigma noise`` with
``sigma = sqrt((1 - abar) / abar)``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.levels import ddpm_sigmas, karras_sigmas

Spacing = Literal["edm", "trailing", "linspace"]
NOISE_SIGMA = 80.0
"""Where EDM starts: from here on nothing of data of about unit size is left to see."""


@dataclass(frozen=True)
class Timesteps:
    """The timesteps of a network, and which of them a path takes.

    Attributes:
        sigmas: of every timestep, rising, float64 (T,), on the CPU.
        spacing: ``edm``: the timesteps nearest to EDM's levels (EDM Eq. 5), from ``sigma_max`` down; ``trailing``: evenly
            spaced from the last one down, as DDIM with diffusers' ``timestep_spacing="trailing"``; ``linspace``: evenly
            spaced from the last one to the first.
        sigma_max: where ``edm`` starts. Schedules go far beyond what hides the data (a cosine one to 20,000), and steps
            spent there are lost.
    """

    sigmas: Tensor
    spacing: Spacing = "edm"
    sigma_max: float = NOISE_SIGMA

    @classmethod
    def of(cls, alphas_cumprod: Tensor, spacing: Spacing = "edm", sigma_max: float = NOISE_SIGMA) -> Timesteps:
        """From the products of ``1 - beta`` (DDPM Eq. 4), (T,).

        Raises:
            UsageError: on a schedule outside (0, 1) or rising, an unknown spacing, or ``sigma_max`` below every level.
        """
        if not isinstance(spacing, str) or spacing not in get_args(Spacing):
            raise UsageError(f"unknown spacing of timesteps {spacing!r}; known: {', '.join(get_args(Spacing))}")
        sigmas = ddpm_sigmas(alphas_cumprod)
        if spacing == "edm" and not sigma_max > float(sigmas[0]):
            raise UsageError(f"sigma_max must be above the lowest level {float(sigmas[0]):.3g}, got {sigma_max}")
        return cls(sigmas, spacing, sigma_max)

    @property
    def usable(self) -> Tensor:
        """The sigmas that a path may take, rising."""
        return self.sigmas[self.sigmas <= self.sigma_max] if self.spacing == "edm" else self.sigmas

    def levels(self, steps: int) -> Tensor:
        """The ``steps + 1`` falling sigmas of a path, float64; each is that of a timestep, the last one 0.

        Raises:
            UsageError: if there are fewer timesteps than steps.
        """
        usable = self.usable
        if not 1 <= steps <= len(usable):
            raise UsageError(f"steps must be at least 1 and at most the {len(usable)} timesteps here, got {steps}")
        return torch.cat([usable[_SPACINGS[self.spacing](usable, steps)], torch.zeros(1, dtype=torch.float64)])

    @property
    def terminal_signal(self) -> float:
        """``sqrt(abar_T)``, the share of the data that the last timestep still shows; 0 where that is nothing to speak of."""
        last = float(self.sigmas[-1])
        return 0.0 if last >= NOISE_SIGMA else 1 / math.sqrt(1 + last**2)

    @property
    def noise_scale(self) -> float:
        """Standard deviation of the state a path starts from.

        At the last timestep this is DDPM's unit noise, ``sqrt(1 + sigma^2)`` in our scaling, whether or not something of the
        data should still be there; below it, where ``edm`` starts, it is sigma.
        """
        first = float(self.usable[-1])
        return math.sqrt(1 + first**2) if first == float(self.sigmas[-1]) else first

    def nearest(self, sigma: Tensor) -> Tensor:
        """The timestep (B,) int64 whose level is nearest to each of ``sigma`` (B,)."""
        return (sigma.to(torch.float64)[:, None] - self.sigmas.to(sigma.device)).abs().argmin(dim=1)

    def note(self) -> str | None:
        """What to say of a schedule that does not end in noise; None of one that does."""
        if not self.terminal_signal:
            return None
        return (
            f"this schedule does not end in noise: its last timestep still shows {self.terminal_signal:.2g} of the data "
            f"(sigma {float(self.sigmas[-1]):.3g}); paths start from unit noise there, as DDPM and DDIM do, which the "
            "network was not trained on"
        )

    def warn(self) -> None:
        """Say :meth:`note` aloud, as a Python warning."""
        note = self.note()
        if note is not None:
            warnings.warn(note, UserWarning, stacklevel=3)


def _edm(sigmas: Tensor, steps: int) -> Tensor:
    """The timesteps nearest to EDM's levels in log sigma, each a different one, from the noisiest down."""
    if len(sigmas) == 1:
        return torch.zeros(1, dtype=torch.int64)
    wanted = karras_sigmas(steps, float(sigmas[0]), float(sigmas[-1]))[:-1]
    nearest = (wanted.log()[:, None] - sigmas.log()).abs().argmin(dim=1)
    index = torch.arange(steps)
    falling = (nearest + index).cummin(dim=0).values - index
    return torch.maximum(falling, steps - 1 - index)  # where timesteps are sparser than levels: the lowest ones, all


def _trailing(sigmas: Tensor, steps: int) -> Tensor:
    count = len(sigmas)
    return (count - torch.arange(steps, dtype=torch.float64) * count / steps).round().long() - 1


def _linspace(sigmas: Tensor, steps: int) -> Tensor:
    return torch.linspace(len(sigmas) - 1, 0, steps).round().long()


_SPACINGS: dict[str, Callable[[Tensor, int], Tensor]] = {"edm": _edm, "trailing": _trailing, "linspace": _linspace}
"""Spacing -> (rising sigmas, steps) -> the timesteps of a path, falling."""
