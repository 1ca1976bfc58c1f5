"""The verbs of the Python API: defaults that do, any form of path or change, and objects that come back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_way import MEANS, SPREAD, tiny_recipe

from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.data.store import Store, TrajectoryStore
from koopstep.teachers.analytic import mixture_teacher
from koopstep.workflows.collect import collect
from koopstep.workflows.import_pairs import import_pairs
from koopstep.workflows.run import Run
from koopstep.workflows.teacher import train_teacher
from koopstep.workflows.train import train

CPU: dict[str, Any] = {"device": "cpu", "quiet": True}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return collect(
        mixture_teacher(MEANS, SPREAD), tmp_path_factory.mktemp("verbs") / "store", count=120, steps=3, **CPU
    )


def test_collect_returns_the_store_and_goes_on(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    assert len(store) == 120 and store.manifest.hold_out == 12 and store.manifest.kept == (0, 3)
    again = collect(mixture_teacher(MEANS, SPREAD), str(store.folder), count=120, steps=3, **CPU)
    assert again.root == store.root
    assert capfd.readouterr() == ("", "")
    assert "120 paths (12 held out) of mixture, noise and data of shape (2,)" in repr(store)
    assert os.fspath(store) == str(store.folder) and TrajectoryStore is Store


def test_a_teacher_is_named_or_opened(tmp_path: Path) -> None:
    named = collect("checkerboard-edm", tmp_path / "named", count=4, steps=1, keep="all", **CPU)
    assert named.manifest.teacher.name == "checkerboard-edm" and named.manifest.steps == 1
    for wrong, words in (
        ({"keep": 9}, "keep must be ends, all"),
        ({"count": 0}, "count"),
        ({"dtype": "int8"}, "dtype"),
    ):
        with pytest.raises(UsageError, match=words):
            collect("checkerboard-edm", tmp_path / "x", **{"count": 4, "steps": 1, **CPU, **wrong})
    assert not (tmp_path / "x").exists()


def test_pairs_of_ones_own(tmp_path: Path) -> None:
    states = np.random.default_rng(0).normal(size=(2, 50, 3)).astype(np.float32)
    np.save(tmp_path / "pairs.npy", states)
    found = import_pairs(tmp_path / "pairs.npy", tmp_path / "store", hold_out=5, quiet=True)
    rows = found.batch(np.arange(50))
    assert torch.equal(rows.data, torch.from_numpy(states[1]))


def test_training_returns_the_run_which_can_be_made_longer(store: Store, tmp_path: Path) -> None:
    run = train(tiny_recipe(), store, tmp_path / "run", changes={"training.steps": 4}, **CPU)
    assert run.trained is not None and run.trained.step == 4 == run.recipe.training.steps
    assert run.student.sample(3).shape == (3, 2) and run.finished
    with pytest.raises(UsageError, match="holds"):
        train(tiny_recipe(), store, tmp_path / "run", **CPU)
    longer = train(run, resume=True, changes=["training.steps=6"], **CPU)
    assert longer.trained is not None and longer.trained.step == 6 == Run.open(run.folder).recipe.training.steps
    assert longer.config.earlier_steps == (4,)
    by_file = train(str(tmp_path / "run" / "config.yaml"), store.folder, tmp_path / "again", **CPU)
    assert torch.equal(
        by_file.student.sample(3),
        train(tiny_recipe(), store, tmp_path / "other", changes={"training.steps": 6}, **CPU).student.sample(3),
    )


def test_what_train_refuses(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UsageError, match=r"train\(recipe, store, out\)"):
        train(tiny_recipe(), store, **CPU)
    with pytest.raises(UsageError, match="of the method kdm, not hkd"):
        train(tiny_recipe(), store, out, method="hkd", **CPU)
    with pytest.raises(UsageError, match=r"did you mean training\.steps"):
        train(tiny_recipe(), store, out, changes={"training.stpes": 4}, **CPU)
    with pytest.raises(UsageError, match="no plain data"):
        train(tiny_recipe(), store, out, changes={"training.steps": object()}, **CPU)
    with pytest.raises(UsageError, match="key=value texts"):
        train(tiny_recipe(), store, out, changes=[4], **CPU)  # type: ignore[list-item]
    with pytest.raises(UsageError, match="no device called"):
        train(tiny_recipe(), store, out, device="gpu")
    assert not out.exists()


def test_a_teacher_of_ones_own_preset(tmp_path: Path) -> None:
    changes = {
        "teacher.training.steps": 2,
        "teacher.training.batch_size": 8,
        "teacher.model.network": {"kind": "mlp", "width": 8, "depth": 2},
    }
    teacher = train_teacher("checkerboard", tmp_path / "mine.safetensors", changes=changes, **CPU)
    assert teacher.name == "mine" and teacher.sample(3, steps=2).shape == (3, 2)
    with pytest.raises(UsageError, match="exists already"):
        train_teacher("checkerboard", tmp_path / "mine.safetensors", changes=changes, **CPU)


def test_the_settings_of_a_run_are_a_recipe(store: Store, tmp_path: Path) -> None:
    recipe = tiny_recipe("training.steps=3")
    run = train(recipe, store, tmp_path / "run", **CPU)
    assert dump(run.recipe)["training"] == dump(recipe)["training"]
