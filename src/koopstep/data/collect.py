"""Teacher to store: each row's noise goes through the teacher once."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from koopstep.core.config import Config
from koopstep.core.errors import Interrupted, NumericsError, UsageError
from koopstep.core.noise import gaussian, integers
from koopstep.data.manifest import PHILOX, Autocast, Manifest, default_micro_batch, default_unit_size
from koopstep.data.probe import FINE_ROWS, FINE_STEPS, PROBED_ROWS, check_levels, check_repeats, wrong_facts
from koopstep.data.writer import StoreWriter
from koopstep.teachers.base import Teacher

_MOST_HELD_OUT = 10_000


class CollectSettings(Config):
    """What to collect.

    Attributes:
        count: rows (paths) to make.
        steps: N of the teacher's grid.
        keep: `ends` (noise and data), `all` (every state), or how many states, evenly spaced with both ends.
        seed: seed of noise and class labels.
        hold_out: rows kept from training; None: a tenth, at most 10,000.
        dtype: how states are stored.
        unit_size: rows of a shard; None: as many as fit 16 MiB, at most 4096.
        micro_batch: rows that pass the teacher at a time; None: at most 512.
        autocast: `bfloat16` runs the teacher's network in bfloat16 (the solver keeps its own precision): several times
            faster where the hardware has it, and another teacher by as much as the numbers are rounded.
    """

    count: int = Field(ge=1)
    steps: int = Field(ge=1)
    keep: Literal["ends", "all"] | Annotated[int, Field(ge=2)] = "ends"
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    hold_out: int | None = Field(default=None, ge=0)
    dtype: Literal["float32", "float16"] = "float32"
    unit_size: int | None = Field(default=None, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    autocast: Autocast = "none"

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not isinstance(self.keep, str) and self.keep > self.steps + 1:
            raise ValueError(
                f"keep must be ends, all or a number from 2 to steps + 1 = {self.steps + 1}, got {self.keep}"
            )
        if self.hold_out is not None and self.hold_out >= self.count:
            raise ValueError(f"hold_out = {self.hold_out} leaves no row of {self.count} for training; lower it")
        return self


def settings_of(manifest: Manifest) -> CollectSettings:
    """The settings that describe a store: those of a collected one make the same store again."""
    kept, steps = manifest.kept, manifest.steps
    keep: Literal["ends", "all"] | int = "ends" if len(kept) == 2 else "all" if len(kept) == steps + 1 else len(kept)
    return CollectSettings(
        count=manifest.count,
        steps=steps,
        keep=keep,
        seed=manifest.seed,
        hold_out=manifest.hold_out,
        dtype=manifest.dtype,
        unit_size=manifest.unit_size,
        micro_batch=manifest.micro_batch,
        autocast=manifest.autocast,
    )


@dataclass(frozen=True)
class CollectReport:
    """Where a collection stands: `done` of `total` rows committed in the store, `bytes` of them on disk.

    `complete` is true in the last report, once the store is sealed.
    """

    done: int
    total: int
    bytes: int
    complete: bool


def kept_states(steps: int, keep: Literal["ends", "all"] | int) -> tuple[int, ...]:
    """The grid indices that `keep` means on a grid of `steps` steps; a number is from 2 to `steps` + 1."""
    number = {"ends": 2, "all": steps + 1}[keep] if isinstance(keep, str) else keep
    return tuple(int(i) for i in np.round(np.linspace(0, steps, number)))


def plan(teacher: Teacher, settings: CollectSettings) -> Manifest:
    """The manifest of the store that `collect` would make.

    Raises:
        UsageError: the settings contradict each other or the teacher, or its levels are no grid.
    """
    kept = kept_states(settings.steps, settings.keep)
    item = {"float32": 4, "float16": 2}[settings.dtype]
    row_bytes = (len(kept) - 1) * int(np.prod(teacher.shape)) * item
    unit_size = settings.unit_size or min(default_unit_size(row_bytes), settings.count)
    hold_out = min(settings.count // 10, _MOST_HELD_OUT) if settings.hold_out is None else settings.hold_out
    levels = teacher.levels(settings.steps)
    check_levels(levels, settings.steps)
    return Manifest(
        teacher=teacher.identity(settings.steps),
        steps=settings.steps,
        kept=kept,
        levels=tuple(float(levels[i]) for i in kept),
        shape=tuple(teacher.shape),
        dtype=settings.dtype,
        count=settings.count,
        seed=settings.seed,
        noise_scheme=PHILOX,
        unit_size=unit_size,
        micro_batch=settings.micro_batch or default_micro_batch(unit_size),
        autocast=settings.autocast,
        hold_out=hold_out,
        source=f"collected from the teacher {teacher.identity(settings.steps).name}",
    )


def make_unit(
    teacher: Teacher, manifest: Manifest, unit: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor | None]:
    """Make one unit: its kept states (K, B, *shape) float32 on the CPU, and its class labels.

    Raises:
        UsageError: the teacher returns a wrong shape or does not start at the scaled noise.
        NumericsError: it returns NaN or infinity.
    """
    rows, parts, classes = manifest.rows_of(unit), [], []
    for start in range(rows.start, rows.stop, manifest.micro_batch):
        states, labels = make_rows(
            teacher, manifest, range(start, min(start + manifest.micro_batch, rows.stop)), device
        )
        parts.append(states.cpu())
        classes += [labels] if labels is not None else []
    return torch.cat(parts, dim=1), torch.cat(classes) if classes else None


def make_rows(
    teacher: Teacher, manifest: Manifest, indices: range, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor | None]:
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


def _probe(teacher: Teacher, manifest: Manifest, made: Tensor, device: torch.device | str) -> None:
    """Try the teacher out: are its paths a function of their noise, and its facts those of the rows `made` of it?"""
    rows = range(min(PROBED_ROWS, manifest.count))
    half = rows[: (len(rows) + 1) // 2]
    check_repeats(*(make_rows(teacher, manifest, some, device)[0] for some in (rows, rows, half)))
    said = wrong_facts(manifest.teacher, made[-1])
    hearsay = not manifest.teacher.sha256  # of a function, where no file says what its facts are
    if manifest.steps < FINE_STEPS and (said or hearsay):  # a coarse grid overshoots, whatever the facts
        fine = manifest.model_copy(update={"steps": FINE_STEPS, "kept": (0, FINE_STEPS)})
        with contextlib.suppress(UsageError):  # a schedule may have fewer timesteps
            states, _ = make_rows(teacher, fine, range(min(FINE_ROWS, manifest.count)), device)
            said = wrong_facts(manifest.teacher, states[-1])
    for line in said:
        warnings.warn(line, UserWarning, stacklevel=3)


def _check_goes_on(teacher: Teacher, writer: StoreWriter, unit: int, device: torch.device | str) -> None:
    """Refuse a function that does not make the paths of a store that its namesake began.

    Raises:
        UsageError: it makes others.
    """
    manifest, rows = writer.manifest, writer.manifest.rows_of(unit)
    few = rows[: min(PROBED_ROWS, manifest.micro_batch)]
    made, _ = make_rows(teacher, manifest, few, device)
    kept = writer.read(unit)[: len(few)].float()
    again = made.cpu().movedim(0, 1)[:, len(manifest.kept) - manifest.stored_states :]
    # as much as other kernels, or a store of half precision, may differ
    if float((again - kept).square().mean().sqrt()) > 0.01 * float(kept.square().mean().sqrt()):
        raise UsageError(
            f"{writer.folder} was begun by another function of the name {manifest.teacher.name!r}: its paths are others; "
            "choose another folder, or give each function a name of its own"
        )


def collect(
    teacher: Teacher,
    folder: Path | str,
    settings: CollectSettings,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[CollectReport]:
    """Fill a store with paths of `teacher`, going on where an earlier call stopped.

    The bytes on disk do not depend on interruptions nor on how the units are split over processes. Whichever
    process finds all units committed seals the store.

    Args:
        teacher: makes the paths.
        folder: the store; new, empty, or begun with the same teacher and settings.
        settings: what to collect.
        rank: number of this process, 0 ... `world` - 1; it makes every `world`-th unit.
        world: number of processes that share the work.
        device: where the noise is put before it goes through the teacher.
        should_stop: asked between units.

    Yields:
        A report after each committed unit, and one at the end.

    Raises:
        UsageError: contradicting settings, `folder` holds something else, or the teacher's paths are not a function of
            their noise.
        NumericsError: the teacher makes NaN.
        StorageError: the disk is full; run again to go on.
        Interrupted: `should_stop` said so; all finished units are committed.

    Warns:
        UserWarning: samples contradict the teacher's `data_scale` or `data_range`.
    """
    manifest = plan(teacher, settings)
    writer = StoreWriter(Path(folder), manifest)
    pending = writer.pending_units(rank, world)
    records = writer.committed()
    if records and not manifest.teacher.sha256:
        _check_goes_on(teacher, writer, min(records), device)
    done, size = sum(r.stop - r.start for r in records.values()), sum(r.bytes for r in records.values())
    for unit in pending:
        if should_stop():
            raise Interrupted(f"stopped after {done} of {manifest.count} rows; run the same command again to go on")
        states, labels = make_unit(teacher, manifest, unit, device)
        if unit == pending[0]:
            _probe(teacher, manifest, states, device)
        record = writer.commit(unit, states, labels)
        done, size = done + record.stop - record.start, size + record.bytes
        yield CollectReport(done, manifest.count, size, complete=False)
    records = writer.committed()
    complete = len(records) == manifest.units
    if complete:
        writer.seal()
    done, size = sum(r.stop - r.start for r in records.values()), sum(r.bytes for r in records.values())
    yield CollectReport(done, manifest.count, size, complete)
