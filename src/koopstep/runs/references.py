"""Real data that a run is compared with: named once, remembered in its folder, and the same ever after."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from torch import Tensor

from koopstep.core.config import Config, dump
from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_json, write_atomic, write_json
from koopstep.core.records import Found
from koopstep.data.reference import Kind, RealData, load_reference, numbers
from koopstep.data.sources import SOURCES, DataSource, find_path
from koopstep.formats.arrays import npz_bytes

RECORD, KEPT = "reference.json", "reference.npz"  # of a run


class ReferenceRecord(Config):
    """``reference.json`` of a run.

    Attributes:
        place: a built-in set's name, or where the data is; ``reference.npz`` is in the run itself.
        name: what reports call it.
        sha256: of the data.
    """

    place: str
    name: str
    sha256: str


def remember_reference(run: Path, given: RealData, source: DataSource) -> None:
    """Make real data that a user gave what a run is compared with from now on.

    `remembered_reference` finds it again, so that `evaluate`, `report` and `analyze` need not be given it. Of files and folders
    the place and the digest are kept; numbers in memory are written to ``reference.npz`` in the run.

    Args:
        run: the run's folder, made if absent.
        given: as the user gave it.
        source: the same as `koopstep.data.reference.load_reference` read and checked it.

    Raises:
        StorageError: the run's folder cannot be written.
    """
    if isinstance(given, Tensor | np.ndarray):
        place = KEPT
        write_atomic(run / KEPT, npz_bytes({"data": numbers(given)}))
    else:
        name = os.fspath(given)
        place = name if name in SOURCES else str(find_path(name).resolve())
    write_json(run / RECORD, dump(ReferenceRecord(place=place, name=source.name, sha256=source.sha256())))


def remembered_reference(run: Path, kind: Kind) -> Found[DataSource] | None:
    """What `remember_reference` got of a run, or why it is not at hand any more; None where it got nothing."""
    if not (run / RECORD).is_file():
        return None
    advice = "name real data with --reference"
    try:
        record = ReferenceRecord.parse(read_json(run / RECORD), str(run / RECORD))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what is done to the data was said when it was given
            source = load_reference(str(run / KEPT) if record.place == KEPT else record.place, kind)
    except (UsageError, DamagedError) as error:
        return Found(None, UsageError(f"the real data that this run was given is not at hand: {error}; {advice}"))
    if source.sha256() != record.sha256:
        return Found(
            None, UsageError(f"the real data {record.place} has changed since this run was given it; {advice}")
        )
    source.name = record.name
    return Found(source)
