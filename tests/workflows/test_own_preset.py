"""One's own preset: a file in the place of a name, and teachers without a network in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_way import HERE, tiny_recipe, tiny_store

from koopstep.cli.main import run
from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.data.store import TrajectoryStore
from koopstep.students.student import DataFacts
from koopstep.workflows.console import Quiet
from koopstep.workflows.presets import show_preset
from koopstep.workflows.recipe import load_recipe
from koopstep.workflows.teacher import train_teacher


def written(path: Path, **changes: Any) -> str:
    settings = dump(tiny_recipe())
    del settings["preset"], settings["method"]
    path.write_text(yaml.safe_dump(settings | changes), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("own") / "store")


def test_a_file_is_a_preset(tmp_path: Path) -> None:
    name = written(
        tmp_path / "my-blobs.yaml",
        budgets={"quick": {"training": {"steps": 2}, "methods": {"kdm-f": {"training": {"steps": 3}}}}},
        methods={"kdm-f": {"training": {"seed": 5}}},
    )
    found = load_recipe(name, "kdm-f", ["training.batch_size=4"], budget="quick")
    assert (found.preset, found.method, found.student.operator.kind) == ("my-blobs", "kdm-f", "factorised")
    assert (found.training.steps, found.training.seed, found.training.batch_size) == (3, 5, 4)
    assert load_recipe(name) == tiny_recipe().model_copy(update={"preset": "my-blobs"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("about: [1", "not readable as YAML"),
        ("- a\n- b", "must hold settings by name"),
        ("about: !!set {a, b}", "is no preset"),
        ("methods: [kdm]", "'methods' must hold settings under each name"),
        ("budgets: {quick: 3}", "'budgets' must hold settings under each name"),
        ("budgets: {quick: {methods: {kdm: 3}}}", "'methods' must hold settings under each name"),
        ("student: 3", "field 'data' is missing"),
        ("surprise: 3", "surprise"),
    ],
)
def test_a_file_that_is_no_preset_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    settings = dump(tiny_recipe()) if text.startswith("surprise") else {"about": ""}
    path.write_text(text if text.startswith("-") else f"{yaml.safe_dump(settings)}{text}\n", encoding="utf-8")
    if text.startswith("about"):
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_recipe(str(path))
    assert str(path) in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none\.yml"):
        load_recipe(str(tmp_path / "none.yml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"bytes\.yaml is no preset"):
        load_recipe(str(tmp_path / "bytes.yaml"))
    with pytest.raises(UsageError, match=r"unknown preset 'nothing'; known: .*; or name a \.yaml file"):
        load_recipe("nothing")


def test_closed_forms_are_shown(tmp_path: Path) -> None:
    shown = show_preset(written(tmp_path / "mine.yaml"))
    assert (shown["preset"], shown["teacher"]["kind"], shown["teacher"]["parameters"]) == ("mine", "mixture", 0)
    assert shown["student"]["parameters"] > 0


def test_a_diffusers_teacher_is_shown_without_its_weights(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        network = diffusers.UNet2DModel(sample_size=32)
    teacher = dump(tiny_recipe())["teacher"] | {"model": {"kind": "diffusers", "network": {"sample_size": 32}}}
    small = {"kind": "unet", "model_channels": 4, "num_blocks": 1}
    student = dump(tiny_recipe())["student"] | {"encoder": small, "decoder": small, "data_encoder": None}
    shown = show_preset(written(tmp_path / "mine.yaml", teacher=teacher, student=student))
    assert shown["teacher"]["parameters"] == network.num_parameters() > 10**8
    assert shown["student"]["parameters"] > 0


def test_a_teacher_is_trained_from_a_file(tmp_path: Path) -> None:
    model = {"kind": "edm", "shape": [2], "network": {"kind": "mlp", "width": 8, "depth": 2}}
    teacher = {"file": "mine", "model": model, "training": {"steps": 2, "batch_size": 8}}
    name = written(tmp_path / "mine.yaml", teacher=teacher)
    said = train_teacher(
        name, tmp_path / "t.safetensors", changes=[], resume=False, place=HERE, console=Quiet(), stop=lambda: False
    )
    assert (said["step"], said["name"]) == (2, "mine")
    assert said["made_by"].startswith(f"koopstep teacher train {name}; ")


def test_a_student_is_trained_from_a_file(tmp_path: Path, store: Path) -> None:
    name = written(tmp_path / "mine.yaml")
    assert run(["train", name, "--data", str(store), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["recipe"]["preset"], config["recipe"]["training"]["steps"]) == ("mine", 12)


def test_facts_are_those_of_the_store(store: Path) -> None:
    manifest = TrajectoryStore.open(store).manifest
    facts, teacher = DataFacts.of(manifest), manifest.teacher
    assert facts == DataFacts(
        shape=(2,),
        num_classes=0,
        noise_scale=teacher.noise_scale,
        data_scale=teacher.data_scale,
        progress=tuple(index / manifest.steps for index in manifest.kept),
        levels=manifest.levels,
    )
