"""A slow teacher that can be stopped: between two states of a path, not only after it."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

from torch import Tensor

from koopstep.core.errors import Interrupted
from koopstep.core.job import Stop
from koopstep.teachers.base import Teacher

_SOON = 5.0  # seconds in which a path is finished before a stop is obeyed


def stoppable(teacher: Teacher, stop: Stop) -> Teacher:
    """``teacher``, whose paths raise `Interrupted` between two states once they have taken seconds and ``stop`` says so."""

    def states(noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
        began = time.perf_counter()
        for state in teacher.states(noise, class_labels, steps):
            yield state
            if time.perf_counter() - began >= _SOON and stop():
                raise Interrupted("stopped within a path; run the same command again to go on")

    watched = copy.copy(teacher)
    watched.states = states  # type: ignore[method-assign]
    return watched
