"""What is tried on a teacher before its paths fill a store: is its grid one, does it repeat itself, are its facts right."""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.pixels import DataRange
from koopstep.teachers.base import TeacherIdentity

PROBED_ROWS = 4
FINE_STEPS, FINE_ROWS = 18, 32
"""A path fine enough to show the data, where a coarser one contradicts the teacher's facts."""
_REPEATS_WITHIN, _BATCHES_WITHIN = 1e-3, 5e-2  # of a state's largest number: what arithmetic and adaptive steps may do
_FEW = 64  # numbers of which no standard deviation is worth a word
_EXTREMES, _BULK = 0.001, 0.25  # shares left out at either end: coarse grids overshoot, but not with most pixels


def check_levels(levels: tuple[float, ...], steps: int) -> None:
    """A teacher's grid: sigmas that fall to 0, or times that rise from 0 to 1.

    Raises:
        UsageError: it is neither.
    """
    if len(levels) != steps + 1:
        raise UsageError(f"the teacher's grid of {steps} steps must have {steps + 1} levels, got {len(levels)}")
    changes = torch.tensor(levels, dtype=torch.float64).diff()
    falls = bool((changes < 0).all()) and levels[-1] == 0 and levels[0] < float("inf")
    rises = bool((changes > 0).all()) and levels[0] == 0 and levels[-1] == 1
    if not (falls or rises):
        shown = ", ".join(f"{level:.6g}" for level in levels[:4])
        raise UsageError(
            f"the teacher's levels must fall from sigma to 0, or rise as times from 0 to 1; got {shown}, ... {levels[-1]:.6g}"
        )


def check_repeats(first: Tensor, again: Tensor, fewer: Tensor) -> None:
    """Paths (states, B, *shape) of the same rows, made twice together, and once more with fewer of them beside each other.

    Raises:
        UsageError: they are not the same paths.
    """
    if _difference(first, again) > _REPEATS_WITHIN:
        raise UsageError(
            "the teacher does not repeat itself: the same noise gave two different paths, and a path must be a function of "
            "its noise; is dropout on (call .eval()), or is noise drawn within the function?"
        )
    if _difference(first[:, : fewer.shape[1]], fewer) > _BATCHES_WITHIN:
        raise UsageError(
            "the teacher's rows depend on what else is in the batch, and a path must be a function of its own noise; is a "
            "batch normalisation in training mode (call .eval())?"
        )


def _difference(a: Tensor, b: Tensor) -> float:
    """The largest difference over all states, in units of the state's largest number."""
    sizes = a.abs().flatten(1).amax(dim=1).clamp(min=1e-12)
    return float(((a - b).abs().flatten(1).amax(dim=1) / sizes).max())


def wrong_facts(teacher: TeacherIdentity, data: Tensor) -> list[str]:
    """What ends (B, *shape) of a teacher's paths say against its ``data_scale`` and ``data_range``, a line each.

    That is a standard deviation that is off by more than a factor of 2, and images that fill less than 60 % of their range or
    go far beyond it with every fourth pixel.
    """
    if data.numel() < _FEW or len(data) < 2:
        return []
    found = []
    overall, by_dimension = float(data.std()), float(data.var(dim=0).mean().sqrt())
    if all(not 0.5 <= measured / teacher.data_scale <= 2 for measured in (overall, by_dimension)):
        found.append(
            f"the teacher {teacher.name!r} says that its data have a standard deviation of {teacher.data_scale:.3g}, its "
            f"samples have {overall:.3g}; students scale by it, so make the teacher with data_scale={overall:.2g}"
        )
    if teacher.data_range is not None and len(teacher.shape) == 3:
        found += _wrong_range(teacher.name, teacher.data_range, data)
    return found


def _wrong_range(name: str, data_range: DataRange, data: Tensor) -> list[str]:
    low, high = data_range
    ordered, size = data.flatten().sort().values, high - low
    least, most = _within(ordered, _EXTREMES)
    lower, upper = _within(ordered, _BULK)
    if most - least >= 0.6 * size and lower >= low - 0.25 * size and upper <= high + 0.25 * size:
        return []
    return [
        f"the teacher {name!r} says that its images are in [{low:g}, {high:g}], its samples go from {least:.3g} to "
        f"{most:.3g}; pictures and metrics go by the range, so make the teacher with data_range=, or data_range=None if "
        "these are no images"
    ]


def _within(ordered: Tensor, share: float) -> tuple[float, float]:
    outside = int(len(ordered) * share)
    return float(ordered[outside]), float(ordered[-1 - outside])
