"""No number against somebody else's data: what samples are compared with comes from their teacher or from the user."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_way import MEANS, SPREAD, tiny_recipe, tiny_store, tiny_teacher, train_tiny

from jobs import QUIET
from koopstep.cli import main
from koopstep.core.config import dump
from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import sha256_file
from koopstep.data.collect import CollectSettings, collect
from koopstep.data.importers import import_source
from koopstep.data.sources import load_source
from koopstep.recipes.recipe import Recipe
from koopstep.runs.folder import read_config
from koopstep.runs.origin import find_data, own_teacher, training_data
from koopstep.teachers.analytic import mixture_teacher
from koopstep.teachers.base import TrainingData
from koopstep.teachers.functions import from_velocity
from koopstep.workflows.analyze import analyze_run
from koopstep.workflows.evaluate import evaluate

BOARD = ["evaluation.metrics=[pair_mse, in_cell, sliced_wasserstein]"]
FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "v0.1"


def measure(run: Path, **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"data": None, "reference": None, "count": None, "metrics": None, **options}
    found = evaluate(run, job=QUIET, **settings)
    return found.plain() | {"files": [str(file) for file in found.files]}


def store_of_blobs(folder: Path, data: TrainingData | None = None) -> Path:
    teacher = mixture_teacher(MEANS, SPREAD)
    teacher.training_data = data
    list(collect(teacher, folder, CollectSettings(count=60, steps=2, hold_out=20)))
    return folder


def images_of(name: str, folder: Path, seed: int) -> Path:
    """An ``.npz`` of 8 x 8 pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = np.random.default_rng(seed).integers(0, 256, size=(40, 8, 8, 1), dtype=np.uint8)
    np.savez(folder / name, images=pictures, labels=np.arange(40) % 10)
    return folder / name


def image_recipe(data: str, *changes: str) -> Recipe:
    network = {"kind": "mlp", "width": 8, "depth": 2, "fourier": 0}
    settings = dump(tiny_recipe("training.steps=2", *changes)) | {"data": data}
    settings["teacher"]["model"] = {"kind": "flow", "shape": [1, 8, 8], "network": network}
    settings["evaluation"]["metrics"] = ["pair_mse", "frechet_pixel"]
    return Recipe.parse(settings, "image recipe")


def image_store(folder: Path, data: TrainingData | None) -> Path:
    teacher = from_velocity(lambda x, t, labels: -x, (1, 8, 8))
    teacher.training_data = data
    list(collect(teacher, folder, CollectSettings(count=24, steps=2, hold_out=8)))
    return folder


def test_paths_of_nobody_knows_what_get_no_number_of_the_presets_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Imported paths near N(0, 1), trained with the checkerboard's preset."""
    noise = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    np.save(tmp_path / "paths.npy", np.stack([noise, np.tanh(noise)]))
    import_source(tmp_path / "paths.npy", tmp_path / "store", hold_out=20)
    train_tiny(tiny_recipe("training.steps=2", *BOARD), tmp_path / "store", tmp_path / "run")
    assert main.run(["evaluate", str(tmp_path / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(result["metrics"]) == {"pair_mse"} and result["teacher"] == {}
    assert set(result["left_out"]) == {"in_cell", "sliced_wasserstein"}
    for reason in result["left_out"].values():
        assert "nothing says what data the teacher 'npy' learned from" in reason and "--reference" in reason
    assert result["protocol"]["reference"] is None and result["protocol"]["metrics"] == ["pair_mse"]
    assert main.run(["evaluate", str(tmp_path / "run")]) == 0
    assert "left out in_cell: needs the checkerboard" in capsys.readouterr().out
    named = measure(tmp_path / "run", reference="checkerboard")  # who knows better may say so
    assert set(named["metrics"]) == {"pair_mse", "in_cell", "sliced_wasserstein"} and named["left_out"] == {}
    assert named["protocol"]["reference"] == "checkerboard"
    with pytest.raises(UsageError, match=r"'in_cell': needs the checkerboard .*nothing says what data"):
        measure(tmp_path / "run", metrics=["in_cell"])


def test_the_reference_is_what_the_teacher_learned_from_whatever_the_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of something else at 8 x 8, trained with a recipe of the digits."""
    monkeypatch.chdir(tmp_path)
    fashion = load_source(str(images_of("fashion.npz", tmp_path, seed=1)))
    train_tiny(image_recipe("digits"), image_store(tmp_path / "store", fashion.identity()), tmp_path / "run")
    protocol = measure(tmp_path / "run")["protocol"]
    assert (protocol["reference"], protocol["reference_sha256"]) == ("fashion.npz", fashion.sha256())
    images_of("fashion.npz", tmp_path, seed=2)  # something else by that name
    changed = measure(tmp_path / "run")
    assert set(changed["metrics"]) == {"pair_mse"}
    assert "'fashion.npz' at hand is not what the teacher learned from" in changed["left_out"]["frechet_pixel"]
    (tmp_path / "fashion.npz").unlink()
    reason = measure(tmp_path / "run")["left_out"]["frechet_pixel"]
    assert "not at hand" in reason and "no data 'fashion.npz'" in reason


def test_a_recipe_may_say_where_the_data_is_but_not_what_it_is(tmp_path: Path) -> None:
    right = load_source(str(images_of("fashion.npz", tmp_path / "far", seed=1)))
    wrong = images_of("fashion.npz", tmp_path / "near", seed=2)
    assert find_data(right.identity(), [str(tmp_path / "far" / "fashion.npz")]).value is not None
    for places in ([str(wrong)], ["digits"], []):
        assert find_data(right.identity(), places).value is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "ab" * 32}, "is not what the teacher learned from"),
        ({"shape": (3,)}, "is not what the teacher learned from"),
        ({"num_classes": 7}, "7 classes"),
        ({"name": "no-such-data"}, "no data 'no-such-data'"),
    ],
)
def test_data_of_another_digest_shape_or_number_of_classes_is_not_it(change: dict[str, Any], words: str) -> None:
    board = load_source("checkerboard").identity()
    assert find_data(board).value is not None
    found = find_data(board.model_copy(update=change))
    assert found.value is None and words in found.reason


def test_the_checkerboards_metric_and_cells_belong_to_its_data_and_not_to_the_plane(tmp_path: Path) -> None:
    board = load_source("checkerboard").identity()
    recipe = tiny_recipe("training.steps=2", "data=digits", *BOARD)
    train_tiny(recipe, store_of_blobs(tmp_path / "store", board), tmp_path / "run")
    assert "in_cell" in measure(tmp_path / "run")["metrics"]
    found = analyze_run(tmp_path / "run", "neighbours", out=None, data=None, job=QUIET).values
    assert "memorisation" in found


def test_analyses_leave_out_what_needs_real_data(tmp_path: Path) -> None:
    train_tiny(tiny_recipe("training.steps=2"), store_of_blobs(tmp_path / "store"), tmp_path / "run")
    settings: dict[str, Any] = {"out": None, "data": None, "job": QUIET}
    values = analyze_run(tmp_path / "run", "neighbours", **settings).values
    assert "memorisation" not in values
    assert "nothing says what data" in values["left_out"]["memorisation"]
    values = analyze_run(tmp_path / "run", "neighbours", reference="checkerboard", **settings).values
    assert values["memorisation"]["student"]["median_ratio"] > 0 and "left_out" not in values
    with pytest.raises(UsageError, match="'digits' has shape"):
        analyze_run(tmp_path / "run", "neighbours", reference="digits", **settings)


def test_a_reference_of_other_classes_is_refused(tmp_path: Path) -> None:
    named = images_of("other.npz", tmp_path, seed=1)
    digits = load_source("digits").identity()
    train_tiny(image_recipe("digits"), image_store(tmp_path / "store", digits), tmp_path / "run")
    assert measure(tmp_path / "run", reference=str(named))["protocol"]["reference"] == "other.npz"
    pictures = np.zeros((12, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "three.npz", images=pictures, labels=np.arange(12) % 3)
    with pytest.raises(UsageError, match="has 3 classes, the student's data 10"):
        measure(tmp_path / "run", reference=str(tmp_path / "three.npz"))


def test_noise_of_another_size_is_another_teachers(tmp_path: Path) -> None:
    train_tiny(tiny_recipe("training.steps=2"), tiny_store(tmp_path / "store"), tmp_path / "run")
    teacher = mixture_teacher(MEANS, SPREAD, sigma_max=20.0)
    list(collect(teacher, tmp_path / "other", CollectSettings(count=60, steps=2, hold_out=20)))
    with pytest.raises(UsageError, match="noise of size 20, the student starts from noise of size 80"):
        measure(tmp_path / "run", data=tmp_path / "other")


def test_a_run_of_version_0_1_finds_its_data_by_its_teacher(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "board-store", tmp_path / "store")
    measured = measure(FIXTURES / "kdm" / "student", data=tmp_path / "store", metrics=["in_cell"])
    assert measured["protocol"]["reference"] == "checkerboard"


def test_the_teacher_of_a_run_is_found_by_its_digest_or_the_reason_is_told(tmp_path: Path) -> None:
    file, other = tiny_teacher(tmp_path / "t"), tiny_teacher(tmp_path / "u", MEANS + 1)
    assert "is another one" in own_teacher([str(file)], "t", "0" * 64).reason
    digest = sha256_file(file)
    found = own_teacher([str(other), str(tmp_path / "missing"), str(file)], "mixture", digest)
    assert found.need().sha256 == digest and found.reason == ""
    absent = own_teacher([str(tmp_path / "missing")], "mixture", digest)
    with pytest.raises(UsageError, match="'mixture' that made the paths is not at hand; set this"):
        absent.need("; set this")
    assert "function" in own_teacher([str(file)], "f", "").reason


def test_a_damaged_teacher_is_told_from_an_absent_one(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"x" * 100)
    digest = sha256_file(path)
    with pytest.raises(DamagedError):
        own_teacher([str(path)], "t", digest).need()


def test_a_run_names_the_data(tmp_path: Path) -> None:
    board = load_source("checkerboard").identity()
    train_tiny(tiny_recipe("training.steps=2"), store_of_blobs(tmp_path / "store", board), tmp_path / "run")
    assert read_config(tmp_path / "run").training_data == board
    identity = mixture_teacher(MEANS, SPREAD).identity(2)
    assert "nothing says" in training_data("nowhere", identity).reason


def test_the_weights_folder_is_passed_down_and_the_environment_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KOOPSTEP_WEIGHTS", raising=False)
    digits = load_source("digits").identity()
    recipe = image_recipe("digits")
    measured = recipe.evaluation.model_copy(update={"metrics": ("pair_mse", "fid_768")})
    recipe = recipe.model_copy(update={"evaluation": measured})
    train_tiny(recipe, image_store(tmp_path / "store", digits), tmp_path / "run")
    assert main.run(["evaluate", str(tmp_path / "run"), "--weights", str(tmp_path / "empty"), "--json"]) == 0
    assert "weights" in json.loads(capsys.readouterr().out.splitlines()[-1])["left_out"]["fid_768"]
    assert "KOOPSTEP_WEIGHTS" not in os.environ
