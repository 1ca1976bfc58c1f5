"""Distances of KDM Eqs. 5 to 7: pure functions of two batches, each a mean over rows (so that micro-batches add up)."""

from __future__ import annotations

import math
from typing import Any, Protocol

from torch import Tensor
from torch.nn import functional

Known = dict[str, Any]
"""What a distance has worked out of one target alone, for the predictions that follow."""


class Distance(Protocol):
    """``d(prediction, target)``."""

    def __call__(self, prediction: Tensor, target: Tensor, known: Known, /) -> Tensor:
        """Returns a scalar, a mean over rows.

        Args:
            prediction: (B, *shape).
            target: (B, *shape).
            known: of this target and no other; empty at first, the distance may write into it.
        """


def mse(prediction: Tensor, target: Tensor, known: Known | None = None) -> Tensor:
    """Mean squared error over rows and dimensions."""
    return functional.mse_loss(prediction, target)


def pseudo_huber(prediction: Tensor, target: Tensor, known: Known | None = None) -> Tensor:
    """``sqrt(|difference|^2 + c^2) - c`` a row, mean over rows; ``c = 0.00054 sqrt(D)`` (iCT, Sec. 3.3)."""
    difference = (prediction - target).flatten(1)
    c = 0.00054 * math.sqrt(difference.shape[1])
    return ((difference.square().sum(dim=1) + c * c).sqrt() - c).mean()


DISTANCES: dict[str, Distance] = {"mse": mse, "pseudo-huber": pseudo_huber}
"""The distances that need nothing but the two batches; ``perceptual`` also needs a network (`losses.perceptual`)."""
