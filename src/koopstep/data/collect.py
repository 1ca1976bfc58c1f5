"""Teacher to store: each row's noise goes through the teacher once."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from koopstep.core.config import Config
from koopstep.core.errors import Interrupted, StorageError, UsageError
from koopstep.data.commits import CommitRecord, committed, read_begun, read_record
from koopstep.data.manifest import (
    MOST_ROWS,
    PHILOX,
    Autocast,
    Manifest,
    default_hold_out,
    default_micro_batch,
    default_unit_size,
)
from koopstep.data.probe import check_levels
from koopstep.data.rows import Made, check_goes_on, joined, make_rows, micro_batches, try_out
from koopstep.data.writer import StoreWriter, check_match
from koopstep.teachers.base import Teacher
from koopstep.teachers.stoppable import stoppable

_SOON = 5.0  # seconds in which a unit is finished before a stop is obeyed, as what is not committed is lost


class CollectSettings(Config):
    """What to collect.

    Attributes:
        count: rows (paths) to make.
        steps: N of the teacher's grid.
        keep: `ends` (noise and data), `all` (every state), or how many states, evenly spaced with both ends.
        seed: seed of noise and class labels.
        hold_out: rows kept from training; None: a tenth, at most 10,000, or what the store holds out that grows.
        dtype: how states are stored.
        unit_size: rows of a shard; None: as many as fit 16 MiB, at most 4096, or those of the store that grows.
        micro_batch: rows that pass the teacher at a time; None: at most 512, or those of the store that grows.
        autocast: `bfloat16` runs the teacher's network in bfloat16 (the solver keeps its own precision): several times
            faster where the hardware has it, and another teacher by as much as the numbers are rounded.
    """

    count: int = Field(ge=1, lt=MOST_ROWS)
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
    """The settings that describe a store: those of a collected one make the same rows again.

    They make the same store, too, unless it has grown: then its held-out rows are among those that it began with.
    """
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

    `made` counts the rows of the shard in work, too. `complete` is true in the last report, once the store is sealed.
    """

    done: int
    total: int
    bytes: int
    complete: bool
    made: int


def kept_states(steps: int, keep: Literal["ends", "all"] | int) -> tuple[int, ...]:
    """The grid indices that `keep` means on a grid of `steps` steps; a number is from 2 to `steps` + 1."""
    number = {"ends": 2, "all": steps + 1}[keep] if isinstance(keep, str) else keep
    return tuple(int(i) for i in np.round(np.linspace(0, steps, number)))


def plan(teacher: Teacher, settings: CollectSettings, begun: Manifest | None = None) -> Manifest:
    """The manifest of the store that `collect` would make.

    Args:
        teacher: makes the paths.
        settings: what to collect.
        begun: what the folder holds already, whose rows stay, were there more of them; what the settings leave open is
            as there.

    Raises:
        UsageError: the settings contradict each other or the teacher, or its levels are no grid.
    """
    if begun is None:
        return _fresh(teacher, settings)
    left_open = {
        name: getattr(begun, name)
        for name in ("hold_out", "unit_size", "micro_batch")
        if getattr(settings, name) is None
    }
    as_begun = settings.model_copy(update={**left_open, "count": begun.count})
    same = _fresh(teacher, as_begun).model_copy(update={"grown": begun.grown})
    return same.grown_to(settings.count) if settings.count > begun.count else same


def _fresh(teacher: Teacher, settings: CollectSettings) -> Manifest:
    kept = kept_states(settings.steps, settings.keep)
    item = {"float32": 4, "float16": 2}[settings.dtype]
    row_bytes = (len(kept) - 1) * int(np.prod(teacher.shape)) * item
    unit_size = settings.unit_size or default_unit_size(row_bytes)
    hold_out = default_hold_out(settings.count) if settings.hold_out is None else settings.hold_out
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


def _open(teacher: Teacher, settings: CollectSettings, folder: Path, device: torch.device | str) -> StoreWriter:
    """The store as it is to be.

    Raises:
        UsageError: it is another one, or holds more rows than it is to hold.
        StorageError: the disk is too small; nothing was written.
    """
    begun = read_begun(folder)
    manifest = plan(teacher, settings, begun)
    if begun is not None and settings.count < begun.count and begun.differing_field(manifest) is None:
        raise UsageError(
            f"{folder} is a store of {begun.count} paths, and {settings.count} were asked for: a store grows and never "
            f"shrinks; ask for {begun.count} or more, or choose another folder"
        )
    records = committed(folder, manifest)
    _check_space(folder, (manifest.count - _totals(records)[0]) * manifest.row_bytes)
    writer = StoreWriter(folder, manifest)
    if records and not manifest.teacher.sha256:
        check_goes_on(teacher, folder, writer.manifest, min(records), device)
    return writer


def check_store(
    teacher: Teacher, folder: Path, settings: CollectSettings | None = None, *, device: torch.device | str = "cpu"
) -> None:
    """Refuse a store that ``teacher`` did not collect, by its description and, of a function, a few paths. Nothing is written.

    Args:
        teacher: the one that is to have made it.
        folder: the store, whole or begun. One that was imported tells nothing of its maker.
        settings: what it is to hold, the count apart; None where only its teacher matters.
        device: where the noise is put before it goes through the teacher.

    Raises:
        UsageError: it is another store, or another function's.
        DamagedError: it cannot be read.
    """
    begun = read_begun(folder)
    if begun is None or begun.noise_scheme != PHILOX:
        return
    function = not begun.teacher.sha256
    if settings is not None or function:
        wanted = (settings or settings_of(begun)).model_copy(update={"count": begun.count})
        check_match(folder, begun, plan(teacher, wanted, begun))
    units = (unit for unit in range(begun.units) if read_record(folder, begun, unit) is not None)
    first = next(units, None) if function else None
    if first is not None:
        check_goes_on(teacher, folder, begun, first, device)


def _check_space(folder: Path, needed: int) -> None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise StorageError(
            f"{folder}: the paths still to make take {needed / 1e9:,.1f} GB and the disk has {free / 1e9:,.1f} GB free; "
            "collect fewer, keep fewer states, or choose another folder"
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

    A store that holds fewer rows grows: what it holds stays, and stays readable meanwhile. The bytes on disk depend
    neither on interruptions nor on how processes share the units; whichever finds all committed seals the store.

    Args:
        teacher: makes the paths.
        folder: the store; new, empty, or begun with the same teacher and settings, `count` apart.
        settings: what to collect.
        rank: number of this process, 0 ... `world` - 1; it makes every `world`-th unit.
        world: number of processes that share the work.
        device: where the noise is put before it goes through the teacher.
        should_stop: asked before each micro-batch and within slow paths; a unit that ends within seconds is finished first.

    Yields:
        A report after each micro-batch, and one at the end.

    Raises:
        UsageError: contradicting settings, something else or more rows in `folder`, or paths not determined by noise.
        NumericsError: the teacher makes NaN.
        StorageError: the disk is too small, or full; run again to go on.
        Interrupted: `should_stop` said so; all finished units are committed.

    Warns:
        UserWarning: samples contradict the teacher's `data_scale` or `data_range`.
    """
    teacher = stoppable(teacher, should_stop)
    writer = _open(teacher, settings, Path(folder), device)
    manifest, (done, size), tried = writer.manifest, _totals(writer.committed()), False
    for unit in writer.pending_units(rank, world):
        parts: list[Made] = []
        seconds, stopping = math.inf, False
        for rows in micro_batches(manifest, unit):
            stopping = stopping or should_stop()
            left = (manifest.rows_of(unit).stop - rows.start) / manifest.micro_batch
            if stopping and (not parts or left * seconds > _SOON):
                raise Interrupted(f"stopped after {done} of {manifest.count} rows; run the same command again to go on")
            began = time.perf_counter()
            parts.append(make_rows(teacher, manifest, rows, device))
            seconds = time.perf_counter() - began
            made = done + sum(states.shape[1] for states, _ in parts)
            yield CollectReport(done, manifest.count, size, complete=False, made=made)
        states, labels = joined(parts)
        if not tried:
            try_out(teacher, manifest, states, device)
            tried = True
        record = writer.commit(unit, states, labels)
        done, size = made, size + record.bytes
        yield CollectReport(done, manifest.count, size, complete=False, made=done)
    yield _end(writer)


def _end(writer: StoreWriter) -> CollectReport:
    """Seal the store if all of it is there."""
    records = writer.committed()
    complete = len(records) == writer.manifest.units
    if complete:
        writer.seal()
    done, size = _totals(records)
    return CollectReport(done, writer.manifest.count, size, complete, made=done)


def _totals(records: Mapping[int, CommitRecord]) -> tuple[int, int]:
    """Rows and bytes."""
    return sum(r.stop - r.start for r in records.values()), sum(r.bytes for r in records.values())
