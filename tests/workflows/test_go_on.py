"""What a run needs to go on, what it may change, and what keeps it from going on; inputs are never written over."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from test_train_adversarial import Eye, image_recipe
from tiny_way import MEANS, MLP, steps_of, tiny_recipe, tiny_store, train_tiny

from jobs import QUIET
from koopstep.cli.main import run
from koopstep.core.config import dump
from koopstep.core.errors import Interrupted, UsageError
from koopstep.data.collect import CollectSettings, collect
from koopstep.data.importers import import_source
from koopstep.data.store import Store
from koopstep.nets.mlp import MLPConfig
from koopstep.recipes.recipe import Recipe
from koopstep.runs import origin, task
from koopstep.runs.folder import read_config
from koopstep.teachers.edm import EDMConfig, build_edm
from koopstep.teachers.files import TeacherHeader, read_header, read_teacher_file, save_teacher
from koopstep.training import checkpoint
from koopstep.workflows import train as workflow
from koopstep.workflows.teacher import train_teacher


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("paths") / "store")


def begun(folder: Path, store: Path, *changes: str) -> Path:
    """A run that was killed before its first checkpoint."""
    train_tiny(tiny_recipe(*changes), store, folder.with_name("whole"))
    folder.mkdir()
    (folder / "config.yaml").write_bytes((folder.with_name("whole") / "config.yaml").read_bytes())
    return folder


def test_a_run_without_a_checkpoint_takes_the_changes_that_one_with_a_checkpoint_does(
    tmp_path: Path, store: Path
) -> None:
    out = begun(tmp_path / "run", store, "training.steps=2")
    for change in ("training.seed=1", "student.latent=4", "objective.latent=0.2", "training.steps=1"):
        with pytest.raises(UsageError, match="has not written"):
            train_tiny(tiny_recipe("training.steps=2", change), store, out, resume=True)
    longer = tiny_recipe("training.steps=3", "training.log_every=2")
    with pytest.raises(UsageError, match="has not written"):
        train_tiny(longer, store, out)
    assert train_tiny(longer, store, out, resume=True).step == 3
    assert read_config(out).earlier_steps == ()  # nothing was trained before


def test_another_store_is_another_run(tmp_path: Path, store: Path) -> None:
    out = begun(tmp_path / "run", store, "training.steps=1")
    with pytest.raises(UsageError, match="has not written"):
        train_tiny(tiny_recipe("training.steps=1"), tiny_store(tmp_path / "other", seed=1), out, resume=True)


@pytest.mark.parametrize("change", ["objective.distance=perceptual", "objective.discriminator=features"])
def test_other_weights_of_a_feature_network_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    noise = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "pairs.npy", torch.stack([noise, noise / 2]).numpy())
    import_source(tmp_path / "pairs.npy", tmp_path / "store", hold_out=4)
    monkeypatch.setattr(task, "_find_network", lambda name: Eye())
    recipe, out = image_recipe(change), tmp_path / "run"
    with pytest.raises(Interrupted):
        train_tiny(recipe, tmp_path / "store", out, stop_after=1)
    with monkeypatch.context() as patch, pytest.raises(UsageError, match=r"network \w+ was of an eye, is now other"):
        patch.setattr(Eye, "sha256", "other")
        train_tiny(recipe, tmp_path / "store", out, resume=True)
    forget_networks(out / "checkpoints" / "step-00000001" / "state.json")  # as older versions wrote it
    assert train_tiny(recipe, tmp_path / "store", out, resume=True).step == 4


def forget_networks(state: Path) -> None:
    described = json.loads(state.read_text())
    del described["sha256"]
    networks = [name for name in described["identity"] if name.startswith("network ")]
    assert networks
    for name in networks:
        del described["identity"][name]
    state.write_text(json.dumps(described | {"sha256": checkpoint._digest(described)}))


@pytest.fixture
def from_teacher(tmp_path: Path) -> Recipe:
    """A recipe that starts from the teacher in ``tmp_path / "t.safetensors"``, whose paths are in ``tmp_path / "store"``."""
    torch.manual_seed(0)
    config = EDMConfig(shape=(2,), network=MLPConfig(width=8, depth=2, fourier=0))
    save_teacher(tmp_path / "t.safetensors", TeacherHeader(config=config, name="t"), build_edm(config))
    settings = CollectSettings(count=40, steps=2, hold_out=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an untrained teacher's samples have any size
        for _ in collect(read_teacher_file(tmp_path / "t.safetensors").teacher, tmp_path / "store", settings):
            pass
    plain = dump(
        tiny_recipe(
            "initialise=teacher", f"teacher.file={tmp_path}/t.safetensors", "training.steps=4", "student.latent=2"
        )
    )
    plain["teacher"]["model"] = dump(config)
    return Recipe.parse(plain, "from the teacher")


def test_a_run_that_began_from_its_teacher_goes_on_without_it(tmp_path: Path, from_teacher: Recipe) -> None:
    out, store = tmp_path / "run", tmp_path / "store"
    train_tiny(from_teacher, store, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train_tiny(from_teacher, store, out, stop_after=2)
    (tmp_path / "t.safetensors").unlink()
    with pytest.raises(Interrupted):
        train_tiny(from_teacher, store, out, resume=True, stop_after=1)
    assert run(["train", str(out), "--resume", "--device", "cpu"]) == 0
    for name in ("student/model.safetensors", "config.yaml"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(UsageError, match="not at hand; the student learns from it"):
        train_tiny(from_teacher, store, tmp_path / "new")
    with pytest.raises(UsageError, match=r"student\.latent was 2, is now 5"):
        changed = from_teacher.student.model_copy(update={"latent": 5})
        train_tiny(from_teacher.model_copy(update={"student": changed}), store, out, resume=True)


def test_the_record_reads_the_teacher_s_header_only(
    tmp_path: Path, from_teacher: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tmp_path / "t.safetensors"
    assert read_header(teacher) == read_teacher_file(teacher).header
    monkeypatch.setattr(origin, "read_teacher_file", lambda *_: pytest.fail("the weights were read"))
    train_tiny(from_teacher.model_copy(update={"initialise": "fresh"}), tmp_path / "store", tmp_path / "run")
    assert read_config(tmp_path / "run").recipe.teacher.model == read_header(teacher).config


def test_a_note_on_the_start_comes_before_the_networks_are_compiled_and_only_at_the_start(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    begin = workflow.begin_training
    monkeypatch.setattr(workflow, "note_on_start", lambda *_: order.append("note"))
    monkeypatch.setattr(workflow, "begin_training", lambda *a, **k: (order.append("begin"), begin(*a, **k))[1])
    for resume, steps in ((False, 1), (True, 2)):
        train_tiny(tiny_recipe(f"training.steps={steps}"), store, tmp_path / "run", resume=resume)
    assert order == ["note", "begin", "begin"]


def test_overwrite_never_deletes_what_is_read(tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    train_tiny(tiny_recipe("training.steps=1"), store, out)
    (tmp_path / "above.yaml").write_text("extends: run/config.yaml\n")
    inside = tiny_store(out / "report" / "store", count=20, hold_out=2)
    before = (out / "config.yaml").read_bytes()
    for preset, data in (
        (out / "config.yaml", store),
        (tmp_path / "above.yaml", store),
        ("checkerboard", inside),
        ("checkerboard", out),
    ):
        line = ["train", str(preset), "--data", str(data), "--out", str(out), "--overwrite", "--device", "cpu"]
        assert run(line) == 2
        said = capsys.readouterr().err
        assert "is what this command reads" in said or data == out
    assert (out / "config.yaml").read_bytes() == before and steps_of(out) == [1] and Store.open(inside)
    line = ["train", "checkerboard", "--data", str(store), "--out", str(store), "--overwrite", "--device", "cpu"]
    assert run(line) == 2 and "is what this command reads" in capsys.readouterr().err


TEACHER = ["teacher.training.batch_size=8", f"teacher.model.network={json.dumps(MLP)}"]


def test_training_a_teacher_never_writes_over_what_it_reads(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: checkerboard\n")
    (tmp_path / "top.yaml").write_text("extends: base.yaml\n")
    points = tmp_path / "points.npz"
    np.savez(points, data=MEANS.numpy())
    for out, changes in (("base.yaml", []), ("points.npz", [f"data={points}"])):
        before = (tmp_path / out).read_bytes()
        with pytest.raises(UsageError, match="is what this command reads"):
            train_teacher(
                str(tmp_path / "top.yaml"),
                tmp_path / out,
                changes=[*TEACHER, *changes],
                resume=False,
                overwrite=True,
                job=QUIET,
            )
        assert (tmp_path / out).read_bytes() == before


def test_a_teacher_that_is_trained_longer_is_said_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["teacher", "train", "checkerboard", "--out", str(tmp_path / "t.safetensors"), "--device", "cpu"]
    line += [part for change in (*TEACHER, "teacher.training.schedule=cosine") for part in ("-o", change)]
    assert run([*line, "-o", "teacher.training.steps=2"]) == 0
    assert "now follow" not in capsys.readouterr().err
    assert run([*line, "-o", "teacher.training.steps=3", "--resume"]) == 0
    said = capsys.readouterr()
    words = "the learning rate (cosine) now follows a training of 3 steps; what was trained before followed one of 2"
    assert words in said.err + said.out
