"""The state of the stack machine that reads one pickle: bytes, stack, marks, memo, and what may still be spent.

Sizes are compared with the bytes that are there before anything is allocated. What the opcodes do is in
`koopstep.formats.inert.steps`.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn, Protocol

from koopstep.core.errors import DamagedError, UsageError
from koopstep.formats.inert.dialect import Dialect, Limits
from koopstep.formats.inert.values import Symbol

_NAME = re.compile(r"[A-Za-z_]\w{0,127}(\.[A-Za-z_]\w{0,127}){0,15}", re.ASCII)


class Shelf(Protocol):
    """Where a pickle's persistent ids point to."""

    def fetch(self, reference: Any) -> Any:
        """The storage (or class) behind a persistent id.

        Raises:
            ValueError: there is none.
        """


class Machine:
    """One run over one pickle.

    Args:
        data: the bytes.
        start: where the pickle begins.
        dialect: what it may contain.
        limits: what it may cost; used up as it runs.
        where: what messages call the file.
        shelf: what persistent ids point to; None where the dialect has none.
    """

    def __init__(
        self, data: memoryview, start: int, dialect: Dialect, limits: Limits, where: str, shelf: Shelf | None = None
    ) -> None:
        self.data, self.position, self.here = data, start, start
        self.dialect, self.limits, self.where, self.shelf = dialect, limits, where, shelf
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def fail(self, reason: str) -> NoReturn:
        """Stop with the place in the file."""
        raise DamagedError(
            f"{self.where}: byte {self.here}: {reason}; the file is damaged, or is not {self.dialect.name}"
        )

    def take(self, count: int) -> memoryview:
        """The next bytes, not copied."""
        end = self.position + count
        if end > len(self.data):
            self.fail(f"{count} bytes announced, {len(self.data) - self.position} there")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def number(self, width: int, *, signed: bool = False) -> int:
        """The next little-endian whole number."""
        return int.from_bytes(self.take(width), "little", signed=signed)

    def text(self, length: int) -> str:
        """The next text of so many bytes."""
        if length > self.limits.text_bytes:
            self.fail(f"a text of {length} bytes, at most {self.limits.text_bytes} are read")
        try:
            return str(self.take(length), "utf-8")
        except UnicodeDecodeError:
            self.fail("a text that is not UTF-8")

    def line(self) -> str:
        """The next text up to a line end, as GLOBAL has it."""
        piece = bytes(self.data[self.position : self.position + 256])
        length = piece.find(b"\n")
        if length < 0:
            self.fail("a name without an end")
        name = self.text(length)
        self.position += 1
        return name

    def frame(self) -> None:
        """A frame's announced length must be there; nothing else follows from it."""
        length = self.number(8)
        if length > len(self.data) - self.position:
            self.fail(f"a frame of {length} bytes, {len(self.data) - self.position} are there")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def made(self, value: Any) -> None:
        """Put a new object on the stack, and count it."""
        self.count()
        self.stack.append(value)

    def count(self, objects: int = 1) -> None:
        """So many objects more."""
        if self.limits.objects < objects:
            self.fail("more objects than any real file has")
        self.limits.objects -= objects

    def pop(self) -> Any:
        """Take the value on top, never below the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            self.fail("a value is taken that is not there")
        return self.stack.pop()

    def top(self) -> Any:
        """The value on top."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            self.fail("a value is looked at that is not there")
        return self.stack[-1]

    def pop_to_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        if not self.marks:
            self.fail("a mark is wanted that is not there")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def remember(self, index: int) -> None:
        """Keep the value on top in the memo. Picklers count its entries from 0 (Python 2: from 1)."""
        if index > len(self.memo) + 1:
            self.fail(f"memo entry {index} where {len(self.memo)} are kept")
        self.count()
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        """Push a value of the memo."""
        if index not in self.memo:
            self.fail(f"memo entry {index} was never made")
        self.push(self.memo[index])

    def symbol(self, module: Any, name: Any) -> None:
        """Push a name, if it is on the list."""
        if not isinstance(module, str) or not isinstance(name, str) or not _NAME.fullmatch(f"{module}.{name}"):
            self.fail("a name that is no name")
        full = f"{module}.{name}"
        if not self.dialect.knows(full):
            raise UsageError(
                f"{self.where}: byte {self.here}: the file wants {full}, which is not on the list for "
                f"{self.dialect.name}: refused; nothing was run"
            )
        self.made(Symbol(full))
