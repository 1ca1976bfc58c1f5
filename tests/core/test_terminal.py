"""Progress: when it is shown, where, and what it says."""

from __future__ import annotations

import io
import math
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from koopstep.cli.output import Page, flat, plain, shown
from koopstep.core import terminal as terminal_module
from koopstep.core.streams import Lossy
from koopstep.core.terminal import Pace, Screen, duration, rate, terminal


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_line_comes_each_ten_seconds() -> None:
    clock, stream = Clock(), io.StringIO()
    with Screen(stream, clock).bar("training", 6000, "step") as bar:
        for done in range(0, 6001, 10):
            bar.update(done, "loss [1e-3]")
            clock.now += 0.0625
    lines = stream.getvalue().splitlines()
    assert lines == [
        "training: 1,600/6,000 step  160 step/s, 0:28 left  loss [1e-3]",
        "training: 3,200/6,000 step  160 step/s, 0:18 left  loss [1e-3]",
        "training: 4,800/6,000 step  160 step/s, 0:08 left  loss [1e-3]",
        "training: 6,000/6,000 step in 0:38",
    ]


def test_a_short_stage_says_nothing() -> None:
    for stream in (io.StringIO(), Tty()):
        with Screen(stream).bar("x", 3, "row") as bar:
            bar.update(3)
        assert stream.getvalue() == ""


def test_a_stage_that_fails_is_not_called_done() -> None:
    clock, stream = Clock(), io.StringIO()
    with pytest.raises(ValueError, match="no"), Screen(stream, clock).bar("x", 3, "row") as bar:
        clock.now += 20
        bar.update(1)
        raise ValueError("no")
    assert stream.getvalue().splitlines() == ["x: 1/3 row"]


def until_shown(words: str, stream: io.StringIO) -> None:
    for _ in range(1000):
        if words in stream.getvalue():
            return
        time.sleep(0.01)
    raise AssertionError(f"{words!r} never appeared in {stream.getvalue()!r}")


def test_on_a_terminal_a_bar_appears_even_before_the_first_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_module, "SHOWN_AFTER", 0.05)
    monkeypatch.setenv("TERM", "xterm")
    stream = Tty()
    screen = Screen(stream, width=120)
    with screen.bar("training", 100, "step") as bar:
        until_shown("training", stream)
        bar.update(10, "a 1.0e-2")
        time.sleep(0.01)
        bar.update(50, "a 1.0e-3")
        until_shown("a 1.0e-3", stream)
        screen.say("[words]")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "50/100 step" in text
    assert "left" in text
    assert "a 1.0e-3" in text
    assert "[words]" in text
    assert text.splitlines()[-1].startswith("training: 50/100 step in 0:")
    assert stream.getvalue().count("\x1b[?25h") == 1  # the cursor is back


def test_the_pace_of_a_resumed_job_begins_where_it_was_resumed() -> None:
    pace = Pace(1000)
    assert pace.speed is None
    pace.add(0.0, 900)
    assert (pace.speed, pace.left) == (None, None)
    pace.add(10.0, 910)
    assert (pace.speed, pace.left) == (1.0, 90.0)
    for second in range(11, 100):
        pace.add(float(second), 910 + (second - 10) // 2)
    assert pace.speed == pytest.approx(0.5, abs=0.05)  # of the last half minute


def test_numbers_for_people() -> None:
    assert [duration(s) for s in (0.4, 75, 3700)] == ["0:00", "1:15", "1:01:40"]
    assert [rate(v, "step") for v in (1234.5, 3.14159, 0.01)] == ["1,234 step/s", "3.14 step/s", "0.01 step/s"]
    assert shown(None) == shown(math.nan) == "–"
    assert [shown(v) for v in (True, 55733891, 3.85e-4, 123456.7, (1, 8, 8), "x")] == [
        "yes",
        "55,733,891",
        "0.000385",
        "123,457",
        "1, 8, 8",
        "x",
    ]
    assert flat({"a": {"b": 1, "c": [2, 3]}, "d": [{"e": 4}]}) == {"a.b": 1, "a.c": [2, 3], "d.0.e": 4}


def test_json_holds_only_what_json_can_hold() -> None:
    value = {"a": (np.float32(0.5), np.int64(3), np.float64("nan"), float("-inf")), 1: Path("x"), "b": None, "c": True}
    assert plain(value) == {"a": [0.5, 3, None, None], "1": "x", "b": None, "c": True}
    with pytest.raises(TypeError, match="object"):
        plain({"a": object()})


def test_a_page_takes_brackets_and_long_paths_as_they_are() -> None:
    stream = io.StringIO()
    page = Page(terminal(stream))
    path = "/".join(["[bold]folder"] * 30)
    page.line(path)
    page.facts({"a": 1, "long name": path})
    page.table(["", "x"], [[path, 1.5]])
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert lines[0] == path
    assert lines[1:3] == ["a          1", f"long name  {path}"]
    assert lines[4] == f"{path}  1.5"


def test_a_stream_that_fails_is_left_alone() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    screen = Screen(Broken())
    screen.say("x")
    assert Lossy(Broken()).write("x") == 1
    assert Lossy(sys.stderr).writable()
