"""Every example of the documentation runs, in a folder of its own, and stays short."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "docs" / "examples"
MAX_LINES = 60


def test_there_are_examples() -> None:
    if not EXAMPLES.is_dir():
        pytest.skip("docs/examples is not written yet")
    assert list(EXAMPLES.glob("*.py")), f"{EXAMPLES} holds no example"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_example_runs(
    example: Path, tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    lines = len(example.read_text(encoding="utf-8").splitlines())
    assert lines < MAX_LINES, f"{example.name} has {lines} lines, an example fewer than {MAX_LINES}"
    done = run_python(example, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
