"""Streams whose other end may go away: a job must not die because nobody listens any more."""

from __future__ import annotations

import contextlib
import io
import os
from typing import TextIO


def abandon(stream: TextIO) -> None:
    """Lead everything still written to ``stream`` nowhere, so that it cannot fail again, not even at exit."""
    with contextlib.suppress(OSError):  # a stream in memory has no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def tolerant(stream: TextIO) -> None:
    """Write characters that the stream's encoding lacks as question marks, rather than fail."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


class Lossy(io.TextIOBase):
    """Writes to ``stream`` for as long as that works, and nowhere after that."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding or "utf-8"

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError:
            abandon(self._stream)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            abandon(self._stream)
