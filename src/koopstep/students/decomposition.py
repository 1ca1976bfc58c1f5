"""The Koopman modes of paths: pictures with rates, and the states that they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from koopstep.core.arguments import checked_points
from koopstep.operators.exponential import rotation

CONSTANT, REMAINDER = "constant", "remainder"
"""The names of the first and of the last mode."""


def mode_names(count: int) -> tuple[str, ...]:
    """The names of so many modes, the constant and the remainder among them."""
    return (CONSTANT, *(f"mode {number}" for number in range(1, count - 1)), REMAINDER)


@dataclass(frozen=True, eq=False, repr=False)
class ModeDecomposition:
    """Modes of B paths: ``x_u = sum over m of e^{alpha_m u} (cos(beta_m u) images_m + sin(beta_m u) partners_m)``.

    Of the M modes the first is the constant, with rates of 0, and the last the remainder, which does not rotate.

    Attributes:
        images: (B, M, *shape), in data units, as they stand where the path starts.
        partners: (B, M, *shape), what they turn into; 0 for modes that do not rotate.
        growth_rates: (B, M), alpha, per unit of u; where all paths share them the rows are equal.
        rotation_rates: (B, M), beta, radians per unit of u.
    """

    images: Tensor
    partners: Tensor
    growth_rates: Tensor
    rotation_rates: Tensor

    def __repr__(self) -> str:
        rows, modes, *shape = self.images.shape
        return f"ModeDecomposition({rows} path{'s' * (rows != 1)} of {modes} modes of shape {tuple(shape)})"

    @property
    def names(self) -> tuple[str, ...]:
        """``constant``, ``mode 1``, ``mode 2``, ..., ``remainder``."""
        return mode_names(self.images.shape[1])

    def contributions(self, u: float | Sequence[float] | Tensor) -> Tensor:
        """What each mode adds to the states at ``u``, N numbers from 0 to 1: (N, B, M, *shape).

        Raises:
            UsageError: if ``u`` is none of that.
        """
        points = checked_points(u, "u").to(self.images)
        beside = (*self.growth_rates.shape, *[1] * (self.images.ndim - 2))
        cosine, sine = rotation(
            self.growth_rates.view(beside), self.rotation_rates.view(beside), points.view(-1, *[1] * self.images.ndim)
        )
        return cosine * self.images + sine * self.partners

    def states(self, u: float | Sequence[float] | Tensor) -> Tensor:
        """The states of the paths at ``u``, N numbers from 0 to 1: (N, B, *shape).

        Raises:
            UsageError: if ``u`` is none of that.
        """
        return torch.stack([self.contributions(one)[0].sum(dim=1) for one in checked_points(u, "u")])
