"""Runs say what happened, go on without a word repeated, and are nobody else's to write into."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from tiny_way import steps_of, tiny_recipe, tiny_store, tiny_teacher, train_tiny

from jobs import quiet_job
from koopstep.cli.main import run
from koopstep.core.errors import UsageError
from koopstep.core.lock import LOCK_NAME, locked
from koopstep.data.collect import CollectSettings, collect, plan, settings_of
from koopstep.data.store import Store
from koopstep.runs.folder import read_config, read_metrics
from koopstep.runs.record import choose_run
from koopstep.teachers.files import read_teacher_file
from koopstep.workflows.train import train_student


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("paths") / "store")


class _Said:
    """A console that keeps what was said."""

    def __init__(self) -> None:
        from koopstep.core.console import Quiet

        self.lines: list[str] = []
        self.bar = Quiet().bar

    def say(self, line: str) -> None:
        self.lines.append(line)


def _train(out: Path, store: Path, *changes: str, resume: bool = False, overwrite: bool = False) -> list[str]:
    console = _Said()
    train_student(tiny_recipe(*changes), store, out, resume=resume, overwrite=overwrite, job=quiet_job(console=console))
    return console.lines


def test_a_run_names_the_store_and_the_teacher_it_had(tmp_path: Path) -> None:
    teacher = read_teacher_file(tiny_teacher(tmp_path / "mine.safetensors")).teacher
    settings = CollectSettings(count=60, steps=5, keep=3, seed=7, hold_out=6, dtype="float16")
    for _ in collect(teacher, tmp_path / "store", settings):
        pass
    manifest = Store.open(tmp_path / "store").manifest
    assert plan(teacher, settings_of(manifest)) == manifest
    _train(tmp_path / "known", tmp_path / "store", f"teacher.file={tmp_path}/mine.safetensors", "training.steps=1")
    known = read_config(tmp_path / "known").recipe
    assert known.collect == settings_of(manifest)
    assert (known.collect.count, known.collect.steps, known.collect.keep, known.collect.seed) == (60, 5, 3, 7)
    assert (known.collect.hold_out, known.collect.dtype) == (6, "float16")
    assert known.teacher.file == str(tmp_path / "mine.safetensors") and known.teacher.model is not None
    _train(tmp_path / "other", tmp_path / "store", "teacher.file=digits-edm", "training.steps=1")
    other = read_config(tmp_path / "other").recipe.teacher
    assert (other.file, other.model) == ("mixture", None)  # its name; the preset's is another teacher


def test_a_longer_run_has_the_bits_of_one_that_was_as_long_from_the_start(tmp_path: Path, store: Path) -> None:
    _train(tmp_path / "long", store)
    assert _train(tmp_path / "run", store, "training.steps=7") == []
    recipe, data, out = choose_run(str(tmp_path / "run"), None, ["training.steps=12"], None, None, resume=True)
    assert (data, out) == (store, tmp_path / "run")
    console = _Said()
    train_student(recipe, data, out, resume=True, job=quiet_job(console=console))
    assert console.lines == ["going on from step 7"]
    for name in ("student/model.safetensors", "student/config.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "long" / name).read_bytes()
    assert [row["step"] for row in read_metrics(out)] == list(range(1, 13))
    assert read_config(out).earlier_steps == (7,) and read_config(tmp_path / "long").earlier_steps == ()


def test_a_run_that_takes_the_place_of_another_has_no_history(tmp_path: Path, store: Path) -> None:
    _train(tmp_path / "run", store, "training.steps=1", "training.schedule=cosine")
    said = _train(tmp_path / "run", store, "training.steps=2", "training.schedule=cosine", overwrite=True)
    assert said == [] and read_config(tmp_path / "run").earlier_steps == ()


def test_a_longer_schedule_is_said_aloud(tmp_path: Path, store: Path) -> None:
    _train(tmp_path / "run", store, "training.steps=4", "training.schedule=cosine")
    said = _train(tmp_path / "run", store, "training.steps=8", "training.schedule=cosine", resume=True)
    assert said[1] == (
        "the learning rate (cosine) now follows a training of 8 steps; what was trained before followed one of 4"
    )
    rates = [row["learning_rate"] for row in read_metrics(tmp_path / "run")]
    assert rates[4] == pytest.approx(0.01 / 2) and rates[3] < 0.002
    with pytest.raises(UsageError, match=r"training\.steps was 8, is now 6"):
        _train(tmp_path / "run", store, "training.steps=6", "training.schedule=cosine", resume=True)


def test_the_command_goes_on_by_the_folder_alone(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    _train(out, store, "training.steps=3", "student.latent=5")
    assert run(["train", str(out), "--resume", "-o", "training.steps=5", "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["step"] == 5
    assert read_config(out).recipe.student.latent == 5  # type: ignore[union-attr]
    again = ["train", str(out / "config.yaml"), "--data", str(store), "--out", str(tmp_path / "b"), "--device", "cpu"]
    assert run(again) == 0
    ours, theirs = (read_config(path).recipe for path in (out, tmp_path / "b"))
    assert ours == theirs and theirs.preset == "tiny"
    for line, words in (
        (["train", str(out)], "add --resume to go on"),
        (["train"], "name a preset to train with, or a run to go on with"),
        (["train", "digits"], "train needs --data DIR"),
        (["train", str(out), "--resume", "--out", str(tmp_path / "b")], "leave --out away"),
        (["train", str(out), "--resume", "-o", "collect.count=7"], "the store says how it was collected"),
        (["train", "digits", "-o", "collect={count: 7}"], "the store says how it was collected"),
        (["train", str(out), "--resume", "-o", "method=hkd"], "setting 'method' cannot be changed"),
        ([*again, "--method", "hkd"], "is written for the method 'kdm' and cannot become 'hkd'"),
        (["train", str(out), "--resume", "--method", "hkd"], "was begun with --method kdm"),
        (["train", str(out), "--resume", "-o", "training.seed=2"], "training.seed was 0, is now 2"),
        (["train", str(tmp_path), "--resume"], "is no run folder"),
    ):
        assert run(line) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "student"])
@pytest.mark.parametrize("resume", [False, True])
def test_somebody_elses_files_stay(tmp_path: Path, store: Path, name: str, resume: bool) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / name).mkdir() if name == "student" else (out / name).write_text("mine: true\n")
    with pytest.raises(UsageError, match=f"holds {name} that this run has not written; .*--overwrite"):
        _train(out, store, resume=resume)
    assert [path.name for path in out.iterdir()] == [name]
    _train(out, store, "training.steps=1", overwrite=True)
    assert read_config(out).recipe.training.steps == 1 and steps_of(out) == [1]


def test_a_finished_run_without_checkpoints_is_not_trained_again(tmp_path: Path, store: Path) -> None:
    import shutil

    _train(tmp_path / "run", store, "training.steps=1")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(UsageError, match=r"holds config.yaml, metrics.jsonl, student that"):
        _train(tmp_path / "run", store, "training.steps=1", resume=True)
    with pytest.raises(UsageError, match="give one of them"):
        _train(tmp_path / "run", store, resume=True, overwrite=True)


def test_what_was_begun_and_came_to_no_checkpoint_begins_again(tmp_path: Path, store: Path) -> None:
    _train(tmp_path / "run", store)
    begun = tmp_path / "begun"
    begun.mkdir()
    for name in ("config.yaml", "metrics.jsonl"):
        (begun / name).write_bytes((tmp_path / "run" / name).read_bytes())
    with pytest.raises(UsageError, match="has not written"):
        _train(begun, store, "training.seed=1")
    _train(begun, store)
    name = "student/model.safetensors"
    assert (begun / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def _hold(folder: Path, ready: Path) -> None:
    with locked(folder, print, "trained"):
        ready.touch()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path: Path) -> multiprocessing.process.BaseProcess:
    """Another process that trains in ``tmp_path / "run"``."""
    (tmp_path / "run").mkdir()
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path / "run", tmp_path / "ready"))
    process.start()
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    return process


def test_a_run_is_locked_while_it_is_trained_and_free_after_a_kill(
    tmp_path: Path, store: Path, holder: multiprocessing.process.BaseProcess
) -> None:
    out = tmp_path / "run"
    try:
        for resume in (False, True):
            with pytest.raises(UsageError, match=rf"is being trained by process {holder.pid} on ") as caught:
                _train(out, store, resume=resume)
            assert caught.value.exit_code == 2
        assert [path.name for path in out.iterdir()] == [LOCK_NAME]
    finally:
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        holder.join()
    assert train_tiny(tiny_recipe("training.steps=1"), store, out).step == 1
    assert not (out / LOCK_NAME).exists()
