"""A run whose store has grown goes on with more paths, says so, and is judged on the rows it never saw."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_way import MEANS, steps_of, tiny_recipe, tiny_store, tiny_teacher, train_tiny

from jobs import quiet_job
from koopstep.cli.main import run
from koopstep.core.errors import Interrupted, UsageError
from koopstep.data.store import Store
from koopstep.runs.comparison import compare_on_held_out
from koopstep.runs.folder import EarlierData, read_config


def longer(steps: int) -> list[str]:
    return ["-o", f"training.steps={steps}"]


def test_a_finished_run_goes_on_with_a_store_that_has_grown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, out = tiny_store(tmp_path / "store"), tmp_path / "run"
    old = Store.open(store)
    train_tiny(tiny_recipe(), store, out)
    tiny_store(store, count=300)
    grown = Store.open(store)
    held_out = compare_on_held_out(out, None, None, quiet_job())  # before a step has learned from the new paths
    assert held_out.store.root == grown.root and len(held_out.batch) == 20
    assert run(["train", str(out), "--resume", "--device", "cpu"]) == 0
    assert "180 more paths, and no step is left to learn from them" in capsys.readouterr().err
    assert read_config(out).data_root == old.root and read_config(out).recipe.collect.count == 120
    assert run(["train", str(out), "--resume", "--device", "cpu", *longer(16)]) == 0
    assert "180 more paths since step 12" in capsys.readouterr().err
    config = read_config(out)
    assert config.data_root == grown.root and config.recipe.collect.count == 300
    assert config.earlier_data == (EarlierData(root=old.root, count=120, steps=12),)
    assert run(["train", str(out), "--resume", "--device", "cpu", *longer(18)]) == 0
    assert "more paths" not in capsys.readouterr().err
    assert read_config(out).earlier_data == config.earlier_data
    assert run(["evaluate", str(out), "--device", "cpu"]) == 0


def test_it_ends_as_one_that_was_never_interrupted(tmp_path: Path) -> None:
    """The course of a training on a grown store depends on where it grew only."""
    weights = []
    for name, stops in (("a", (3,)), ("b", (2, 3))):
        store, out = tiny_store(tmp_path / name / "store"), tmp_path / name / "run"
        train_tiny(tiny_recipe("training.steps=4"), store, out)
        tiny_store(store, count=200)
        for stop in stops:
            with pytest.raises(Interrupted):
                train_tiny(tiny_recipe("training.steps=12"), store, out, resume=True, stop_after=stop)
        train_tiny(tiny_recipe("training.steps=12"), store, out, resume=True)
        weights.append((out / "student" / "model.safetensors").read_bytes())
        assert read_config(out).earlier_data[0].steps == 4
    assert weights[0] == weights[1]


def test_a_run_that_never_came_to_a_checkpoint_begins_with_the_grown_store(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store")
    train_tiny(tiny_recipe("training.steps=2"), store, tmp_path / "whole")
    (tmp_path / "run").mkdir()
    shutil.copy(tmp_path / "whole" / "config.yaml", tmp_path / "run")
    tiny_store(store, count=200)
    assert train_tiny(tiny_recipe("training.steps=2"), store, tmp_path / "run", resume=True).step == 2
    config = read_config(tmp_path / "run")
    assert config.data_root == Store.open(store).root and config.earlier_data == ()


@pytest.mark.filterwarnings("ignore:.*is not the store this student learned from")
def test_a_store_that_did_not_grow_from_the_run_s_is_another(tmp_path: Path) -> None:
    store, out = tiny_store(tmp_path / "store"), tmp_path / "run"
    train_tiny(tiny_recipe("training.steps=2"), store, out)
    larger = tiny_store(tmp_path / "larger", count=200)  # the same rows, but other ones are held out
    with pytest.raises(UsageError, match=r"data was \w+, is now"):
        train_tiny(tiny_recipe("training.steps=4"), larger, out, resume=True)
    with pytest.raises(UsageError, match=r"held-out rows of .* were trained on"):
        compare_on_held_out(out, larger, None, quiet_job())
    tiny_store(store, count=250)  # what it learned from is still known, though the store holds more by now
    with pytest.raises(UsageError, match=r"held-out rows of .* were trained on"):
        compare_on_held_out(out, larger, None, quiet_job())
    assert steps_of(out) == [2]


def test_collect_says_that_a_store_grows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = tiny_teacher(tmp_path / "t.safetensors", MEANS)
    line = ["collect", str(teacher), "--out", str(tmp_path / "store"), "--steps", "3", "--device", "cpu"]
    assert run([*line, "--count", "50"]) == 0
    assert "grow" not in capsys.readouterr().err
    assert run([*line, "--count", "80"]) == 0
    assert "holds 50 paths and is to grow to 80" in capsys.readouterr().err
    assert Store.open(tmp_path / "store").manifest.grown == (50,)
    assert run([*line, "--count", "60"]) == 2
    assert "a store of 80 paths, and 60 were asked for: a store grows and never shrinks" in capsys.readouterr().err
