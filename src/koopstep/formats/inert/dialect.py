"""What a kind of file may contain: opcodes, names, and what each name stands for. Everything else is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Make = Callable[[tuple[Any, ...]], Any]
"""Inert arguments -> an inert value; raises ValueError when they are not what the name takes."""


@dataclass
class Limits:
    """What a file may cost; checked before anything is allocated. ``operations`` and ``objects`` are used up.

    Attributes:
        file_bytes: size of the file.
        operations: opcodes, nested pickles included.
        objects: lists, dicts, sets, tuples, records and memo entries.
        text_bytes: of one text.
        marks: open brackets.
        depth: how deep values lie in one another.
        entries: tensors of one state dict, and modules of one tree.
    """

    file_bytes: int = 4 << 30
    operations: int = 400_000
    objects: int = 300_000
    text_bytes: int = 1_000_000
    marks: int = 128
    depth: int = 64
    entries: int = 20_000

    def fresh(self) -> Limits:
        """The same limits with nothing used up by another file."""
        return replace(self)


@dataclass(frozen=True)
class Dialect:
    """One kind of pickle.

    Attributes:
        name: what messages call it.
        protocols: allowed pickle protocols.
        opcodes: allowed opcodes.
        calls: name -> what a call of it (REDUCE) stands for.
        classes: name -> what a new object of it (NEWOBJ) stands for.
        tags: names that may be handed around but do nothing.
    """

    name: str
    protocols: frozenset[int]
    opcodes: frozenset[int]
    calls: Mapping[str, Make] = field(default_factory=dict)
    classes: Mapping[str, Make] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()

    def knows(self, name: str) -> bool:
        """Whether the name is on one of the lists."""
        return name in self.calls or name in self.classes or name in self.tags


def opcodes(text: str) -> frozenset[int]:
    """A set of opcodes from their characters."""
    return frozenset(text.encode("latin-1"))


PROTOCOL_2 = opcodes(".(N\x88\x89KMJ\x8aGXUT}])\x85\x86\x87taesuchjqr\x81RbQ")
"""Opcodes of torch's files: those that a protocol 2 pickle of numbers, texts, containers and tensors needs
(PROTO can only stand at the start)."""

PROTOCOL_4 = opcodes("\x95.(N\x88\x89KMJ\x8aGBC\x8eX\x8c}]\x8f)\x85\x86\x87taesu\x90hj\x94\x93\x81Rb")
"""Opcodes of EDM's network pickles."""
