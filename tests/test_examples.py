"""Every example of the documentation runs, in a folder of its own, and stays short."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).resolve().parent.parent / "docs" / "examples"
MAX_LINES = 60


def test_there_are_examples() -> None:
    assert list(EXAMPLES.glob("*.py")), f"{EXAMPLES} holds no example"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_example_runs(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = len(example.read_text(encoding="utf-8").splitlines())
    assert lines < MAX_LINES, f"{example.name} has {lines} lines, an example fewer than {MAX_LINES}"
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small are far slower on two
    try:
        runpy.run_path(
            str(example), run_name="__main__"
        )  # in this process: importing torch takes longer than most of them
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert said.strip() and "nan" not in said
