"""Trees of modules that a file describes: their tensors by the names a state dict would have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from koopstep.core.errors import DamagedError
from koopstep.formats.inert.dialect import Limits
from koopstep.formats.inert.values import Instance, TensorRecord

_PARTS = ("_modules", "_parameters", "_buffers")
_LONGEST_NAME = 128  # of one module or tensor; names are put together along the tree


def children(module: Instance, where: str) -> dict[str, Instance]:
    """The modules directly in one, in their order.

    Raises:
        DamagedError: this is no module.
    """
    parts = _part(module, "_modules", where)
    for name, part in parts.items():
        if part is not None and not isinstance(part, Instance):
            raise DamagedError(f"{where}: {module.name}.{name} is no module")
    return {name: part for name, part in parts.items() if part is not None}


def own_tensors(module: Instance, where: str) -> dict[str, TensorRecord]:
    """The parameters and persistent buffers of one module, without those of its children.

    Raises:
        DamagedError: this is no module.
    """
    passing = module.state.get("_non_persistent_buffers_set", set()) if isinstance(module.state, dict) else set()
    if not isinstance(passing, set):
        raise DamagedError(f"{where}: {module.name} is no module")
    buffers = {name: value for name, value in _part(module, "_buffers", where).items() if name not in passing}
    found: dict[str, TensorRecord] = {}
    for name, value in {**_part(module, "_parameters", where), **buffers}.items():
        if value is None:
            continue
        if not isinstance(value, TensorRecord):
            raise DamagedError(f"{where}: {module.name}.{name} is no tensor")
        found[name] = value
    return found


def walk(
    module: Instance, where: str, prefix: str = "", budget: list[int] | None = None
) -> Iterator[tuple[str, Instance]]:
    """Every module of a tree with its prefix (``"enc.block0."``), parents first.

    A module that stands in several places counts, with its tensors, in each of them.

    Raises:
        DamagedError: it is no tree of modules, or one of more modules and tensors than any real network has.
    """
    budget = [Limits().entries] if budget is None else budget
    budget[0] -= 1 + sum(len(_part(module, name, where)) for name in _PARTS)
    if budget[0] < 0:
        raise DamagedError(f"{where}: more than {Limits().entries} modules and tensors; no real network has as many")
    yield prefix, module
    for name, child in children(module, where).items():
        yield from walk(child, where, f"{prefix}{name}.", budget)


def named_tensors(module: Instance, where: str) -> dict[str, TensorRecord]:
    """All tensors of a tree of modules by name.

    Raises:
        DamagedError: it is no tree of modules.
    """
    return {
        f"{prefix}{name}": value
        for prefix, part in walk(module, where)
        for name, value in own_tensors(part, where).items()
    }


def _part(module: Instance, name: str, where: str) -> dict[str, Any]:
    """One of the dicts that every module has."""
    part = module.state.get(name) if isinstance(module.state, dict) else None
    if not isinstance(part, dict) or not all(type(key) is str and _is_name(key) for key in part):
        raise DamagedError(f"{where}: {module.name} is described without its {name}, so it is no module")
    return part


def _is_name(key: str) -> bool:
    return 0 < len(key) <= _LONGEST_NAME and "." not in key
