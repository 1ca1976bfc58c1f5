"""What each stage of a run took, kept in a file beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from koopstep.core.errors import KoopstepError
from koopstep.core.files import make_folder, read_json, write_json

SECONDS = "seconds.json"


class Clock:
    """Seconds by stage: one that goes on adds to what it took before, one that was finished adds nothing.

    Attributes:
        seconds: by stage, rounded to hundredths.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / SECONDS
        self.seconds = _kept(self._path)

    @contextmanager
    def stage(self, name: str, *, finished: bool = False, again: bool = False) -> Iterator[None]:
        """Time a stage.

        Args:
            name: of the stage.
            finished: there is nothing left of it to do; what it took before stays.
            again: it is done from its beginning, so that what it took before does not count.
        """
        started = time.perf_counter()
        try:
            yield
        finally:
            if not finished:
                before = 0.0 if again else self.seconds.get(name, 0.0)
                self.note(name, before + time.perf_counter() - started)

    def note(self, name: str, seconds: float) -> None:
        """Write down what a stage took."""
        self.seconds[name] = round(seconds, 2)
        make_folder(self._path.parent)
        write_json(self._path, self.seconds)


def _kept(path: Path) -> dict[str, float]:
    """What was written down; nothing where nobody kept it, and nothing that is no time."""
    try:
        kept = read_json(path)
    except KoopstepError:
        return {}
    if not isinstance(kept, Mapping):
        return {}
    numbers = {str(name): float(value) for name, value in kept.items() if isinstance(value, int | float)}
    return {name: value for name, value in numbers.items() if math.isfinite(value) and value >= 0}
