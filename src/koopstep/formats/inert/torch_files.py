"""Files of ``torch.save`` in both formats, read into inert values."""

from __future__ import annotations

from typing import Any

from koopstep.core.errors import DamagedError, UsageError
from koopstep.formats.archive import Archive, of_bytes
from koopstep.formats.inert.dialect import Dialect, Limits
from koopstep.formats.inert.legacy import read_legacy, storage_reference
from koopstep.formats.inert.machine import Machine
from koopstep.formats.inert.nesting import check_nesting
from koopstep.formats.inert.steps import run
from koopstep.formats.inert.values import Storage

ZIP = b"PK\x03\x04"


class _ArchiveShelf:
    """Storages that are members of the archive."""

    def __init__(self, archive: Archive, folder: str) -> None:
        self._archive, self._folder = archive, folder
        self._storages: dict[str, Storage] = {}

    def fetch(self, reference: Any) -> Storage:
        if not isinstance(reference, tuple) or len(reference) != 5:
            raise ValueError("a persistent id that names no storage")
        key, dtype, numel = storage_reference(reference)
        known = self._storages.get(key)
        if known is None:
            known = Storage(dtype, numel, self._archive.read(f"{self._folder}data/{key}"))
            if known.data is None or len(known.data) != known.nbytes:
                raise ValueError(f"storage {key!r} has another size than its description")
            self._storages[key] = known
        if (known.dtype, known.numel) != (dtype, numel):
            raise ValueError(f"storage {key!r} is described in two ways")
        return known


def read_torch_file(data: memoryview, dialect: Dialect, limits: Limits, where: str) -> Any:
    """What a file holds, as plain data and inert records.

    Args:
        data: the whole file.
        dialect: what it may contain.
        limits: what it may cost; used up.
        where: what messages call it.

    Raises:
        DamagedError: it is neither of torch's formats, or damaged.
        UsageError: it asks for what ``dialect`` does not list.
    """
    value = (
        _read_archive(data, dialect, limits, where) if data[:4] == ZIP else read_legacy(data, dialect, limits, where)
    )
    check_nesting(value, limits.depth, where)
    return value


def _read_archive(data: memoryview, dialect: Dialect, limits: Limits, where: str) -> Any:
    archive = Archive(of_bytes(data), where)
    pickles = [name for name in archive.names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1 or any("/code/" in name for name in archive.names):
        raise UsageError(f"{where}: a zip archive that is no file of torch.save (TorchScript programs are not read)")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.names and bytes(archive.read(f"{folder}byteorder")) != b"little":
        raise UsageError(f"{where}: written on a big-endian machine; save it again on a usual one")
    content = archive.read(pickles[0])
    machine = Machine(content, 0, dialect, limits, f"{where} ({pickles[0]})", _ArchiveShelf(archive, folder))
    value = run(machine)
    if machine.position != len(content):
        raise DamagedError(f"{where}: {len(content) - machine.position} bytes left over in {pickles[0]}")
    return value
