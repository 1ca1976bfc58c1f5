"""The fixed description of a trajectory store, and the records that say what has been committed to it.

A store is a folder: `manifest.json` (written first, never changed), `shards/NNNNN.safetensors` with the
commit record `shards/NNNNN.json` beside it, and `complete.json` (written last). Only shards with a commit
record count; readers want `complete.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator

from koopstep.core.config import Config, dump
from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_json, sha256_bytes
from koopstep.teachers.base import TeacherIdentity

PHILOX: Literal["philox-boxmuller-1"] = "philox-boxmuller-1"
Autocast = Literal["none", "bfloat16"]
_DTYPES = {"float32": torch.float32, "float16": torch.float16}
_SHARD_BYTES, _SHARD_ROWS, _MICRO_BATCH = 16 * 1024 * 1024, 4096, 512


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
        hold_out: rows kept from training, spread evenly.
        source: where the paths come from, in words.
    """

    format: Literal[1] = 1
    teacher: TeacherIdentity
    steps: int = Field(ge=1)
    kept: tuple[int, ...]
    levels: tuple[float, ...]
    shape: tuple[int, ...]
    dtype: Literal["float32", "float16"] = "float32"
    count: int = Field(ge=1)
    seed: int = Field(ge=0, lt=1 << 63)
    noise_scheme: Literal["philox-boxmuller-1", "stored"]
    unit_size: int = Field(ge=1)
    micro_batch: int = Field(ge=1)
    autocast: Autocast = "none"
    hold_out: int = Field(ge=0)
    source: str

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        kept = self.kept
        if len(kept) < 2 or kept[0] != 0 or kept[-1] != self.steps or list(kept) != sorted(set(kept)):
            raise ValueError(f"kept must increase from 0 to steps = {self.steps}, got {kept}")
        if len(self.levels) != len(kept):
            raise ValueError(f"levels must be one number for each kept state, got {len(self.levels)}")
        if self.hold_out >= self.count:
            raise ValueError(f"hold_out must be below count = {self.count}, got {self.hold_out}")
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape must be positive numbers, got {self.shape}")
        return self

    @property
    def units(self) -> int:
        """How many shards the complete store has."""
        return -(-self.count // self.unit_size)

    @property
    def stored_states(self) -> int:
        """How many states of a path are in a shard (state 0 is left out where it can be recomputed)."""
        return len(self.kept) - (self.noise_scheme == PHILOX)

    @property
    def torch_dtype(self) -> torch.dtype:
        """`dtype` for torch."""
        return _DTYPES[self.dtype]

    def rows_of(self, unit: int) -> range:
        """The rows of a unit.

        Raises:
            UsageError: there is no such unit.
        """
        if not 0 <= unit < self.units:
            raise UsageError(f"there is no unit {unit}; the store has units 0 to {self.units - 1}")
        return range(unit * self.unit_size, min((unit + 1) * self.unit_size, self.count))

    def held_out_rows(self) -> npt.NDArray[np.int64]:
        """The rows that training must not see, spread evenly, increasing; (hold_out,)."""
        number = self.hold_out
        return (2 * np.arange(number, dtype=np.int64) + 1) * self.count // max(2 * number, 1)

    def training_rows(self) -> npt.NDArray[np.int64]:
        """All other rows, increasing; (count - hold_out,)."""
        return np.setdiff1d(np.arange(self.count, dtype=np.int64), self.held_out_rows(), assume_unique=True)

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


class CommitRecord(Config):
    """The file beside a shard that says: this shard is whole."""

    start: int
    stop: int
    bytes: int
    sha256: str


class Completion(Config):
    """`complete.json`: the store is whole. `shards` holds each shard's SHA-256, `bytes` each one's size."""

    count: int
    root: str
    shards: tuple[str, ...]
    bytes: tuple[int, ...]


def default_unit_size(row_bytes: int) -> int:
    """Rows of a shard such that it has at most 16 MiB and 4096 rows (and at least one row)."""
    return max(1, min(_SHARD_ROWS, _SHARD_BYTES // max(row_bytes, 1)))


def default_micro_batch(unit_size: int) -> int:
    """Rows that pass the teacher at a time: at most 512."""
    return min(unit_size, _MICRO_BATCH)


def root_digest(manifest: Manifest, digests: Sequence[str]) -> str:
    """The store's identity: SHA-256 over the manifest and the shards' digests in order."""
    text = json.dumps({"manifest": dump(manifest), "shards": list(digests)}, sort_keys=True)
    return sha256_bytes(text.encode())


def shard_path(folder: Path, unit: int) -> Path:
    """Where a unit's tensors are."""
    return folder / "shards" / f"{unit:05d}.safetensors"


def record_path(folder: Path, unit: int) -> Path:
    """Where a unit's commit record is."""
    return folder / "shards" / f"{unit:05d}.json"


def read_manifest(folder: Path) -> Manifest:
    """Read a store's manifest.

    Raises:
        UsageError: `folder` is no store.
        DamagedError: the manifest cannot be read.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise UsageError(f"{folder} is no trajectory store (no manifest.json); make one with `koopstep collect`")
    try:
        return Manifest.parse(read_json(path), str(path))
    except UsageError as error:
        raise DamagedError(f"{error}; the manifest was damaged or is of another version") from error


def read_record(folder: Path, manifest: Manifest, unit: int) -> CommitRecord | None:
    """The commit record of a unit, or None where the unit does not count as committed.

    A shard whose record is missing or unreadable, or whose size is not the recorded one, is not committed.
    """
    path, rows = record_path(folder, unit), manifest.rows_of(unit)
    try:
        record = CommitRecord.parse(read_json(path), str(path))
        size = shard_path(folder, unit).stat().st_size
    except (UsageError, DamagedError, OSError):
        return None
    whole = (record.start, record.stop, record.bytes) == (rows.start, rows.stop, size)
    return record if whole else None
