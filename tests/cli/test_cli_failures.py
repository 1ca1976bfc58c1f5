"""Every failure is one line and an exit code."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import cli_fakes
import pytest

from koopstep.cli import main
from koopstep.cli.failures import EXIT_CODES, describe
from koopstep.core.errors import DamagedError, Interrupted, KoopstepError, NumericsError, StorageError, UsageError


class OutOfMemoryError(RuntimeError):
    """As an accelerator raises it."""


FAILURES = [
    (KoopstepError("a\nb"), 1, "a b"),
    (UsageError("no such preset"), 2, "no such preset"),
    (DamagedError("unit 3"), 3, "unit 3"),
    (StorageError("disk"), 3, "disk"),
    (NumericsError("step 3: nan"), 3, "step 3: nan"),
    (Interrupted("stopped"), 75, "stopped"),
    (MemoryError(), 3, "not enough memory"),
    (OutOfMemoryError("CUDA out of memory. Tried to allocate"), 3, "not enough memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 3, "not enough memory"),
    (OSError(errno.ENOSPC, "No space left on device", "x/y"), 3, "No space left on device: x/y"),
    (PermissionError(errno.EACCES, "Permission denied", "x"), 3, "Permission denied: x"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), 2, "No such file or directory: x"),
    (KeyboardInterrupt(), 1, "interrupted"),
    (KeyError("x"), 1, "internal error: KeyError: 'x'; set KOOPSTEP_DEBUG=1 for the traceback"),
    (AssertionError(), 1, "internal error: AssertionError; set KOOPSTEP_DEBUG=1 for the traceback"),
    (OSError("no number"), 1, "internal error: OSError: no number"),
]


@pytest.mark.parametrize(("error", "code", "words"), FAILURES, ids=lambda value: repr(value)[:40])
def test_a_failure_is_described(error: BaseException, code: int, words: str) -> None:
    failure = describe(error)
    assert failure.exit_code == code
    assert failure.exit_code in EXIT_CODES
    assert failure.line.startswith(words)
    assert "\n" not in failure.line


@pytest.mark.parametrize(("error", "code", "words"), FAILURES, ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize("debug", [False, True])
def test_a_command_that_fails_says_so_in_one_line(
    error: BaseException,
    code: int,
    words: str,
    debug: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli_fakes.install(lambda name, module: monkeypatch.setitem(sys.modules, name, module))

    def fail(runs: list[Path]) -> None:
        raise error

    monkeypatch.setattr(sys.modules["koopstep.workflows.compare"], "compare_runs", fail)
    monkeypatch.setenv("KOOPSTEP_DEBUG", "1" if debug else "")
    assert main.run(["compare", "a", "--json"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith(f"koopstep: {words}")
    if not debug:
        assert len(said.err.splitlines()) == 1
    elif not isinstance(error, KeyboardInterrupt):  # typer keeps that one's traceback to itself
        assert "Traceback" in said.err


def test_the_process_that_failed_says_which_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert main.run(["nonsense"]) == 2
    assert capsys.readouterr().err.startswith("koopstep (process 1): ")


def test_of_processes_that_stop_together_only_the_first_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli_fakes.install(lambda name, module: monkeypatch.setitem(sys.modules, name, module))

    def stop(runs: list[Path]) -> None:
        raise Interrupted("stopped")

    monkeypatch.setattr(sys.modules["koopstep.workflows.compare"], "compare_runs", stop)
    for rank, said in (("0", "koopstep: stopped\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        assert main.run(["compare", "a"]) == 75
        assert capsys.readouterr().err == said
