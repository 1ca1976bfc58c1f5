"""How a workflow speaks while it works: a line of text, or a bar for anything that takes long."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager


class Bar(ABC):
    """The state of one long stage."""

    @abstractmethod
    def update(self, done: int, note: str = "") -> None:
        """Say that ``done`` units are finished; ``note`` holds a few current numbers."""


class Console(ABC):
    """Where words and bars go."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Show one line."""

    @abstractmethod
    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Bar]:
        """Show a bar of ``total`` units while the context lasts."""


class _NoBar(Bar):
    def update(self, done: int, note: str = "") -> None:
        """Say nothing."""


class Quiet(Console):
    """A console that says nothing, for tests, scripts and processes that are not the first."""

    def say(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Bar]:
        yield _NoBar()
