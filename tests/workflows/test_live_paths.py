"""Learning from paths that the teacher makes on the way: fresh rows, the same bits after a stop, no imported paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_way import generated

from jobs import quiet_job
from koopstep.core.errors import Interrupted, UsageError
from koopstep.core.noise import gaussian
from koopstep.data.collect import CollectSettings, collect
from koopstep.data.importers import import_source
from koopstep.data.live import LivePaths
from koopstep.data.store import Store
from koopstep.recipes.recipe import Recipe, load_recipe
from koopstep.teachers.files import read_teacher_file
from koopstep.workflows.train import train_student

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paths") / "store"
    teacher = read_teacher_file("digits-cond-edm").teacher
    for _ in collect(teacher, folder, CollectSettings(count=24, steps=3, keep="all", hold_out=8)):
        pass
    return folder


def recipe(*changes: str) -> Recipe:
    tiny = (
        "training.steps=4",
        "training.batch_size=6",
        "training.log_every=1",
        "paths=live",
        "objective.trajectory_points=1",
    )
    return load_recipe("digits-cond", "hkd", [*tiny, *changes])


def train(folder: Path, out: Path, asked: Recipe, stop_after: int = 10**9, resume: bool = False) -> None:
    steps = iter(range(1, 10**9))
    train_student(asked, folder, out, resume=resume, job=quiet_job(lambda: next(steps) >= stop_after))


def test_rows_go_on_where_the_store_ends(store: Path) -> None:
    opened, teacher = Store.open(store), read_teacher_file("digits-cond-edm").teacher
    live = LivePaths(teacher, opened.manifest, CPU)
    batch = live.batch(5, 3)
    torch.testing.assert_close(batch.noise, gaussian(0, range(29, 32), (1, 8, 8)))
    stored = opened.batch(np.array([23]))
    before = LivePaths(teacher, opened.manifest.model_copy(update={"count": 23, "hold_out": 0}), CPU).batch(0, 1)
    # one row alone meets other kernels than many at once: rounding, that every step of the solver makes larger
    torch.testing.assert_close(before.states, stored.states, rtol=1e-4, atol=2e-4)
    assert before.class_labels is not None and stored.class_labels is not None
    assert before.class_labels.tolist() == stored.class_labels.tolist()
    torch.testing.assert_close(before.progress, stored.progress)


def test_a_stopped_training_goes_on_with_the_same_bits(store: Path, tmp_path: Path) -> None:
    train(store, tmp_path / "whole", recipe())
    with pytest.raises(Interrupted):
        train(store, tmp_path / "halves", recipe(), stop_after=2)
    train(store, tmp_path / "halves", recipe(), resume=True)
    assert torch.equal(generated(tmp_path / "whole", store), generated(tmp_path / "halves", store))
    train(store, tmp_path / "stored", recipe("paths=stored"))
    assert not torch.equal(generated(tmp_path / "whole", store), generated(tmp_path / "stored", store))


def test_parts_of_a_batch_are_thinned_alike_or_refused(store: Path, tmp_path: Path) -> None:
    thinned = "objective.trajectory_every=2"
    train(store, tmp_path / "whole", recipe("training.batch_size=8", thinned))
    train(store, tmp_path / "parts", recipe("training.batch_size=8", "training.micro_batch=4", thinned))
    torch.testing.assert_close(
        generated(tmp_path / "parts", store), generated(tmp_path / "whole", store), rtol=0, atol=1e-3
    )
    with pytest.raises(UsageError, match="trajectory_every 2 must divide the 3 rows"):
        train(store, tmp_path / "odd", recipe("training.micro_batch=3", thinned))


def test_another_teacher_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"'digits-edm' is another one.* -o teacher\.file=PATH, or set -o paths=stored"
    ):
        train(store, tmp_path / "run", recipe("teacher.file=digits-edm", "initialise=fresh"))


def test_imported_paths_have_no_teacher(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(3, 20, 1, 8, 8)).astype(np.float32))
    import_source(tmp_path / "x.npy", tmp_path / "store", hold_out=4)
    manifest = Store.open(tmp_path / "store").manifest
    with pytest.raises(UsageError, match="set paths=stored"):
        LivePaths(read_teacher_file("digits-cond-edm").teacher, manifest, CPU)
