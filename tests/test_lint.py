"""ruff and mypy --strict are part of the tests, at the versions constraints.txt pins."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "command",
    [("ruff", "check"), ("ruff", "format", "--check", "--diff"), ("mypy", "--strict")],
    ids=" ".join,
)
def test_the_code_is_clean(
    command: tuple[str, ...], repository: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    if importlib.util.find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: pip install -c constraints.txt koopstep[test]")
    done = run_python("-m", *command, cwd=repository, timeout=600)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
