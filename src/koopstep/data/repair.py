"""Making damaged units of a store again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from koopstep.core.errors import UsageError
from koopstep.data.manifest import PHILOX, differing_teacher_field
from koopstep.data.rows import make_unit
from koopstep.data.store import DamagedUnit, Store
from koopstep.data.writer import StoreWriter
from koopstep.teachers.base import Teacher


@dataclass(frozen=True)
class RepairReport:
    """One repaired unit. `identical`: its bytes are those that were committed first.

    On another kind of processor or with other software a unit may come back different in the last bits; the
    store then has another root.
    """

    damage: DamagedUnit
    identical: bool


def repair(folder: Path, teacher: Teacher, *, device: torch.device | str = "cpu") -> Iterator[RepairReport]:
    """Verify a store and regenerate what is damaged.

    Args:
        folder: a complete store.
        teacher: the teacher that made it.
        device: where the noise is put before it goes through the teacher.

    Yields:
        A report after each repaired unit; none where nothing is damaged.

    Raises:
        UsageError: `folder` is no complete store, was imported, or comes from another teacher.
        StorageError: the disk is full; run again to go on.
    """
    store = Store.open(folder)
    manifest = store.manifest
    damaged = store.verify()
    if manifest.noise_scheme != PHILOX:
        if not damaged:
            return
        units = ", ".join(str(damage.unit) for damage in damaged)
        raise UsageError(f"{folder} was imported and cannot be made again (damaged units: {units}); import it again")
    difference = differing_teacher_field(manifest.teacher, teacher.identity(manifest.steps))
    if difference is not None:
        raise UsageError(f"{folder} was made by another teacher ({difference}); repair needs the same one")
    if not damaged:
        return
    writer = StoreWriter(folder, manifest)
    for damage in damaged:
        record = writer.commit(damage.unit, *make_unit(teacher, manifest, damage.unit, device))
        yield RepairReport(damage, identical=record.sha256 == store.digest(damage.unit))
    writer.seal()
