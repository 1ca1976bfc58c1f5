"""Where a command's words, numbers and progress go, and the job it works in."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console as Terminal
from rich.table import Table
from rich.text import Text

from koopstep.core.console import Console, Quiet
from koopstep.core.environment import launched
from koopstep.core.streams import Lossy, abandon
from koopstep.core.terminal import Screen, terminal
from koopstep.core.text import printable

if TYPE_CHECKING:
    from koopstep.core.job import Job, Stop


class Output:
    """The mouth of one command.

    People's text goes to standard output, or to standard error beside ``--json``; progress always goes to
    standard error. Under ``torchrun`` only the first process speaks.

    Args:
        as_json: end standard output with one JSON object.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._speaks = launched().rank == 0
        self.console: Console = Screen(sys.stderr) if self._speaks else Quiet()

    @contextmanager
    def job(self, device: str | None = None, stop: Stop | None = None) -> Iterator[Job]:
        """The job of this command: on the device called ``device``, ended by ``stop``, speaking here."""
        from koopstep.core.job import Job, never, working_on

        with working_on(device) as place:
            yield Job(place, self.console, stop or never)

    def finish(self, result: Mapping[str, Any], show: Callable[[Page], None]) -> None:
        """Report what the command found.

        Args:
            result: the JSON object.
            show: writes the same for people.
        """
        if not self._speaks:
            return
        sheet = terminal(sys.stderr if self._as_json else sys.stdout)
        with sheet.capture() as capture:
            show(Page(sheet))
        text = "".join(line.rstrip() + "\n" for line in capture.get().splitlines())
        if self._as_json:
            Lossy(sys.stderr).write(text)
            write_out(json.dumps(plain(result), allow_nan=False) + "\n")
        else:
            write_out(text)


def write_out(text: str) -> None:
    """Write to standard output. A reader that went away has seen enough: that is no failure.

    Raises:
        OSError: if the output cannot be written for another reason, such as a full disk.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        abandon(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise


class Page:
    """Text for people: facts, tables and lines."""

    def __init__(self, sheet: Terminal) -> None:
        self._sheet = sheet

    def line(self, text: str) -> None:
        """One line, never broken (it may hold a path)."""
        self._sheet.print(Text(printable(text)), soft_wrap=True)

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Names with their values, aligned; a long value is never broken."""
        width = max((len(name) for name in facts), default=0)
        for name, value in facts.items():
            self.line(f"{name:<{width}}  {shown(value)}")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table; the first column is text, numbers in the others stand at the right."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for index, name in enumerate(head):
            column = [row[index] for row in rows]
            texts = index == 0 or any(isinstance(value, str) for value in column)
            table.add_column(printable(name), justify="left" if texts else "right", overflow="fold")
        for row in rows:
            table.add_row(*(printable(shown(value)) for value in row))
        self._sheet.print(table)


def plain(value: Any) -> Any:
    """``value`` as strict JSON holds it: numbers that are not finite become None, paths text, tuples lists.

    Raises:
        TypeError: if there is something else in it.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    raise TypeError(f"{type(value).__name__} is nothing JSON can hold")


def shown(value: Any) -> str:
    """A value for people: four digits of a number, thousands set apart, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        return _real(float(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(item) for item in value)
    return str(value)


def _real(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings with their keys joined by dots; lists of mappings are numbered."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            result |= flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            result |= flat({str(index): item for index, item in enumerate(value)}, f"{name}.")
        else:
            result[name] = value
    return result
