"""Real data given once is what a run is compared with ever after, and never something else by its name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_way import MEANS, tiny_recipe, tiny_store, train_tiny

from jobs import QUIET
from koopstep.data.reference import RealData, load_reference
from koopstep.data.sources import load_source
from koopstep.runs.folder import open_run
from koopstep.runs.references import remember_reference, remembered_reference
from koopstep.workflows.analyze import analyze_run
from koopstep.workflows.evaluate import evaluate


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose teacher is a function: nothing says what it learned from."""
    train_tiny(tiny_recipe("training.steps=2"), tiny_store(tmp_path / "store"), tmp_path / "run")
    return tmp_path / "run"


def give(run: Path, given: RealData) -> None:
    remember_reference(run, given, load_reference(given, open_run(run).student.facts))


def blobs(seed: int) -> torch.Tensor:
    return MEANS.repeat(20, 1) + 0.2 * torch.randn(60, 2, generator=torch.Generator().manual_seed(seed))


def test_a_run_is_compared_with_what_it_was_given(run: Path) -> None:
    assert remembered_reference(run, open_run(run).student.facts) is None
    assert "sliced_wasserstein" in evaluate(run, job=QUIET).left_out
    give(run, blobs(0))
    found = evaluate(run, job=QUIET)
    assert found.left_out == {} and found.protocol.reference == "tensor" and found.protocol.reference_count == 60
    values = analyze_run(run, "neighbours", out=None, data=None, job=QUIET).values
    assert "memorisation" in values
    assert evaluate(run, reference="checkerboard", job=QUIET).protocol.reference == "checkerboard"  # named now
    shutil.move(run, run.with_name("moved"))
    assert evaluate(run.with_name("moved"), job=QUIET).protocol.reference == "tensor"


def test_a_file_that_has_changed_or_is_gone_is_told(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.chdir(tmp_path)
    np.save("real.npy", blobs(0).numpy())
    give(run, "real.npy")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # a relative path means the same file ever after
    first = evaluate(run, job=QUIET)
    assert first.protocol.reference == "real.npy"
    np.save(tmp_path / "real.npy", blobs(1).numpy())
    changed = evaluate(run, job=QUIET)
    assert (
        "has changed since this run was given it; name real data with --reference"
        in changed.left_out["sliced_wasserstein"]
    )
    (tmp_path / "real.npy").unlink()
    assert "that this run was given is not at hand" in evaluate(run, job=QUIET).left_out["sliced_wasserstein"]
    give(run, blobs(2))
    assert evaluate(run, job=QUIET).left_out == {}
    (run / "reference.json").write_text("{}")
    assert "not at hand" in evaluate(run, job=QUIET).left_out["sliced_wasserstein"]


def test_a_built_in_set_is_remembered_by_its_name(run: Path) -> None:
    give(run, "checkerboard")
    record = json.loads((run / "reference.json").read_text())
    assert record == {"name": "checkerboard", "place": "checkerboard", "sha256": load_source("checkerboard").sha256()}
    found = remembered_reference(run, open_run(run).student.facts)
    assert found is not None and found.need().cells is not None
