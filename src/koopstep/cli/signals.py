"""SIGINT and SIGTERM as a question a long job asks between two units of work."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from koopstep.core.environment import launched

_SHOW_CURSOR = b"\x1b[?25h"
_NOTICE = b"\nkoopstep: stopping as soon as the work so far is saved; press Ctrl-C again to stop at once\n"


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Within the context the first SIGINT or SIGTERM only makes the yielded function return True.

    A second SIGINT kills the process at once, even inside compiled code; a second SIGTERM changes nothing.
    Under ``torchrun`` a second SIGINT changes nothing either: torchrun passes on what the terminal has sent
    to every process already.
    """
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        if number == signal.SIGINT and not launched().by_torchrun:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            with contextlib.suppress(OSError):  # unbuffered: a handler may run within any other write
                os.write(2, (_SHOW_CURSOR if os.isatty(2) else b"") + _NOTICE)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, old in before.items():
            signal.signal(number, old)
