"""Progress on standard error: a bar on a terminal, else lines now and then, nothing for short stages."""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TextIO, cast

from rich.console import Console as Terminal
from rich.console import Group, RenderableType
from rich.errors import LiveError
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from koopstep.core.console import Bar, Console
from koopstep.core.streams import Lossy
from koopstep.core.text import printable

SHOWN_AFTER = 2.0  # seconds a stage must last to be worth a bar
LINE_EVERY = 10.0  # seconds between two lines where there is no terminal
_SPEED_WINDOW = 30.0  # seconds that speed and time left are judged by
_WIDE = 10_000  # columns where there is no terminal to break lines for

Clock = Callable[[], float]


def terminal(stream: TextIO, width: int | None = None) -> Terminal:
    """A rich console on ``stream`` that takes text as it is; without a terminal it breaks no lines."""
    if width is None and not stream.isatty():
        width = _WIDE
    return Terminal(file=cast("IO[str]", Lossy(stream)), markup=False, highlight=False, emoji=False, width=width)


class Pace:
    """Speed and time left, from the last half minute.

    The first report sets the start, because a resumed job does not begin at zero.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, done: int) -> None:
        """Take note that ``done`` units are finished at ``now`` (seconds of any clock)."""
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] > _SPEED_WINDOW:
            self._seen.popleft()

    @property
    def speed(self) -> float | None:
        """Units a second; None while unknown."""
        if len(self._seen) < 2:
            return None
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if end > start and last > first else None

    @property
    def left(self) -> float | None:
        """Seconds left; None while unknown."""
        speed = self.speed
        return None if speed is None else (self._total - self._seen[-1][1]) / speed


def duration(seconds: float) -> str:
    """``75`` -> ``1:15``, ``3700`` -> ``1:01:40``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def rate(speed: float, unit: str) -> str:
    """``1234.5`` -> ``1,234 step/s``; slow ones with decimals."""
    return f"{speed:,.0f} {unit}/s" if speed >= 100 else f"{speed:.3g} {unit}/s"


class _Sight(ABC):
    """Where a stage is seen."""

    @abstractmethod
    def update(self, stage: Stage) -> None:
        """Show the stage as it is now."""

    @abstractmethod
    def close(self, stage: Stage) -> bool:
        """Take it off; True if it was seen at all."""


class Stage(Bar):
    """One long stage: what it is called, how far it is, how fast it goes."""

    def __init__(self, title: str, total: int, unit: str, clock: Clock) -> None:
        self.title, self.total, self.unit = printable(title), total, unit
        self.clock, self.started = clock, clock()
        self.done, self.note = 0, ""
        self.pace = Pace(total)
        self.sight: _Sight | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return self.clock() - self.started

    def update(self, done: int, note: str = "") -> None:
        self.done, self.note = done, printable(note)
        self.pace.add(self.clock(), done)
        if self.sight is not None:
            self.sight.update(self)

    def count(self) -> str:
        """``120/6,000 step``."""
        return f"{self.done:,}/{self.total:,} {self.unit}"

    def timing(self) -> str:
        """``35 step/s, 0:12 left``; empty while unknown."""
        speed, left = self.pace.speed, self.pace.left
        return "" if speed is None or left is None else f"{rate(speed, self.unit)}, {duration(left)} left"


class Screen(Console):
    """Lines and bars on a stream.

    Args:
        stream: standard error, as a rule.
        clock: seconds that only grow.
        width: columns of the terminal; found out when None.
    """

    def __init__(self, stream: TextIO, clock: Clock = time.monotonic, width: int | None = None) -> None:
        self._sheet = terminal(stream, width)
        self._live = stream.isatty() and not self._sheet.is_dumb_terminal
        self._clock = clock

    def say(self, text: str) -> None:
        self._sheet.print(Text(printable(text)), soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Bar]:
        stage = Stage(title, total, unit, self._clock)
        sight: _Sight = _LiveBar(self._sheet, stage) if self._live else _Lines(self.say, stage)
        stage.sight = sight
        seen = False
        try:
            yield stage
            seen = True
        finally:
            seen = sight.close(stage) and seen
        if seen:
            self.say(f"{title}: {stage.count()} in {duration(stage.elapsed)}")


class _Lines(_Sight):
    """A line each ten seconds."""

    def __init__(self, say: Callable[[str], None], stage: Stage) -> None:
        self._say, self._last = say, stage.started
        self._seen = False

    def update(self, stage: Stage) -> None:
        now = stage.clock()
        if now - self._last < LINE_EVERY:
            return
        self._last, self._seen = now, True
        self._say("  ".join(part for part in (f"{stage.title}: {stage.count()}", stage.timing(), stage.note) if part))

    def close(self, stage: Stage) -> bool:
        return self._seen


class _LiveBar(_Sight):
    """A bar that appears once the stage has lasted, whether or not it has reported anything by then."""

    def __init__(self, sheet: Terminal, stage: Stage) -> None:
        self._live = Live(get_renderable=lambda: _drawn(stage), console=sheet, refresh_per_second=4, transient=True)
        self._lock, self._open, self._shown = threading.Lock(), True, False
        self._timer = threading.Timer(SHOWN_AFTER, self._show)
        self._timer.daemon = True
        self._timer.start()

    def _show(self) -> None:
        with self._lock:
            if self._open:
                with contextlib.suppress(LiveError):  # an older rich shows one bar at a time: the outer one
                    self._live.start(refresh=True)
                    self._shown = True

    def update(self, stage: Stage) -> None:
        """Nothing to do: the stage is drawn as it is, four times a second."""

    def close(self, stage: Stage) -> bool:
        self._timer.cancel()
        with self._lock:
            self._open = False
            if self._shown:
                self._live.stop()
        return self._shown


def _drawn(stage: Stage) -> RenderableType:
    """The bar with its numbers, and below it the note."""
    row = Table.grid(padding=(0, 1))
    cells = [Text(text, no_wrap=True) for text in (stage.title, stage.count(), stage.timing())]
    row.add_row(cells[0], ProgressBar(total=stage.total, completed=stage.done, width=20), *cells[1:])
    note = Text(stage.note, style="dim")
    return Group(row, note) if stage.note else row
