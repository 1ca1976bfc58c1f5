"""Paths of a teacher, made a few rows at a time, and what is tried out before they fill a store."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from koopstep.core.errors import NumericsError, UsageError
from koopstep.core.noise import gaussian, integers
from koopstep.data.manifest import Manifest
from koopstep.data.probe import (
    FINE_ROWS,
    FINE_STEPS,
    PROBED_ROWS,
    check_moves,
    check_repeats,
    odd_shape,
    weak_noise,
    wrong_direction,
    wrong_facts,
)
from koopstep.data.writer import read_unit
from koopstep.teachers.base import Teacher

Made = tuple[Tensor, Tensor | None]
"""Kept states (K, B, *shape) float32, and class labels (B,) int64 or None."""


def micro_batches(manifest: Manifest, unit: int) -> Iterator[range]:
    """The rows of a unit, as many at a time as pass the teacher together."""
    rows = manifest.rows_of(unit)
    for start in range(rows.start, rows.stop, manifest.micro_batch):
        yield range(start, min(start + manifest.micro_batch, rows.stop))


def joined(parts: list[Made]) -> Made:
    """Rows that were made one after another, on the CPU."""
    classes = [labels for _, labels in parts if labels is not None]
    return torch.cat([states.cpu() for states, _ in parts], dim=1), torch.cat(classes) if classes else None


def make_unit(teacher: Teacher, manifest: Manifest, unit: int, device: torch.device | str = "cpu") -> Made:
    """Make one unit: its kept states (K, B, *shape) float32 on the CPU, and its class labels.

    Raises:
        UsageError: the teacher returns a wrong shape or does not start at the scaled noise.
        NumericsError: it returns NaN or infinity.
    """
    return joined([make_rows(teacher, manifest, rows, device) for rows in micro_batches(manifest, unit)])


def make_rows(teacher: Teacher, manifest: Manifest, indices: range, device: torch.device | str = "cpu") -> Made:
    """Make the paths of some rows: kept states (K, B, *shape) float32 on ``device``, and class labels on the CPU.

    Raises:
        UsageError: the teacher returns a wrong shape or number format, or does not start at the scaled noise.
        NumericsError: it returns NaN or infinity.
    """
    noise = gaussian(manifest.seed, indices, manifest.shape)
    labels = integers(manifest.seed, indices, manifest.teacher.num_classes) if teacher.num_classes else None
    given = None if labels is None else labels.to(device)
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=manifest.autocast == "bfloat16"):
        path = teacher.path(noise.to(device), given, steps=manifest.steps)
    expected = (manifest.steps + 1, len(indices), *manifest.shape)
    if tuple(path.shape) != expected:
        raise UsageError(f"the teacher's path must have shape {expected}, got {tuple(path.shape)}")
    if path.dtype not in (torch.float32, torch.float64):
        raise UsageError(f"the teacher's path must be float32 or float64, got {path.dtype}")
    if not bool(torch.isfinite(path).all()):
        raise NumericsError(
            f"the teacher made NaN or infinity in rows {indices.start} to {indices.stop - 1}; nothing of them was kept"
        )
    scale = manifest.teacher.noise_scale
    if not torch.allclose(path[0].cpu().float(), noise * scale, rtol=1e-5, atol=1e-6 * scale):
        raise UsageError(f"state 0 of the teacher's path must be noise * noise_scale ({scale}); it is not")
    return path[list(manifest.kept)].float(), labels


def try_out(teacher: Teacher, manifest: Manifest, made: Tensor, device: torch.device | str) -> None:
    """Try the teacher out: are its paths a function of their noise, and its facts those of the rows `made` of it?"""
    rows = range(min(PROBED_ROWS, manifest.count))
    half = rows[: (len(rows) + 1) // 2]
    first, again, fewer = (make_rows(teacher, manifest, some, device)[0] for some in (rows, rows, half))
    check_repeats(first, again, fewer)
    check_moves(first[0], first[-1])
    identity, levels = manifest.teacher, manifest.levels
    said = wrong_facts(identity, made[-1]) + weak_noise(identity, levels, made[-1])
    of_function = not identity.sha256  # no file says what its facts are
    rises = levels[-1] > 0
    if (said or of_function) and (rises or manifest.steps < FINE_STEPS):  # a coarse grid overshoots, whatever the facts
        fine = manifest.model_copy(update={"steps": FINE_STEPS, "kept": (0, 1, FINE_STEPS)})
        with contextlib.suppress(UsageError):  # a schedule may have fewer timesteps
            states, _ = make_rows(teacher, fine, range(min(FINE_ROWS, manifest.count)), device)
            said = wrong_facts(identity, states[-1]) + weak_noise(identity, levels, states[-1])
            said += wrong_direction(identity.name, states, 1 / FINE_STEPS) if of_function and rises else []
    for line in odd_shape(identity.name, manifest.shape) + said:
        warnings.warn(line, UserWarning, stacklevel=4)


def check_goes_on(teacher: Teacher, folder: Path, manifest: Manifest, unit: int, device: torch.device | str) -> None:
    """Refuse a function that does not make the paths of a store that its namesake began, by the first rows of a unit.

    Raises:
        UsageError: it makes others.
    """
    few = manifest.rows_of(unit)[: min(PROBED_ROWS, manifest.micro_batch)]
    made, _ = make_rows(teacher, manifest, few, device)
    kept = read_unit(folder, manifest, unit)[: len(few)].float()
    again = made.cpu().movedim(0, 1)[:, len(manifest.kept) - manifest.stored_states :]
    # as much as other kernels, or a store of half precision, may differ
    if float((again - kept).square().mean().sqrt()) > 0.01 * float(kept.square().mean().sqrt()):
        raise UsageError(
            f"{folder} was begun by another function of the name {manifest.teacher.name!r}: its paths are others; "
            "choose another folder, or give each function a name of its own"
        )
