"""What a number of samples can tell: how far a metric would be another with other noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from koopstep.core.noise import permutation
from koopstep.evaluation.metrics import METRICS, inflated
from koopstep.evaluation.samples import Samples

FEW = 100
"""Samples: of fewer an average is rough."""
_SPREAD_OF = ("in_cell", "sliced_wasserstein", "mmd", "frechet_pixel")  # cheap, and of sets, not of pairs
_HALVINGS, _LEAST = 4, 20
_SURE = 3.0  # about twice the standard deviation of a difference of two independent values


def spreads(samples: Samples, names: Sequence[str]) -> dict[str, float]:
    """Name -> standard deviation of a metric's value from one set of samples to another as large, of those that tell it.

    Two halves of the samples give two values. Their difference has twice the standard deviation of the value of all.

    Args:
        samples: of the teacher, so that a student is held against what its teacher itself may vary by.
        names: metrics that were measured; those that look at single samples, through a network or at a classifier have none.
    """
    rows = len(samples.student)
    named = [name for name in names if name in _SPREAD_OF and not inflated(name, rows, samples.student[0].numel())]
    if rows < _LEAST or not named:
        return {}
    squares = dict.fromkeys(named, 0.0)
    for halving in range(_HALVINGS):
        order = torch.from_numpy(permutation(samples.seed + halving, rows))
        halves = [replace(samples, student=samples.student[part]) for part in (order[: rows // 2], order[rows // 2 :])]
        for name in named:
            one, other = (METRICS[name].function(half) for half in halves)
            squares[name] += (one - other) ** 2 / _HALVINGS
    return {name: float(square**0.5 / 2) for name, square in squares.items()}


def same(one: float, other: float, spread: float) -> bool:
    """Whether two values lie no further apart than two equally good sets of samples may."""
    return abs(one - other) <= _SURE * spread
