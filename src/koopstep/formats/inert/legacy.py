"""torch's first file format: four small pickles and the object, then the numbers of each storage.

``magic, version, system facts, object, storage keys`` are pickles; then, for each key, the count of numbers (int64) and
the numbers.
"""

from __future__ import annotations

from typing import Any

from koopstep.core.errors import DamagedError, UsageError
from koopstep.formats.inert.dialect import Dialect, Limits
from koopstep.formats.inert.machine import Machine
from koopstep.formats.inert.steps import run
from koopstep.formats.inert.torch_dialect import STORAGE_ONLY
from koopstep.formats.inert.values import STORAGES, Storage, Symbol

MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001


class LegacyShelf:
    """Storages that are named before their numbers come."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}

    def fetch(self, reference: Any) -> Any:
        """``('storage', class, key, place, count, view)`` or ``('module', class, file, source)``."""
        if isinstance(reference, tuple) and len(reference) == 4 and reference[0] == "module":
            return reference[1]  # the source that comes with it is not looked at
        if not isinstance(reference, tuple) or len(reference) != 6 or reference[5] is not None:
            raise ValueError("a persistent id that names no whole storage")
        key, dtype, numel = storage_reference(reference)
        known = self.storages.setdefault(key, Storage(dtype, numel))
        if (known.dtype, known.numel) != (dtype, numel):
            raise ValueError(f"storage {key!r} is described in two ways")
        return known


def storage_reference(reference: tuple[Any, ...]) -> tuple[str, str, int]:
    """Key, dtype and count of ``('storage', class, key, place, count, ...)``.

    Raises:
        ValueError: it is not that.
    """
    kind, symbol, key, place, numel = reference[:5]
    wellformed = kind == "storage" and isinstance(symbol, Symbol) and type(key) is str and isinstance(place, str)
    if not wellformed or symbol.name not in STORAGES or type(numel) is not int or not 0 <= numel < 1 << 40:
        raise ValueError("a persistent id that describes no storage")
    return key, STORAGES[symbol.name][0], numel


def read_legacy(data: memoryview, dialect: Dialect, limits: Limits, where: str) -> Any:
    """The object of a whole file in the first format, its storages filled.

    Raises:
        DamagedError: it is not that format, cut off, or has bytes left over.
        UsageError: it asks for what ``dialect`` does not list, or was written on a big-endian machine.
    """
    position = 0
    shelf = LegacyShelf()
    values: list[Any] = []
    for step_dialect in (STORAGE_ONLY, STORAGE_ONLY, STORAGE_ONLY, dialect, STORAGE_ONLY):
        machine = Machine(data, position, step_dialect, limits, where, shelf)
        values.append(run(machine))
        position = machine.position
        if len(values) == 3:
            _check_head(values, where)
    keys = values[4]
    if not isinstance(keys, list) or any(type(key) is not str for key in keys) or set(keys) != set(shelf.storages):
        raise DamagedError(f"{where}: byte {position}: the list of storages does not match those that are used")
    if len(keys) != len(shelf.storages):
        raise DamagedError(f"{where}: byte {position}: a storage is listed twice")
    for key in keys:
        position = _fill(data, position, shelf.storages[key], where)
    if position != len(data):
        raise DamagedError(f"{where}: byte {position}: {len(data) - position} bytes left over")
    return values[3]


def _check_head(values: list[Any], where: str) -> None:
    magic, version, facts = values
    if magic != MAGIC or version != _VERSION or not isinstance(facts, dict):
        raise DamagedError(f"{where}: not torch's file format (its first numbers are others)")
    if facts.get("little_endian") is not True:
        raise UsageError(f"{where}: written on a big-endian machine; save it again on a usual one")


def _fill(data: memoryview, position: int, storage: Storage, where: str) -> int:
    start = position + 8
    numel = int.from_bytes(data[position:start], "little")
    if start > len(data) or numel != storage.numel or start + storage.nbytes > len(data):
        raise DamagedError(f"{where}: byte {position}: {storage.numel} numbers of {storage.dtype} are not there")
    storage.data = data[start : start + storage.nbytes]
    return start + storage.nbytes


def read_storage(data: memoryview, limits: Limits, where: str) -> Storage:
    """One storage that was saved alone in the first format, as lies inside EDM's pickles.

    Raises:
        DamagedError: it is not that.
        UsageError: as :func:`read_legacy`.
    """
    value = read_legacy(data, STORAGE_ONLY, limits, where)
    if not isinstance(value, Storage):
        raise DamagedError(f"{where}: no storage in it")
    return value
