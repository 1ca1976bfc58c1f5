"""A run as people use it: opened, looked at, measured, unfinished or not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny_way import generated, tiny_recipe, tiny_store, train_tiny

from koopstep.core.errors import Interrupted, UsageError
from koopstep.data.store import Store
from koopstep.workflows.evaluate import evaluate
from koopstep.workflows.run import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("runs")
    store = tiny_store(base / "store")
    train_tiny(tiny_recipe(), store, base / "run")
    with pytest.raises(Interrupted):
        train_tiny(tiny_recipe(), store, base / "begun", stop_after=5)
    return base


def test_what_a_run_holds(folder: Path) -> None:
    run = Run.open(folder / "run", device="cpu")
    assert run.finished and run.trained_steps == 12 == run.recipe.training.steps
    assert [row["step"] for row in run.history] == list(range(1, 13))
    assert run.store.root == Store.open(folder / "store").root
    noise = run.store.batch(range(8)).noise  # type: ignore[arg-type]
    assert torch.equal(run.student.generate(noise), generated(folder / "run", folder / "store"))
    assert run.student is run.student
    assert Path(run) == folder / "run"
    assert "kdm" in repr(run) and "12 steps" in repr(run) and "\n" not in repr(run)
    assert "<table>" in run._repr_html_() and "12 steps" in run._repr_html_()


def test_it_is_measured(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = Run.open(shutil.copytree(folder / "run", tmp_path / "run"), device="cpu")
    with pytest.raises(UsageError, match="not evaluated yet"):
        run.evaluation  # noqa: B018
    found = run.evaluate(quiet=True)
    assert capfd.readouterr() == ("", "")
    assert found.files == (tmp_path / "run" / "report" / "evaluation.json",)
    assert set(found.metrics) == {"pair_mse", "pair_mse_permuted"} and "sliced_wasserstein" in found.left_out
    assert found.metrics["pair_mse"] < 10 * found.metrics["pair_mse_permuted"]
    assert run.evaluation.plain() == found.plain()
    assert list(run.evaluation.metrics) == list(found.metrics) == ["pair_mse", "pair_mse_permuted"]
    assert "pair_mse" in repr(run) and "20 held-out rows" in repr(found) and "pair_mse" in found._repr_html_()
    few = evaluate(str(run.folder), metrics="pair_mse", count=5, device="cpu")
    assert list(few.metrics) == ["pair_mse"] and few.protocol.count == 5
    assert "measuring pair_mse on 5 held-out rows" in capfd.readouterr().err


def test_one_that_is_not_finished(folder: Path) -> None:
    run = Run.open(folder / "begun")
    assert not run.finished and run.trained_steps == 5
    assert "5 of 12 steps, not finished" in repr(run)
    with pytest.raises(UsageError, match="--resume"):
        run.student  # noqa: B018


def test_what_is_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run folder"):
        Run.open(tmp_path)
    with pytest.raises(UsageError, match="is no run folder"):
        Run.open(folder / "run" / "student")
    with pytest.raises(UsageError, match=r"is no run folder.*did you mean .*begun"):
        Run.open(folder)
    with pytest.raises(UsageError, match=r"did you mean .*begun"):
        evaluate(folder, device="cpu", quiet=True)
    assert "no run" in repr(Run(tmp_path))
