"""Reading a trajectory store: batches of any rows, held-out rows, and a check of every byte."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from koopstep.core.arguments import AnyPath, checked, whole_number
from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.explain import short
from koopstep.core.files import read_bytes, sha256_bytes
from koopstep.core.noise import gaussian
from koopstep.core.records import Batch
from koopstep.core.tensors import tensors_from_bytes
from koopstep.data.commits import (
    Completion,
    committed,
    read_complete,
    read_manifest,
    read_record,
    root_digest,
    shard_path,
)
from koopstep.data.manifest import PHILOX, Manifest, Rows

_MEMORY_LIMIT = 1 << 30  # bytes; larger stores are mapped from their files


@dataclass(frozen=True)
class DamagedUnit:
    """A unit whose files are not what was committed: its number, its rows [start, stop), what is wrong."""

    unit: int
    start: int
    stop: int
    reason: str


@dataclass(frozen=True)
class _Shard:
    states: npt.NDArray[np.floating]  # (B, K', *shape)
    class_labels: npt.NDArray[np.int64] | None


class Store:
    """A complete store, open for reading. Make one with `Store.open`.

    Nothing but the descriptions is read at first. Stores up to 1 GiB are read into memory with the first
    batch, and every shard's SHA-256 is checked on the way; larger ones are mapped, and only their sizes are
    checked (`verify` checks all).

    Attributes:
        folder: where it is.
        manifest: what it holds.
        root: digest of the manifest and all shards: the identity of the data.
        nbytes: bytes of all shards.
    """

    def __init__(self, folder: Path, manifest: Manifest, completion: Completion) -> None:
        self.folder = folder
        self.manifest = manifest
        self.root = completion.root
        self.nbytes = sum(completion.bytes)
        self._completion = completion
        kept = np.asarray(manifest.kept, dtype=np.float64) / manifest.steps
        self._progress = torch.from_numpy(kept.astype(np.float32))

    @classmethod
    @checked
    def open(cls, folder: AnyPath) -> Self:
        """Open a store.

        Raises:
            UsageError: `folder` is no store, or units are still missing.
            DamagedError: its descriptions contradict each other.
        """
        folder = Path(folder)
        found = read_complete(folder)
        if found is None:
            manifest = read_manifest(folder)
            done = len(committed(folder, manifest))
            raise UsageError(f"{done} of {manifest.units} units committed in {folder}; run collect again to finish")
        return cls(folder, *found)

    @property
    def count(self) -> int:
        """Rows in the store."""
        return self.manifest.count

    @property
    def progress(self) -> Tensor:
        """(K,) float32: progress u in [0, 1] of each kept state."""
        return self._progress

    def __len__(self) -> int:
        return self.count

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        m = self.manifest
        size = f"{self.nbytes / 1e6:,.0f} MB" if self.nbytes >= 1e7 else f"{self.nbytes / 1e3:,.0f} kB"
        states = "noise and data" if len(m.kept) == 2 else f"{len(m.kept)} states"
        return (
            f"<Store {str(self.folder)!r}: {self.count:,} paths ({m.hold_out:,} held out) of {m.teacher.name}, {states} of "
            f"shape {tuple(m.shape)}, {size}>"
        )

    def held_out_rows(self) -> Rows:
        """The rows that training must not see, spread evenly, increasing. Int64, (hold_out,)."""
        return self.manifest.held_out_rows()

    def training_rows(self) -> Rows:
        """All other rows, increasing. Int64, (count - hold_out,)."""
        return self.manifest.training_rows()

    def batch(self, indices: Rows) -> Batch:
        """The paths of some rows, in the order asked for.

        Args:
            indices: (B,) rows in [0, count); repeats allowed.

        Returns:
            A `Batch` on the CPU, float32.

        Raises:
            UsageError: a row that does not exist.
            DamagedError: a shard that is needed is damaged.
        """
        found = np.asarray(indices)
        if found.size and found.dtype.kind not in "iu":
            raise UsageError(f"rows must be a list of whole numbers, from 0 to {self.count - 1}, got {short(indices)}")
        rows = found.astype(np.int64)
        if rows.ndim != 1 or (rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < self.count):
            raise UsageError(f"rows must be a list of numbers from 0 to {self.count - 1}")
        m = self.manifest
        states = torch.empty(len(m.kept), len(rows), *m.shape)
        target = states.numpy()[len(m.kept) - m.stored_states :]
        classes = np.empty(len(rows), dtype=np.int64)
        # row by row, each straight to its place: in a large store hardly two rows share a shard
        for place, (unit, local) in enumerate(zip(*m.places_of(rows), strict=True)):
            shard = self._shards[unit]
            target[:, place] = shard.states[local]
            if shard.class_labels is not None:
                classes[place] = shard.class_labels[local]
        scale = m.teacher.noise_scale
        if m.noise_scheme == PHILOX:
            noise = self._noise(rows)
            exact = float(np.float32(scale)) == scale  # then float32 rounds as float64 would
            if exact:
                torch.mul(noise, scale, out=states[0])
            else:
                states[0] = noise.double() * scale
        else:
            noise = states[0] / scale
        labels = torch.from_numpy(classes) if m.teacher.num_classes > 0 else None
        return Batch(noise=noise, states=states, progress=self._progress, class_labels=labels)

    def _noise(self, rows: Rows) -> Tensor:
        if self._all_noise is not None:
            return self._all_noise[torch.from_numpy(rows)]
        return gaussian(self.manifest.seed, rows, self.manifest.shape)

    @cached_property
    def _in_memory(self) -> bool:
        noise = 4 * self.count * int(np.prod(self.manifest.shape))
        return self.nbytes + noise * (self.manifest.noise_scheme == PHILOX) <= _MEMORY_LIMIT

    @cached_property
    def _all_noise(self) -> Tensor | None:
        return gaussian(self.manifest.seed, range(self.count), self.manifest.shape) if self._in_memory else None

    @cached_property
    def _shards(self) -> list[_Shard]:
        read = self._read_shard if self._in_memory else self._map_shard
        return [read(unit) for unit in range(self.manifest.units)]

    def _damaged(self, unit: int, reason: str) -> DamagedError:
        return DamagedError(f"{shard_path(self.folder, unit)}: {reason}; run `koopstep data repair {self.folder}`")

    def _read_shard(self, unit: int) -> _Shard:
        path = shard_path(self.folder, unit)
        try:
            data = read_bytes(path)
        except UsageError as error:
            raise self._damaged(unit, "cannot be read") from error
        if sha256_bytes(data) != self._completion.shards[unit]:
            raise self._damaged(unit, "SHA-256 is not the committed one")
        tensors, _ = tensors_from_bytes(data, str(path))
        labels = tensors.get("class_labels")
        if "states" not in tensors or tensors["states"].shape != self._shard_shape(unit):
            raise self._damaged(unit, "does not hold the states that the manifest tells of")
        if (labels is None) != (self.manifest.teacher.num_classes == 0):
            raise self._damaged(unit, "class labels do not fit the manifest")
        return _Shard(tensors["states"].numpy(), None if labels is None else labels.numpy())

    def _shard_shape(self, unit: int) -> tuple[int, ...]:
        return (len(self.manifest.rows_of(unit)), self.manifest.stored_states, *self.manifest.shape)

    def _map_shard(self, unit: int) -> _Shard:
        path = shard_path(self.folder, unit)
        try:
            if path.stat().st_size != self._completion.bytes[unit]:
                raise self._damaged(unit, "has another size than was committed")
            with path.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(min(length, 1 << 20)))
            shape, labels = self._shard_shape(unit), None
            start = 8 + length + int(header["states"]["data_offsets"][0])
            states = np.memmap(path, self.manifest.dtype, "r", start, shape)
            if self.manifest.teacher.num_classes > 0:
                start = 8 + length + int(header["class_labels"]["data_offsets"][0])
                labels = np.memmap(path, np.int64, "r", start, shape[:1])
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise self._damaged(unit, "cannot be read") from error
        return _Shard(states, labels)

    def history(self) -> dict[str, Manifest]:
        """Root -> manifest of this store and of those it has grown from, oldest first."""
        shards = self._completion.shards
        earlier = {root_digest(m, shards[: m.units]): m for m in self.manifest.earlier()}
        return earlier | {self.root: self.manifest}

    def digest(self, unit: int) -> str:
        """The SHA-256 that was committed for a unit's shard."""
        return self._completion.shards[whole_number(unit, "unit", most=self.manifest.units - 1)]

    def verify(self, *, sizes_only: bool = False) -> list[DamagedUnit]:
        """Read every shard and compare it with what was committed; returns the damaged ones.

        With ``sizes_only`` nothing is read: are the shards there, and as long as they were?
        """
        damaged = []
        for unit in range(self.manifest.units):
            rows = self.manifest.rows_of(unit)
            reason = self._reason(unit, sizes_only)
            if reason is not None:
                damaged.append(DamagedUnit(unit, rows.start, rows.stop, reason))
        return damaged

    def _reason(self, unit: int, sizes_only: bool) -> str | None:
        path = shard_path(self.folder, unit)
        if not path.is_file():
            return "the shard is missing"
        if path.stat().st_size != self._completion.bytes[unit]:
            return f"the shard has {path.stat().st_size} bytes instead of {self._completion.bytes[unit]}"
        if sizes_only:
            return None
        if sha256_bytes(read_bytes(path)) != self._completion.shards[unit]:
            return "the shard's SHA-256 is not the committed one"
        record = read_record(self.folder, self.manifest, unit)
        if record is None or record.sha256 != self._completion.shards[unit]:
            return "the commit record is missing or was changed"
        return None


TrajectoryStore = Store  # its name in version 0.1
