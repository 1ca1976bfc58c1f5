"""How deep inert values lie in one another, found without recursion: whoever walks them later may recurse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from koopstep.core.errors import DamagedError
from koopstep.formats.inert.values import Instance


class _Open:
    """A value on the way from the root: the children that are still to be looked at, the height found so far."""

    def __init__(self, value: Any) -> None:
        self.value, self.children, self.height = value, iter(_inner(value)), 1


def check_nesting(value: Any, deepest: int, where: str) -> None:
    """Refuse values that hold themselves or are nested deeper than ``deepest``.

    Every value is opened once, however often it is referred to, so the time is linear in the number of references.

    Raises:
        DamagedError: they do.
    """
    heights: dict[int, int] = {}  # of the values that are done with
    path, on_path = [_Open(value)], {id(value)}
    while path:
        here = path[-1]
        child = next(here.children, None)
        if child is None:
            path.pop()
            on_path.discard(id(here.value))
            heights[id(here.value)] = here.height
            if path:
                path[-1].height = max(path[-1].height, here.height + 1)
            continue
        if id(child) in on_path:
            raise DamagedError(f"{where}: a value that holds itself; no file of weights does")
        height = heights.get(id(child))
        if height is None:
            path.append(_Open(child))
            on_path.add(id(child))
        else:
            here.height = max(here.height, height + 1)
        if len(path) + (height or 0) > deepest:
            raise DamagedError(f"{where}: values nested deeper than {deepest}; no file of weights is")


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
