"""The command as a process: signals, pipes that close, disks that are full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

# A training that goes on until it is told to stop; `deaf` ones never ask.
WORK = """
import sys, time
sys.path.insert(0, {here!r})
import cli_fakes
cli_fakes.install_for_good()
from koopstep.core.errors import Interrupted

def train(recipe, data, out, *, job, **rest):
    job.console.say("begun")
    while {deaf} or not job.stop():
        time.sleep(0.01)
    raise Interrupted("stopped at step 5 of 9, saved; run again with --resume to go on")

sys.modules["koopstep.workflows.train"].train = train
sys.argv = ["koopstep", "train", "board", "--data", "s", "--out", "r", "--json"]
from koopstep.cli.main import main
main()
"""
COMPARE = """
import sys
sys.path.insert(0, {here!r})
import cli_fakes
cli_fakes.install_for_good()
sys.argv = ["koopstep", "compare", "a", *{more}]
from koopstep.cli.main import main
main()
"""


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(code, **streams)`: a new interpreter, which does not outlive the test."""
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}
    begun: list[subprocess.Popen[str]] = []

    def begin(code: str, **streams: object) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        begun.append(subprocess.Popen([sys.executable, "-c", code], text=True, env=environment, **options))  # type: ignore[call-overload]
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def at_work(start: Start, deaf: bool) -> subprocess.Popen[str]:
    process = start(WORK.format(here=str(HERE), deaf=deaf))
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first == "begun\n", first + process.stderr.read()
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_job_save_and_ends_with_75(number: signal.Signals, start: Start) -> None:
    process = at_work(start, deaf=False)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert out == ""
    assert err.splitlines()[-1] == "koopstep: stopped at step 5 of 9, saved; run again with --resume to go on"
    assert "Traceback" not in err


def test_a_second_interrupt_kills_at_once(start: Start) -> None:
    process = at_work(start, deaf=True)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == "\n"
    assert "press Ctrl-C again" in process.stderr.readline()
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert err == ""


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_goes_away_is_no_failure(more: list[str], start: Start) -> None:
    process = start(COMPARE.format(here=str(HERE), more=more))
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "koopstep:" not in err
    assert "Error" not in err


def test_progress_that_nobody_reads_stops_nothing(start: Start) -> None:
    reading, writing = os.pipe()
    process = start(COMPARE.format(here=str(HERE), more=["--json"]), stderr=writing)
    os.close(writing)
    os.close(reading)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["rows"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_line_and_three(start: Start) -> None:
    with Path("/dev/full").open("w") as full:
        process = start(COMPARE.format(here=str(HERE), more=["--json"]), stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert err.splitlines()[-1] == "koopstep: No space left on device"


def test_the_bare_command_shows_its_help_and_the_version_is_one_line(start: Start) -> None:
    code = "import sys; sys.argv = ['koopstep', *{}]; from koopstep.cli.main import main; main()"
    for arguments, words in (([], "Usage: koopstep"), (["--version"], "koopstep "), (["data", "-h"], "verify")):
        started = time.monotonic()
        out, err = (process := start(code.format(arguments))).communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert words in out
        assert time.monotonic() - started < 10
