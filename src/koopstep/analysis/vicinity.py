"""The neighbourhood experiment of KDM Fig. 3: noise moved a little, samples compared with where they were."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SIGMAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)

Generator = Callable[[Tensor], Tensor]
"""Unit-variance noise (N, *shape) -> samples (N, *shape)."""

Distance = Callable[[Tensor, Tensor], float]
"""Mean distance of two sets, row by row."""


@dataclass(frozen=True)
class Vicinity:
    """Samples and their distances from those of the unmoved noise.

    Attributes:
        sigmas: how far the noise was moved.
        samples: generator -> (S, N, *shape).
        distances: generator -> distance's name -> one value a sigma.
    """

    sigmas: tuple[float, ...]
    samples: dict[str, Tensor]
    distances: dict[str, dict[str, list[float]]]

    def summary(self) -> dict[str, Any]:
        """In plain numbers."""
        return {"sigma": list(self.sigmas), **self.distances}


def moved(noise: Tensor, other: Tensor, sigma: float) -> Tensor:
    """``(noise + sigma other) / sqrt(1 + sigma^2)``: noise of unit variance again."""
    return (noise + sigma * other) / math.sqrt(1 + sigma**2)


def unrelated(samples: Tensor, distance: Distance) -> float:
    """Mean distance of samples (N, *shape) to those of other noise: where the curves end when nothing is left in common."""
    return distance(samples, samples.roll(1, dims=0))


@torch.no_grad()
def vicinity(
    generators: dict[str, Generator],
    noise: Tensor,
    other: Tensor,
    distances: dict[str, Distance],
    sigmas: tuple[float, ...] = SIGMAS,
) -> Vicinity:
    """Send the same moved noise through every generator.

    Args:
        generators: by name; teacher and student, say.
        noise: (N, *shape) of unit variance.
        other: independent noise of the same shape, the direction of the move.
        distances: by name.
        sigmas: the first must be 0.
    """
    samples = {
        name: torch.stack([generate(moved(noise, other, sigma)).cpu() for sigma in sigmas])
        for name, generate in generators.items()
    }
    values = {
        name: {what: [distance(at, made[0]) for at in made] for what, distance in distances.items()}
        for name, made in samples.items()
    }
    return Vicinity(sigmas, samples, values)
