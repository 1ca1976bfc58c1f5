"""Batches read ahead: while a step computes, the same rows of the next step are read in a thread.

What a batch holds does not depend on it: a batch is a function of its step, whoever reads it and whenever.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """``read(step, rows)``, called one step ahead in a thread.

    Errors come up where the batch is asked for. There is nothing to close: at most one batch per share of a step is
    being read, and is dropped when nobody asks for it.
    """

    def __init__(self, read: Callable[[int, slice], T], *, ahead: bool) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, "koopstep-read-ahead") if ahead else None
        self._coming: dict[tuple[int, int, int], Future[T]] = {}

    def get(self, step: int, rows: slice) -> T:
        """The batch of ``rows`` of ``step``; starts reading those of the step after it."""
        if self._thread is None:
            return self._read(step, rows)
        key = (step, rows.start, rows.stop)
        coming = self._coming.pop(key, None)
        for stale in [other for other in self._coming if other[0] < step]:
            self._coming.pop(stale).cancel()
        batch = self._read(step, rows) if coming is None else coming.result()
        self._coming[(step + 1, rows.start, rows.stop)] = self._thread.submit(self._read, step + 1, rows)
        return batch
