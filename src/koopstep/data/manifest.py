"""The description of a trajectory store: what its rows are, which of them are held out, and how they lie in shards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator

from koopstep.core.config import Added, Config, dump
from koopstep.core.errors import UsageError
from koopstep.teachers.base import TeacherIdentity

PHILOX: Literal["philox-boxmuller-1"] = "philox-boxmuller-1"
Autocast = Literal["none", "bfloat16"]
_DTYPES = {"float32": torch.float32, "float16": torch.float16}
_SHARD_BYTES, _SHARD_ROWS, _MICRO_BATCH, _HELD_OUT = 16 * 1024 * 1024, 4096, 512, 10_000
MOST_ROWS = 1 << 48
"""Of any store; far more than a disk holds, and few enough to count with."""

Rows = npt.NDArray[np.int64]


class Manifest(Config):
    """What a store holds. Two stores with equal manifests are meant to have equal bytes.

    Attributes:
        format: version of the layout on disk.
        teacher: who made the paths.
        steps: N of the teacher's grid; its states are 0 ... N.
        kept: the grid indices that are kept, increasing, from 0 to `steps`.
        levels: the teacher's level (sigma or t) at each kept state; for imported paths their progress.
        shape: shape of one sample.
        dtype: how states are stored.
        count: rows (paths) in the store.
        seed: seed of noise and class labels; 0 where the noise is stored.
        noise_scheme: `philox-boxmuller-1`: state 0 is recomputed from (seed, row) and not stored; `stored`:
            it came from elsewhere and is stored as every other state.
        unit_size: rows of one shard, the atom that is made, committed and repaired.
        micro_batch: rows that pass the teacher at a time (results depend on it by about 1e-7).
        autocast: number format of the teacher's network: `none` is that of its weights.
        hold_out: rows kept from training, spread evenly over the rows that the store began with.
        source: where the paths come from, in words.
        grown: how many rows the store was to have before each time that it grew, increasing. The rows of each growth
            begin a new shard: what was committed before is never touched, and the rows held out stay the same.
    """

    format: Literal[1] = 1
    teacher: TeacherIdentity
    steps: int = Field(ge=1)
    kept: tuple[int, ...]
    levels: tuple[float, ...]
    shape: tuple[int, ...]
    dtype: Literal["float32", "float16"] = "float32"
    count: int = Field(ge=1, lt=MOST_ROWS)
    seed: int = Field(ge=0, lt=1 << 63)
    noise_scheme: Literal["philox-boxmuller-1", "stored"]
    unit_size: int = Field(ge=1)
    micro_batch: int = Field(ge=1)
    autocast: Autocast = "none"
    hold_out: int = Field(ge=0)
    source: str
    grown: Annotated[tuple[int, ...], Added()] = ()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        kept = self.kept
        if len(kept) < 2 or kept[0] != 0 or kept[-1] != self.steps or list(kept) != sorted(set(kept)):
            raise ValueError(f"kept must increase from 0 to steps = {self.steps}, got {kept}")
        if len(self.levels) != len(kept):
            raise ValueError(f"levels must be one number for each kept state, got {len(self.levels)}")
        counts = (0, *self.grown, self.count)
        if list(counts) != sorted(set(counts)):
            raise ValueError(f"grown must increase from 1 to below count = {self.count}, got {self.grown}")
        if self.hold_out >= counts[1]:
            raise ValueError(f"hold_out must be below count = {counts[1]}, got {self.hold_out}")
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape must be positive numbers, got {self.shape}")
        return self

    @property
    def units(self) -> int:
        """How many shards the complete store has."""
        return sum(self._units_of(part) for part in self._parts())

    def _parts(self) -> list[range]:
        """The rows that the store began with, and those of each growth."""
        counts = (0, *self.grown, self.count)
        return [range(start, stop) for start, stop in pairwise(counts)]

    def _units_of(self, part: range) -> int:
        return -(-len(part) // self.unit_size)

    @property
    def stored_states(self) -> int:
        """How many states of a path are in a shard (state 0 is left out where it can be recomputed)."""
        return len(self.kept) - (self.noise_scheme == PHILOX)

    @property
    def row_bytes(self) -> int:
        """Bytes that a row takes on disk."""
        number = self.stored_states * math.prod(self.shape)
        return number * self.torch_dtype.itemsize + 8 * (self.teacher.num_classes > 0)

    @property
    def torch_dtype(self) -> torch.dtype:
        """`dtype` for torch."""
        return _DTYPES[self.dtype]

    def rows_of(self, unit: int) -> range:
        """The rows of a unit.

        Raises:
            UsageError: there is no such unit.
        """
        first = 0
        for part in self._parts():
            units = self._units_of(part)
            if first <= unit < first + units:
                start = part.start + (unit - first) * self.unit_size
                return range(start, min(start + self.unit_size, part.stop))
            first += units
        raise UsageError(f"there is no unit {unit}; the store has units 0 to {first - 1}")

    def places_of(self, rows: Rows) -> tuple[Rows, Rows]:
        """The unit of each row, and which row of that unit it is; (B,) each."""
        parts = self._parts()
        starts = np.array([part.start for part in parts])
        first = np.cumsum([0, *(self._units_of(part) for part in parts[:-1])])
        part = np.searchsorted(starts, rows, side="right") - 1
        units, local = np.divmod(rows - starts[part], self.unit_size)
        return first[part] + units, local

    def held_out_rows(self) -> Rows:
        """The rows that training must not see, spread evenly, increasing; (hold_out,)."""
        number, count = self.hold_out, (*self.grown, self.count)[0]
        return (2 * np.arange(number, dtype=np.int64) + 1) * count // max(2 * number, 1)

    def training_rows(self) -> Rows:
        """All other rows, increasing; (count - hold_out,)."""
        return np.setdiff1d(np.arange(self.count, dtype=np.int64), self.held_out_rows(), assume_unique=True)

    def grown_to(self, count: int) -> Manifest:
        """The manifest of this store with more rows.

        Raises:
            UsageError: `count` is not more.
        """
        return Manifest(**{**dict(self), "count": count, "grown": (*self.grown, self.count)})

    def earlier(self) -> list[Manifest]:
        """The manifests that the store had before it grew, oldest first."""
        return [self.model_copy(update={"count": n, "grown": self.grown[:k]}) for k, n in enumerate(self.grown)]

    def differing_field(self, other: Manifest) -> str | None:
        """Dotted name of the first field that differs, with both values, or None."""
        mine, theirs = dump(self, complete=True), dump(other, complete=True)
        mine["teacher"], theirs["teacher"] = _alike(self.teacher, other.teacher)
        if self.steps != other.steps:  # of which the teacher's number of evaluations only follows
            mine["teacher"].pop("num_function_evaluations")
            theirs["teacher"].pop("num_function_evaluations")
        return _differing(mine, theirs)


def _alike(a: TeacherIdentity, b: TeacherIdentity) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both as plain data; the data they learned from only where both name it, as stores of version 0.1 do not."""
    mine, theirs = dump(a, complete=True), dump(b, complete=True)
    if a.training_data is None or b.training_data is None:
        mine.pop("training_data", None)
        theirs.pop("training_data", None)
    return mine, theirs


def _differing(mine: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> str | None:
    for key in dict.fromkeys([*mine, *theirs]):
        a, b = mine.get(key), theirs.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            inner = _differing(a, b, f"{prefix}{key}.")
            if inner is not None:
                return inner
        elif a != b:
            return f"{prefix}{key}: {a} there, {b} here"
    return None


def differing_teacher_field(stored: TeacherIdentity, given: TeacherIdentity) -> str | None:
    """Name of the first field in which two teachers differ, with both values, or None."""
    return _differing(*_alike(stored, given))


def default_unit_size(row_bytes: int) -> int:
    """Rows of a shard such that it has at most 16 MiB and 4096 rows (and at least one row)."""
    return max(1, min(_SHARD_ROWS, _SHARD_BYTES // max(row_bytes, 1)))


def default_hold_out(count: int) -> int:
    """Rows kept from training: a tenth, at most 10,000."""
    return min(count // 10, _HELD_OUT)


def default_micro_batch(unit_size: int) -> int:
    """Rows that pass the teacher at a time: at most 512."""
    return min(unit_size, _MICRO_BATCH)
