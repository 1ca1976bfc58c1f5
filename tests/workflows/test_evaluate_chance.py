"""`evaluate` says what few rows cannot tell, and keeps by how much the teacher's values vary with the noise."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_way import MEANS, SPREAD, tiny_recipe, tiny_store, train_tiny

from koopstep.cli.main import run
from koopstep.teachers.analytic import mixture_teacher
from koopstep.workflows.run import Run


def test_few_rows_are_said_and_the_spread_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_tiny(tiny_recipe("training.steps=2"), tiny_store(tmp_path / "store"), tmp_path / "run")
    real = mixture_teacher(MEANS, SPREAD).sample(200, seed=3)
    found = Run.open(tmp_path / "run", device="cpu").evaluate(reference=real, quiet=True)
    assert set(found.spread) == {"sliced_wasserstein"} and 0 < found.spread["sliced_wasserstein"] < 1
    assert Run.open(tmp_path / "run").evaluation.spread == found.spread
    capsys.readouterr()
    assert run(["evaluate", str(tmp_path / "run"), "--count", "2", "--device", "cpu"]) == 0
    assert "2 held-out rows are few" in capsys.readouterr().err
