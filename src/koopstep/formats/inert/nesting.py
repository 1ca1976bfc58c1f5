"""How deep inert values lie in one another, found without recursion: whoever walks them later may recurse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from koopstep.core.errors import DamagedError
from koopstep.formats.inert.values import Instance

_OPEN, _CLOSED = True, False


def check_nesting(value: Any, deepest: int, where: str) -> None:
    """Refuse values that hold themselves or are nested deeper than ``deepest``.

    Raises:
        DamagedError: they do.
    """
    states: dict[int, bool] = {}
    waiting, opened = [value], 0
    while waiting:
        current = waiting[-1]
        inner = _inner(current)
        known = states.get(id(current))
        if known is None:
            states[id(current)] = _OPEN
            opened += 1
            if opened > deepest:
                raise DamagedError(f"{where}: values nested deeper than {deepest}; no file of weights is")
            fresh = [child for child in inner if id(child) not in states]
            if any(states.get(id(child)) is _OPEN for child in inner):
                raise DamagedError(f"{where}: a value that holds itself; no file of weights does")
            waiting.extend(fresh)
            continue
        waiting.pop()
        if known is _OPEN:
            states[id(current)] = _CLOSED
            opened -= 1


def _inner(value: Any) -> list[Any]:
    """The containers and records directly inside a value."""
    parts: Iterable[Any]
    if isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    elif isinstance(value, Instance):
        parts = (value.args, value.state)
    else:
        return []
    return [part for part in parts if isinstance(part, dict | list | tuple | Instance)]
