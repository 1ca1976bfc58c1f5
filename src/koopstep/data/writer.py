"""Writing a trajectory store: units are committed one by one, in any order, by any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from koopstep.core.config import dump
from koopstep.core.errors import NumericsError, UsageError
from koopstep.core.files import (
    is_temporary,
    make_folder,
    remove_stale,
    sha256_bytes,
    storage_error,
    write_atomic,
    write_json,
)
from koopstep.core.tensors import load_tensors, tensors_to_bytes
from koopstep.data.commits import (
    COMPLETE,
    GROWING,
    MANIFEST,
    CommitRecord,
    Completion,
    committed,
    read_begun,
    read_record,
    record_path,
    root_digest,
    shard_path,
)
from koopstep.data.manifest import PHILOX, Manifest


def check_match(folder: Path, found: Manifest, wanted: Manifest) -> None:
    """Refuse the store ``folder`` of the manifest ``found`` where it is not the one that is wanted.

    Raises:
        UsageError: naming the field that differs.
    """
    difference = found.differing_field(wanted)
    if difference is not None:
        whose = "another teacher's store" if difference.startswith("teacher.") else "another store"
        raise UsageError(f"{folder} holds {whose} ({difference}); choose another folder")


def read_unit(folder: Path, manifest: Manifest, unit: int) -> Tensor:
    """The stored states (B, K, *shape) of a committed unit.

    Raises:
        DamagedError: its bytes are not those that were committed.
    """
    record = read_record(folder, manifest, unit)
    tensors, _ = load_tensors(shard_path(folder, unit), None if record is None else record.sha256)
    return tensors["states"]


class StoreWriter:
    """Commits units to a store folder; opening the folder again goes on where it stopped.

    Args:
        folder: a new or empty folder, or a store with exactly this manifest, or one that this manifest is a growth of.
        manifest: what the store is to hold.

    Raises:
        UsageError: the folder holds something else; another store is refused naming the field that differs.
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        found = read_begun(folder)
        if found is None:
            self._must_be_empty()
            write_json(folder / MANIFEST, dump(manifest))
        elif found.count < manifest.count and found.count in manifest.grown:
            check_match(folder, found, manifest.earlier()[-1])
            self.manifest = found.grown_to(manifest.count)
            write_json(folder / GROWING, dump(self.manifest))
        else:
            check_match(folder, found, manifest)
            self.manifest = found  # which may know less of its teacher than the one given
        make_folder(folder / "shards")
        remove_stale(folder)
        remove_stale(folder / "shards")

    def _must_be_empty(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder} is a file; choose a new folder for the store")
        others = [p.name for p in self.folder.iterdir() if not is_temporary(p.name)] if self.folder.exists() else []
        if others:
            raise UsageError(f"{self.folder} is not empty and holds no store (found {others[0]}); choose a new folder")

    def committed(self) -> dict[int, CommitRecord]:
        """The units that are whole on disk, with their records."""
        return committed(self.folder, self.manifest)

    def pending_units(self, rank: int = 0, world: int = 1) -> Iterator[int]:
        """The units that process `rank` of `world` has still to make, found one by one; processes share none.

        Raises:
            UsageError: there is no such process.
        """
        if not 0 <= rank < world:
            raise UsageError(f"rank must be from 0 to world - 1, got rank {rank} and world {world}")
        mine = range(rank, self.manifest.units, world)
        return (unit for unit in mine if read_record(self.folder, self.manifest, unit) is None)

    def commit(self, unit: int, states: Tensor, class_labels: Tensor | None) -> CommitRecord:
        """Write a unit: the shard first, then the record that makes it count.

        Committing the same unit again, also from another process, is harmless.

        Args:
            unit: number of the unit.
            states: (K, B, *shape), the kept states of its rows; state 0 is not stored if recomputable.
            class_labels: (B,) int64, None exactly for a teacher without classes.

        Raises:
            UsageError: a wrong shape, missing or superfluous labels.
            NumericsError: a state is not finite (or does not fit float16).
            StorageError: it cannot be written; what was committed before stays.
        """
        m, rows = self.manifest, self.manifest.rows_of(unit)
        expected = (len(m.kept), len(rows), *m.shape)
        if tuple(states.shape) != expected:
            raise UsageError(f"unit {unit}: states must have shape {expected}, got {tuple(states.shape)}")
        if m.noise_scheme == PHILOX:
            states = states[1:]
        stored = states.detach().cpu().to(m.torch_dtype).movedim(0, 1).contiguous()
        if not bool(torch.isfinite(stored).all()):
            raise NumericsError(
                f"unit {unit} (rows {rows.start} to {rows.stop - 1}): a state is not finite as {m.dtype}; "
                "nothing of it was stored: check the teacher"
            )
        tensors = {"states": stored}
        if (class_labels is None) != (m.teacher.num_classes == 0):
            raise UsageError(f"unit {unit}: class labels must be given exactly for a teacher with classes")
        if class_labels is not None:
            if class_labels.shape != (len(rows),):
                raise UsageError(f"unit {unit}: expected {len(rows)} class labels, got {tuple(class_labels.shape)}")
            tensors["class_labels"] = class_labels.detach().cpu().to(torch.int64)
        data = tensors_to_bytes(tensors)
        record = CommitRecord(start=rows.start, stop=rows.stop, bytes=len(data), sha256=sha256_bytes(data))
        write_atomic(shard_path(self.folder, unit), data)
        write_json(record_path(self.folder, unit), dump(record))
        return record

    def seal(self) -> str:
        """Write `complete.json` once all units are committed, and return the store's root digest.

        That file decides what the store is; where it has grown, its manifest follows.

        Raises:
            UsageError: units are missing.
        """
        records = self.committed()
        if len(records) < self.manifest.units:
            raise UsageError(
                f"{len(records)} of {self.manifest.units} units committed in {self.folder}; run collect again to finish"
            )
        ordered = [records[unit] for unit in range(self.manifest.units)]
        digests = tuple(record.sha256 for record in ordered)
        root = root_digest(self.manifest, digests)
        sizes = tuple(record.bytes for record in ordered)
        completion = Completion(count=self.manifest.count, root=root, shards=digests, bytes=sizes)
        write_json(self.folder / COMPLETE, dump(completion))
        if self.manifest.grown:
            self._end_growth()
        return root

    def _end_growth(self) -> None:
        write_json(self.folder / MANIFEST, dump(self.manifest))
        try:
            (self.folder / GROWING).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(self.folder / GROWING, error) from error
