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
_NOISE_OVER_DATA = 5.0  # below that the first state of a path should show more than 4 % of the data's variance
_COUPLED, _AWAY, _BENT = 0.25, 0.5, 0.5  # see wrong_direction


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


def check_moves(start: Tensor, data: Tensor) -> None:
    """The first and last states (B, *shape) of paths.

    Raises:
        UsageError: nothing happens between them.
    """
    if torch.allclose(start, data, rtol=1e-4, atol=1e-4 * float(start.abs().max())):
        raise UsageError(
            "the teacher's paths end where they start: its samples are the noise itself; a velocity must not be 0 everywhere, "
            "and a denoiser must return the data and not its input"
        )


def odd_shape(name: str, shape: tuple[int, ...]) -> list[str]:
    """What to say of images whose channels come last; planes come first here."""
    if len(shape) != 3 or shape[-1] not in (1, 3, 4) or min(shape[:2]) < 8:
        return []
    channels_first = (shape[2], shape[0], shape[1])
    return [
        f"the teacher {name!r} has the shape {shape}, which is read as {shape[0]} planes of {shape[1]} x {shape[2]}; if these "
        f"are images of {shape[0]} x {shape[1]}, make it with shape={channels_first} and channels first, as x.movedim(-1, 1)"
    ]


def weak_noise(teacher: TeacherIdentity, levels: tuple[float, ...], data: Tensor) -> list[str]:
    """What to say of paths in sigma that start where the data should still be seen.

    A first timestep that is not pure noise has its own warning (:class:`~koopstep.teachers.timesteps.Timesteps`).
    """
    size = float(data.square().mean().sqrt())
    if levels[-1] != 0 or teacher.noise_scale != levels[0] or teacher.noise_scale >= _NOISE_OVER_DATA * size:
        return []
    return [
        f"the paths of the teacher {teacher.name!r} start at sigma_max = {levels[0]:.3g}, and its samples have a size of "
        f"{size:.3g}: such noise does not hide the data, so its samples are none of the data; set sigma_max to "
        f"{20 * size:.2g} or more, as far as the network was trained"
    ]


def wrong_direction(name: str, states: Tensor, step: float) -> list[str]:
    """What to say of a velocity whose time or sign is reversed.

    Where a path starts nothing of the data is seen yet, so that ``v = a x + b`` with one number ``a <= 0`` (-1 on the straight
    path) and the data's mean in ``b``. Unless noise and data are coupled: then ``v`` points to where the path ends.

    Args:
        name: of the teacher.
        states: the first and the second state of its paths, and the last: (3 or more, B, *shape).
        step: between the first two, in t.
    """
    start, second, data = (states[i].flatten(1).double() for i in (0, 1, -1))
    velocity = (second - start) / step
    slope = float((velocity * start).sum() / start.square().sum())
    bent = velocity - slope * start
    rest = float(bent.var(dim=0, correction=0).mean().sqrt()) / max(1.0, float(data.std()))
    missed = float((start + velocity - data).square().mean().sqrt() / data.square().mean().sqrt().clamp(min=1e-12))
    if missed < _COUPLED or (slope < _AWAY and rest < _BENT):
        return []
    return [
        f"the velocity of the teacher {name!r} seems to run from data to noise: here t = 0 is noise, t = 1 is data and the "
        "velocity is dx/dt; of a function with t = 1 for noise give lambda x, t, labels: -fn(x, 1 - t, labels)"
    ]


def wrong_facts(teacher: TeacherIdentity, data: Tensor) -> list[str]:
    """What ends (B, *shape) of a teacher's paths say against its ``data_scale`` and ``data_range``, a line each.

    That is a standard deviation that is off by more than a factor of 2, and images that fill less than 60 % of their range,
    leave a third of it empty at one end (ranges shifted by half), or go far beyond it with every fourth pixel.
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
    fills = most - least >= 0.6 * size and least <= low + 0.3 * size and most >= high - 0.3 * size
    if fills and lower >= low - 0.25 * size and upper <= high + 0.25 * size:
        return []
    return [
        f"the teacher {name!r} says that its images are in [{low:g}, {high:g}], its samples go from {least:.3g} to "
        f"{most:.3g}; pictures and metrics go by the range, so make the teacher with data_range=, or data_range=None if "
        "these are no images"
    ]


def _within(ordered: Tensor, share: float) -> tuple[float, float]:
    outside = int(len(ordered) * share)
    return float(ordered[outside]), float(ordered[-1 - outside])
