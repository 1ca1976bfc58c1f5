"""One's own preset: a file in the place of a name, and teachers without a network in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_way import tiny_recipe, tiny_store

from jobs import QUIET
from koopstep.cli.main import run
from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.core.yaml_reader import LARGEST_TEXT
from koopstep.data.store import Store
from koopstep.recipes.recipe import load_recipe, load_teacher_recipe
from koopstep.runs.folder import read_config
from koopstep.students.student import DataFacts
from koopstep.workflows.presets import preset_yaml, show_preset
from koopstep.workflows.teacher import teacher_info, train_teacher


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
        ("methods: {hkdd: {}}", "unknown name 'hkdd' under 'methods'; did you mean 'hkd'? allowed: "),
        ("budgets: {quik: {}}", "unknown name 'quik' under 'budgets'; did you mean 'quick'? allowed: demo, quick"),
        ("budgets: {quick: {methods: {kmd: {}}}}", "unknown name 'kmd' under 'methods'; did you mean 'kdm'?"),
        (
            "teacher: {traning: {}}",
            "unknown field 'teacher.traning'; did you mean 'training'? allowed: file, model, training,",
        ),
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


def test_what_is_no_file_of_settings_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_text("#" * (LARGEST_TEXT + 1))
    (tmp_path / "link.yaml").symlink_to("link.yaml")
    (tmp_path / "null.yaml").write_text('extends: "x\\0.yaml"')
    for name, words in (
        ("folder.yaml", r"folder\.yaml is no file"),
        ("pipe.yaml", r"pipe\.yaml is no file"),
        ("large.yaml", r"large\.yaml has 131073 bytes, at most 131072 are read"),
        ("link.yaml", r"cannot read .*link\.yaml"),
        ("null.yaml", r"'x\\x00\.yaml' is neither a preset nor a file"),
        ("x\0.yaml", "preset must be a path, got .* which holds a null character"),
        ("x\0", "preset must be a path, got .* which holds a null character"),
    ):
        with pytest.raises(UsageError, match=words):
            load_recipe(name if "\0" in name else str(tmp_path / name))
    assert run(["train", "x\0.yaml", "--data", "d", "--out", str(tmp_path / "run")]) == 2
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "config.yaml").write_text("#" * (LARGEST_TEXT + 1))
    with pytest.raises(UsageError, match="at most 131072 are read"):
        read_config(run_folder)


def test_a_budget_that_is_none_is_named() -> None:
    with pytest.raises(UsageError, match="unknown budget 'quik'; did you mean 'quick'"):
        load_recipe("digits", budget="quik")


def test_a_file_extends_a_preset_or_another_file(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    settings = "extends: digits\ntraining: {steps: 7, seed: 3}\nmethods: {hkd: {training: {seed: 4}}}\n"
    (tmp_path / "mine.yaml").write_text(settings)
    (tmp_path / "far" / "child.yaml").write_text("extends: ../mine.yaml\nmethod: hkd\nobjective: {trajectory: 0.125}\n")
    mine, digits = load_recipe(str(tmp_path / "mine.yaml")), load_recipe("digits")
    training = digits.training.model_copy(update={"steps": 7, "seed": 3})
    assert mine == digits.model_copy(update={"preset": "mine", "training": training})
    assert load_recipe(str(tmp_path / "mine.yaml"), "hkd").training.steps == 7  # the nearer file wins over the method
    child = load_recipe(str(tmp_path / "far" / "child.yaml"))
    assert (child.preset, child.method, child.student.kind) == ("child", "hkd", "hkd")
    assert (child.objective.trajectory, child.training.seed, child.training.steps) == (0.125, 4, 7)
    assert child.objective.trajectory_every == load_recipe("digits", "hkd").objective.trajectory_every


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: mine.yaml", r"mine\.yaml extends itself"),
        ("extends: other.yaml", r"mine\.yaml extends itself, by way of .*other\.yaml"),
        ("extends: digitss", r"unknown preset 'digitss'; did you mean 'digits'\? .*`extends` of .*mine\.yaml"),
        ("extends: [digits]", "'extends' must be a name"),
        ("extends: digits\ntraining: {stepz: 3}", r"unknown field 'training\.stepz'; did you mean 'steps'"),
    ],
)
def test_what_cannot_be_extended_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("extends: mine.yaml")
    with pytest.raises(UsageError, match=words):
        load_recipe(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(("preset", "method"), [("checkerboard", "kdm"), ("digits-cond", "hkd+"), ("cifar10", "hkd")])
def test_a_preset_written_out_is_the_same(tmp_path: Path, preset: str, method: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(preset_yaml(preset, method), encoding="utf-8")
    assert load_recipe(str(path)) == load_recipe(preset, method).model_copy(update={"preset": "mine"})
    assert load_teacher_recipe(str(path)) == load_teacher_recipe(preset)
    other = "kdm" if method != "kdm" else "hkd"
    with pytest.raises(UsageError, match=rf"written for the method .* and cannot become '{other}'"):
        load_recipe(str(path), other)


def test_a_change_in_a_file_is_not_undone_by_its_own_method(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = preset_yaml("checkerboard", "hkd")
    assert "  trajectory: 0.25\n" in text
    path.write_text(text.replace("  trajectory: 0.25\n", "  trajectory: 0.5\n"), encoding="utf-8")
    assert load_recipe(str(path), "hkd").objective.trajectory == 0.5


def test_a_student_needs_no_word_about_its_teachers_training(tmp_path: Path) -> None:
    name = written(tmp_path / "mine.yaml", teacher={"file": "mixture"})
    assert load_recipe(name).teacher.model is None
    with pytest.raises(UsageError, match=r"teacher of .*mine\.yaml: field 'teacher\.model' is missing"):
        load_teacher_recipe(name)
    with pytest.raises(UsageError, match="does not say what its teacher is"):
        show_preset(name)


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
    settings = {"file": "mine", "model": model, "training": {"steps": 2, "batch_size": 8}}
    name = written(tmp_path / "mine.yaml", teacher=settings)
    teacher = train_teacher(name, tmp_path / "t.safetensors", job=QUIET)
    assert (teacher.name, teacher.shape) == ("t", (2,))
    assert teacher_info(str(tmp_path / "t.safetensors"))["made_by"].startswith(f"koopstep teacher train {name}; ")


def test_a_student_is_trained_from_a_file(tmp_path: Path, store: Path) -> None:
    name = written(tmp_path / "mine.yaml")
    assert run(["train", name, "--data", str(store), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["recipe"]["preset"], config["recipe"]["training"]["steps"]) == ("mine", 12)


def test_facts_are_those_of_the_store(store: Path) -> None:
    manifest = Store.open(store).manifest
    facts, teacher = DataFacts.of(manifest), manifest.teacher
    assert facts == DataFacts(
        shape=(2,),
        num_classes=0,
        noise_scale=teacher.noise_scale,
        data_scale=teacher.data_scale,
        progress=tuple(index / manifest.steps for index in manifest.kept),
        levels=manifest.levels,
    )
