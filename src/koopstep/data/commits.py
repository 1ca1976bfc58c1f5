"""What has been committed to a trajectory store, and how its files say so.

A store is a folder: `manifest.json` (written first), `shards/NNNNN.safetensors` with the commit record
`shards/NNNNN.json` beside it, and `complete.json` (written last). Only shards with a commit record count; readers want
`complete.json`. While a complete store grows, `growing.json` holds its next manifest. It stays the old store until
`complete.json` is replaced, and is the new one from then on: readers take the manifest that `complete.json` belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from koopstep.core.config import Config, dump
from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_json, sha256_bytes
from koopstep.data.manifest import Manifest

MANIFEST, GROWING, COMPLETE = "manifest.json", "growing.json", "complete.json"


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

    def belongs_to(self, manifest: Manifest) -> bool:
        """Whether it completes the store of ``manifest``."""
        lengths = (len(self.shards), len(self.bytes), self.count)
        agrees = lengths == (manifest.units, manifest.units, manifest.count)
        return agrees and root_digest(manifest, self.shards) == self.root


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
    """The manifest that a store began with, or had before the growth that is under way.

    Raises:
        UsageError: `folder` is no store.
        DamagedError: the manifest cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(
            f"{folder} is no trajectory store (no {MANIFEST}); make one with `koopstep collect`, or of pairs that exist with "
            "`koopstep data import`"
        )
    return _parse_manifest(path)


def _parse_manifest(path: Path) -> Manifest:
    try:
        return Manifest.parse(read_json(path), str(path))
    except UsageError as error:
        raise DamagedError(f"{error}; the manifest was damaged or is of another version") from error


def read_complete(folder: Path) -> tuple[Manifest, Completion] | None:
    """What a store holds; None where it was never completed.

    Raises:
        UsageError: `folder` is no store.
        DamagedError: its descriptions cannot be read, or contradict each other.
    """
    path = folder / COMPLETE
    for _ in range(3):  # a growth may end while its files are read
        manifest = read_manifest(folder)
        if not path.exists():
            return None
        try:
            completion = Completion.parse(read_json(path), str(path))
        except UsageError as error:
            raise DamagedError(f"{error}; run `koopstep collect` again to write it anew") from error
        for candidate in (manifest, _growing(folder)):
            if candidate is not None and completion.belongs_to(candidate):
                return candidate, completion
    raise DamagedError(f"{path} does not belong to the manifest beside it: one of them was changed")


def _growing(folder: Path) -> Manifest | None:
    try:
        return _parse_manifest(folder / GROWING)
    except DamagedError:  # absent, or nothing that a store was completed with
        return None


def read_begun(folder: Path) -> Manifest | None:
    """What a store holds, or is to hold where it was never completed; None where `folder` holds no store.

    Raises:
        DamagedError: the manifest cannot be read.
    """
    if not (folder / MANIFEST).exists():
        return None
    try:
        found = read_complete(folder)
    except DamagedError:  # what says that it is complete is written anew
        found = None
    return read_manifest(folder) if found is None else found[0]


def committed(folder: Path, manifest: Manifest) -> dict[int, CommitRecord]:
    """The units that are whole on disk, increasing, with their records; takes as long as there are records."""
    stems = (path.stem for path in (folder / "shards").glob("*.json"))
    units, most = (int(stem) for stem in stems if stem.isascii() and stem.isdigit()), manifest.units
    records = ((unit, read_record(folder, manifest, unit)) for unit in sorted(units) if unit < most)
    return {unit: record for unit, record in records if record is not None}


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
