"""Distances of KDM Eqs. 5 to 7: pure functions of two batches, each a mean over rows."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

PairFunction = Callable[[Tensor, Tensor], Tensor]
"""``f(prediction, target)``: (B, *shape), (B, *shape) -> scalar, a mean over rows (so that micro-batches add up)."""

Towards = Callable[[Tensor], Tensor]
"""The distance to one target: predictions (B, *shape) -> scalar, a mean over rows."""

Distance = Callable[[Tensor], Towards]
"""``d(target)(prediction)``. What is known of a target alone is worked out once, however many predictions follow."""


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over rows and dimensions."""
    return functional.mse_loss(prediction, target)


def pseudo_huber(prediction: Tensor, target: Tensor) -> Tensor:
    """``sqrt(|difference|^2 + c^2) - c`` a row, mean over rows; ``c = 0.00054 sqrt(D)`` (iCT, Sec. 3.3)."""
    difference = (prediction - target).flatten(1)
    c = 0.00054 * math.sqrt(difference.shape[1])
    return ((difference.square().sum(dim=1) + c * c).sqrt() - c).mean()


def pointwise(function: PairFunction) -> Distance:
    """A distance of which nothing can be worked out beforehand."""
    return lambda target: lambda prediction: function(prediction, target)


DISTANCES: dict[str, PairFunction] = {"mse": mse, "pseudo-huber": pseudo_huber}
"""The distances that need nothing but the two batches; ``perceptual`` also needs a network (`losses.perceptual`)."""
