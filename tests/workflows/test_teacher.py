"""Teachers from scratch: trained, gone on with, described, and put to use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_way import tiny_teacher

from jobs import QUIET, quiet_job
from koopstep.core.config import dump
from koopstep.core.errors import DamagedError, Interrupted, UsageError
from koopstep.core.tensors import load_tensors
from koopstep.data.collect import CollectSettings
from koopstep.data.sources import load_source
from koopstep.data.store import Store
from koopstep.recipes.recipe import TeacherRecipe, load_recipe, load_teacher_recipe
from koopstep.teachers.files import read_teacher_file
from koopstep.workflows import teacher as workflow
from koopstep.workflows.collect import collect_store
from koopstep.workflows.teacher import teach, teacher_info

TINY = [
    "teacher.training.steps=12",
    "teacher.training.batch_size=16",
    "teacher.training.checkpoint_every=4",
    "teacher.model.network={kind: mlp, width: 8, depth: 2}",
]
IMAGES = [*TINY[:3], "teacher.model.network.model_channels=4", "teacher.model.network.num_blocks=1"]


def _train(
    preset: str, out: Path, changes: list[str] = TINY, *, resume: bool = False, after: int = 10**9
) -> dict[str, Any]:
    asked = iter(range(1, 10**9))
    done = teach(
        preset,
        out,
        changes=changes,
        resume=resume,
        job=quiet_job(lambda: next(asked) >= after),
    )
    return teacher_info(str(out)) | {"step": done.step, "loss": done.loss}


@pytest.mark.parametrize("preset", ["checkerboard", "checkerboard-fm"])
def test_from_scratch_to_paths(tmp_path: Path, preset: str) -> None:
    said = _train(preset, tmp_path / "teacher.safetensors")
    assert said["kind"] == load_recipe(preset).teacher.model.kind
    assert (said["shape"], said["num_classes"], said["step"]) == ([2], 0, 12)
    assert said["parameters"] > 0 and said["loss"] > 0 and len(said["sha256"]) == 64
    assert said["made_by"].startswith(f"koopstep teacher train {preset} -o teacher.training.steps=12")
    data = load_source("checkerboard").identity()
    assert said["training_data"] == dump(data)
    collected = collect_store(
        str(tmp_path / "teacher.safetensors"),
        tmp_path / "store",
        CollectSettings(count=20, steps=2),
        rank=0,
        world=1,
        job=QUIET,
    )
    assert collected["complete"] is True
    assert Store.open(tmp_path / "store").manifest.teacher.training_data == data


@pytest.mark.parametrize(("preset", "classes"), [("digits", 0), ("digits-cond", 10)])
def test_images(tmp_path: Path, preset: str, classes: int) -> None:
    said = _train(preset, tmp_path / "teacher.safetensors", IMAGES)
    assert (said["shape"], said["num_classes"]) == ([1, 8, 8], classes)


def test_the_file_holds_the_average(tmp_path: Path) -> None:
    out = tmp_path / "teacher.safetensors"
    _train("checkerboard", out, [*TINY, "teacher.weights_dtype=float32"])
    found, _ = load_tensors(out)
    averaged, _ = load_tensors(
        tmp_path / "teacher.safetensors.run" / "checkpoints" / "step-00000012" / "ema.safetensors"
    )
    assert set(found) == set(averaged)
    assert all(torch.equal(found[name], averaged[name]) for name in found)


def test_stopped_and_gone_on(tmp_path: Path) -> None:
    straight = tmp_path / "straight" / "mine.safetensors"
    assert _train("checkerboard", straight)["name"] == "mine"  # of its file: the preset's name is another teacher's
    out = tmp_path / "stopped" / "mine.safetensors"
    with pytest.raises(Interrupted, match="step 5 of 12"):
        _train("checkerboard", out, after=5)
    assert not out.exists()
    with pytest.raises(UsageError, match="--resume"):
        _train("checkerboard", out)
    with pytest.raises(UsageError, match=r"teacher\.training\.learning_rate was"):
        _train("checkerboard", out, [*TINY, "teacher.training.learning_rate=0.5"], resume=True)
    assert _train("checkerboard", out, resume=True)["step"] == 12
    assert out.read_bytes() == straight.read_bytes()


def _refused(monkeypatch: pytest.MonkeyPatch, out: Path, **changes: Any) -> str:
    """What is said of the checkerboard's recipe with some sections exchanged."""
    recipe = dump(load_teacher_recipe("checkerboard", TINY))
    teacher = recipe["teacher"] | changes.pop("teacher", {})
    changed = TeacherRecipe.parse(recipe | {"teacher": teacher} | changes, "changed")
    monkeypatch.setattr(workflow, "load_teacher_recipe", lambda *a, **k: changed)
    with pytest.raises(UsageError) as caught:
        _train("checkerboard", out)
    assert not out.exists() and not out.with_name(out.name + ".run").exists()
    return str(caught.value)


def test_data_of_another_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = _refused(monkeypatch, tmp_path / "t.safetensors", data="digits")
    assert "'digits' has shape (1, 8, 8), the teacher wants (2,)" in said


def test_teachers_in_closed_form_are_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"kind": "gaussian", "dimension": 2}
    assert "closed form" in _refused(monkeypatch, tmp_path / "t.safetensors", teacher={"model": model})


def test_classes_that_the_data_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wants 7 classes, the data 'digits' has 10"):
        _train("digits-cond", tmp_path / "t.safetensors", [*IMAGES, "teacher.model.num_classes=7"])


def test_what_a_file_is(tmp_path: Path) -> None:
    info = teacher_info(str(tiny_teacher(tmp_path / "t.safetensors")))
    assert (info["kind"], info["shape"], info["num_classes"], info["weights_dtype"]) == ("mixture", [2], 0, "float64")
    assert info["sha256"] == read_teacher_file(tmp_path / "t.safetensors").sha256


def test_what_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no teacher"):
        teacher_info(str(tmp_path / "none"))
    path = tiny_teacher(tmp_path / "t.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DamagedError):
        teacher_info(str(path))


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="NaN or infinity"):
        teacher_info(str(tiny_teacher(tmp_path / "t.safetensors", torch.full((3, 2), float("nan")))))


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "teacher.safetensors"
    out.write_text("mine")
    with pytest.raises(UsageError, match="exists already; name another, or add --overwrite"):
        _train("checkerboard", out)
    assert out.read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == [out.name]
