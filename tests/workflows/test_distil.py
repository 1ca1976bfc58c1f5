"""From a teacher to a judged student by one function: it goes on wherever it stopped, grows, and refuses in plain words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_way import HERE, MEANS, SPREAD, tiny_store, tiny_teacher

import koopstep as ks
from koopstep.core.console import Console, Quiet
from koopstep.core.errors import Interrupted, UsageError
from koopstep.core.job import Job
from koopstep.figures.html import Chapter
from koopstep.planning import timing
from koopstep.planning.making import read_plan
from koopstep.teachers.base import Teacher
from koopstep.workflows import stages
from koopstep.workflows.distil import run_distil
from koopstep.workflows.report import Content

SMALL = [
    f"student.{part}={{kind: mlp, width: 16, depth: 2, fourier: 0}}" for part in ("encoder", "data_encoder", "decoder")
]
CHANGES = [
    *SMALL,
    "student.latent=8",
    "training.batch_size=32",
    "training.checkpoint_every=5",
    "evaluation.metrics=[pair_mse, pair_mse_permuted]",
]
STAGES = ["plan", "collect", "train", "evaluate", "report"]


class Listening(Quiet):
    """A console that keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def distil(
    teacher: str | Path | Teacher, out: Path, *, after: int = 10**9, console: Console | None = None, **order: Any
) -> dict[str, Any]:
    """A tiny student; ``after`` so many questions it is asked to stop."""
    asked = iter(range(1, 10**9))
    order = {"count": 120, "steps": 12, "changes": CHANGES} | order
    return run_distil(teacher, out, **order, job=Job(HERE, console or Quiet(), lambda: next(asked) >= after))


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without analyses, where these are not what is tried."""
    said = Content("title", "lead", Chapter("chapter", "lead", [], [], None, [], "", []))
    monkeypatch.setattr(stages, "tell", lambda out, store, job, teacher: said)
    monkeypatch.setattr(timing, "_MOST_SECONDS", 0.02)
    monkeypatch.setattr(timing, "_LONG_ENOUGH", 0.02)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return tiny_teacher(tmp_path / "teacher.safetensors")


def test_the_whole_way_and_again(teacher: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "run", Listening()
    said = distil(teacher, out, console=told)
    assert list(said["seconds"]) == STAGES
    assert said["plan"]["method"] == "kdm" and (said["plan"]["count"], said["plan"]["steps"]) == (120, 12)
    assert said["plan"]["bytes"] == 120 * 2 * 4 <= ks.Store.open(out / "store").nbytes
    assert said["plan"]["seconds"] == pytest.approx(sum(said["plan"]["stages"].values()), abs=0.5)
    assert said["teacher"]["nfe"] == 23 and said["student"]["nfe"] == 1
    assert {"pair_mse", "pair_mse_permuted"} <= set(said["metrics"])
    for file in (
        "plan.json",
        "seconds.json",
        "config.yaml",
        "student/config.json",
        "report/index.html",
        "store/complete.json",
    ):
        assert (out / file).is_file(), file
    assert [line.split()[0] for line in told.lines[1:5]] == ["method", "paths", "training", "time"]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    told = Listening()
    again = distil(teacher, out, console=told)
    assert again == said and list(again["metrics"]) == list(said["metrics"])
    assert told.lines == [f"already finished: {out} (120 paths, 12 steps); nothing is left to do"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("light")
def test_it_goes_on_after_an_interruption_at_each_stage(teacher: Path, tmp_path: Path) -> None:
    whole = distil(teacher, tmp_path / "whole")
    out = tmp_path / "run"
    for after in (1, 2, 5):  # before the first path, before the training ends, and again
        with pytest.raises(Interrupted, match="run the same command again to go on") as stopped:
            distil(teacher, out, after=after)
        assert "--resume" not in str(stopped.value)
    told = Listening()
    said = distil(teacher, out, console=told)
    assert told.lines[0] == "going on with this plan:"
    assert not any("timing" in line for line in told.lines)
    assert said["metrics"] == pytest.approx(whole["metrics"], rel=1e-5)
    for lost in ("report", "student", "store/complete.json"):  # what a kill may leave undone
        path = out / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert distil(teacher, out)["metrics"] == pytest.approx(whole["metrics"], rel=1e-5), lost


@pytest.mark.usefixtures("light")
def test_more_steps_paths_or_budget_extend_it(teacher: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "run", Listening()
    first = distil(teacher, out)
    longer = distil(teacher, out, count=None, steps=20, console=told)
    assert (longer["plan"]["count"], longer["plan"]["steps"]) == (120, 20)
    assert any("going on from 120 paths and 12 steps to 120 and 20" in line for line in told.lines)
    assert longer["seconds"]["train"] > first["seconds"]["train"]
    assert longer["seconds"]["collect"] == first["seconds"]["collect"]
    grown = distil(teacher, out, count=180, steps=None)
    assert (grown["plan"]["count"], grown["plan"]["steps"]) == (180, 30)  # and as many more steps
    assert ks.Store.open(out / "store").count == 180
    held = json.loads((out / "report" / "evaluation.json").read_text())["protocol"]["count"]
    assert held == read_plan(out).recipe.collect.hold_out == 30  # type: ignore[union-attr]
    less = distil(teacher, out, count=100, steps=5)
    assert (less["plan"]["count"], less["plan"]["steps"]) == (180, 30)
    assert distil(teacher, out, count=None, steps=None, budget=1.0)["plan"] == less["plan"]
    assert distil(teacher, out, count=None, steps=None) == less


@pytest.mark.usefixtures("light")
def test_a_budget_decides_the_lengths(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give --budget [0-9]+s or more"):
        distil(teacher, tmp_path / "run", count=None, steps=None, budget="1s")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("light")
def test_a_function_of_one_s_own(tmp_path: Path) -> None:
    made = ks.mixture_teacher(MEANS, SPREAD)
    said = distil(made, tmp_path / "run", steps=60)
    assert said["metrics"]["pair_mse"] < said["metrics"]["pair_mse_permuted"]
    assert set(said["metrics"]) == {"pair_mse", "pair_mse_permuted"}
    assert distil(made, tmp_path / "run", steps=60) == said


@pytest.mark.usefixtures("light")
def test_a_teacher_that_does_not_repeat_itself_is_refused_before_anything(tmp_path: Path) -> None:
    noisy = ks.from_denoiser(lambda x, sigma, labels: 0.1 * torch.randn_like(x), (2,), name="noisy")
    with pytest.raises(UsageError, match="does not repeat itself"):
        distil(noisy, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("light")
def test_another_teacher_method_setting_or_store_is_refused(teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    distil(teacher, out)
    plan = (out / "plan.json").read_bytes()
    other = tiny_teacher(tmp_path / "other.safetensors", MEANS + 1)
    for order, message in (
        ({"method": "hkd"}, "begun with --method kdm, not hkd"),
        ({"changes": [*CHANGES, "objective.latent=0.5"]}, "begun with objective.latent=0.1, not 0.5"),
        ({"data": tiny_store(tmp_path / "pairs")}, "begun with paths of its own"),
        ({"teacher": other}, "begun with the teacher"),
    ):
        named = order.pop("teacher", teacher)
        with pytest.raises(UsageError, match=message):
            distil(named, out, **order)  # type: ignore[arg-type]
    assert (out / "plan.json").read_bytes() == plan


@pytest.mark.usefixtures("light")
def test_a_stranger_s_folder_is_left_alone(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no run of distil"):
        distil(teacher, tmp_path / "mine")
    with pytest.raises(UsageError, match="is no folder"):
        distil(teacher, tmp_path / "mine" / "notes.txt")
    (tmp_path / "mine" / "config.yaml").write_text("recipe: 1")
    with pytest.raises(UsageError, match="holds a run of `koopstep train`"):
        distil(teacher, tmp_path / "mine")
    with pytest.raises(UsageError, match="no teacher 'nobody'"):
        distil("nobody", tmp_path / "run")
    assert [path.name for path in (tmp_path / "mine").iterdir() if path.is_file()]


@pytest.mark.usefixtures("light")
def test_pairs_that_exist(tmp_path: Path) -> None:
    made, store = ks.mixture_teacher(MEANS, SPREAD), tiny_store(tmp_path / "pairs")
    out = tmp_path / "run"
    said = distil(made, out, data=store, count=None)
    assert said["plan"]["count"] == 120 and "collect" not in said["seconds"]
    assert not (out / "store").exists()
    assert distil(made, out, count=None) == said  # the run knows its pairs
    other = ks.mixture_teacher(MEANS, SPREAD)
    other.name = "another"
    with pytest.raises(UsageError, match="holds paths of the teacher"):
        distil(other, tmp_path / "other", data=store, count=None)
    with pytest.raises(UsageError, match="holds shape"):
        distil(ks.mixture_teacher(torch.eye(3), SPREAD), tmp_path / "other", data=store, count=None)
    with pytest.raises(UsageError, match="no rows out of training"):
        distil(made, tmp_path / "other", data=tiny_store(tmp_path / "all", hold_out=0), count=None)


@pytest.mark.usefixtures("light")
def test_ends_alone_teach_hkd_and_not_what_needs_states_within(tmp_path: Path) -> None:
    made, store = ks.mixture_teacher(MEANS, SPREAD), tiny_store(tmp_path / "pairs")
    changes = ["student.network={kind: mlp, width: 16, depth: 2, fourier: 2}", "student.latent=8"]
    said = distil(made, tmp_path / "run", data=store, count=None, method="hkd", changes=changes)
    assert read_plan(tmp_path / "run").recipe.objective.trajectory == 0  # type: ignore[union-attr]
    assert said["metrics"]["pair_mse"] > 0
    with pytest.raises(UsageError, match="collect with --keep 5"):
        distil(made, tmp_path / "plus", data=store, count=None, method="hkd+", changes=changes)


@pytest.mark.usefixtures("light")
def test_a_reference_named_later_is_measured_and_kept(teacher: Path, tmp_path: Path) -> None:
    changes = [change for change in CHANGES if "metrics" not in change]
    points = torch.randn(500, 2).numpy()
    np.save(tmp_path / "points.npy", points)
    said = distil(teacher, tmp_path / "run", reference=str(tmp_path / "points.npy"), changes=changes)
    assert {"sliced_wasserstein", "mmd"} <= set(said["metrics"]) and "in_cell" not in said["metrics"]
    assert distil(teacher, tmp_path / "run", changes=changes) == said


@pytest.mark.usefixtures("light")
def test_weights_of_another_program_are_converted_once(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    config = {"kind": "mixture", "dimension": 2, "components": 3, "spread": SPREAD}
    tensors = ks.load_teacher(tiny_teacher(tmp_path / "t.safetensors")).model
    assert tensors is not None
    torch.save(tensors.state_dict(), weights)
    (tmp_path / "weights.json").write_text(json.dumps(config))
    out = tmp_path / "run"
    said = distil(weights, out)
    assert (out / "teacher.safetensors").is_file() and "convert" in said["seconds"]
    written = (out / "teacher.safetensors").stat().st_mtime_ns
    assert distil(weights, out) == said
    assert (out / "teacher.safetensors").stat().st_mtime_ns == written
    torch.save({name: value + 1 for name, value in tensors.state_dict().items()}, weights)
    with pytest.raises(UsageError, match="begun with the teacher 'weights'"):
        distil(weights, out)
