"""Collect, train, evaluate, sample, analyse, compare: each stage reads what the one before it wrote."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_way import MEANS, generated, spoil, tiny_recipe, tiny_store, tiny_teacher, train_tiny

from jobs import QUIET, quiet_job
from koopstep.core.errors import DamagedError, Interrupted, UsageError
from koopstep.core.files import sha256_file
from koopstep.data.collect import CollectSettings
from koopstep.data.store import Store
from koopstep.runs.folder import read_evaluation
from koopstep.students.files import save_student
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student
from koopstep.workflows.analyses import ANALYSES
from koopstep.workflows.analyze import analyze_run
from koopstep.workflows.collect import collect_store, repair_store, store_info, verify_store
from koopstep.workflows.compare import compare_runs
from koopstep.workflows.evaluate import evaluate
from koopstep.workflows.import_pairs import import_store
from koopstep.workflows.sample import sample_run


@dataclass(frozen=True)
class Way:
    """What the stages left."""

    teacher: Path
    store: Path
    run: Path
    collected: dict[str, Any]
    measured: dict[str, Any]


def _collect(teacher: Path, out: Path, stop_after: int = 10**9, **settings: Any) -> dict[str, Any]:
    asked = iter(range(1, 10**9))
    chosen = CollectSettings(**{"count": 120, "steps": 3, "hold_out": 20, "unit_size": 40, **settings})
    return collect_store(
        str(teacher),
        out,
        chosen,
        rank=0,
        world=1,
        job=quiet_job(lambda: next(asked) >= stop_after),
    )


def _evaluate(run: Path, **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"data": None, "reference": None, "count": None, "metrics": None, **options}
    found = evaluate(run, job=QUIET, **settings)
    return found.plain() | {"files": [str(file) for file in found.files]}


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Way:
    folder = tmp_path_factory.mktemp("way")
    teacher, store, run = tiny_teacher(folder / "teacher.safetensors"), folder / "store", folder / "run"
    collected = _collect(teacher, store)
    train_tiny(tiny_recipe("training.steps=200", "training.log_every=20"), store, run)
    return Way(teacher, store, run, collected, _evaluate(run, reference="checkerboard"))


def test_collect_says(way: Way) -> None:
    assert way.collected["count"] == 120
    assert way.collected["complete"] is True
    assert way.collected["bytes"] == sum(p.stat().st_size for p in (way.store / "shards").glob("*.safetensors"))
    assert way.collected["nfe"] == 5  # Heun, 3 steps
    assert way.collected["seconds"] >= 0


def test_collect_goes_on(way: Way, tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as caught:
        _collect(way.teacher, tmp_path / "store", stop_after=2)
    assert caught.value.exit_code == 75
    with pytest.raises(UsageError, match="1 of 3 units committed"):
        store_info(tmp_path / "store")
    assert _collect(way.teacher, tmp_path / "store")["complete"] is True
    assert Store.open(tmp_path / "store").root == Store.open(way.store).root


@pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2), (0, 0)])
def test_collect_wants_a_rank_below_the_world(way: Way, tmp_path: Path, rank: int, world: int) -> None:
    with pytest.raises(UsageError, match="--rank"):
        collect_store(
            str(way.teacher),
            tmp_path / "store",
            CollectSettings(count=4, steps=1),
            rank=rank,
            world=world,
            job=QUIET,
        )


def test_collect_into_another_teachers_store(way: Way, tmp_path: Path) -> None:
    other = tiny_teacher(tmp_path / "other.safetensors", MEANS + 1)
    with pytest.raises(UsageError):
        _collect(other, way.store)


def test_collect_without_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no teacher"):
        _collect(tmp_path / "none.safetensors", tmp_path / "store")


def test_store_info_verify_and_repair(way: Way, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(way.store, store)
    info = store_info(store)
    assert (info["count"], info["held_out"], info["shape"], info["states"]) == (120, 20, [2], 2)
    assert info["damaged"] == [] and info["root"] == Store.open(way.store).root
    shard = store / "shards" / "00001.safetensors"
    whole = shard.read_bytes()
    spoil(shard)
    damaged = verify_store(store, QUIET)["damaged"]
    assert [(unit["unit"], unit["start"], unit["stop"]) for unit in damaged] == [(1, 40, 80)]
    repaired = repair_store(store, str(way.teacher), job=QUIET)
    assert repaired["repaired"] == [1] and repaired["damaged"] == [] and repaired["identical"] is True
    assert shard.read_bytes() == whole
    with pytest.raises(UsageError):
        other = tiny_teacher(tmp_path / "other.safetensors", MEANS + 1)
        spoil(shard)
        repair_store(store, str(other), job=QUIET)


def test_imported_paths_are_trained_on_like_any_other(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(120, 2)).astype(np.float32)
    np.save(tmp_path / "paths.npy", np.stack([noise, (noise + np.tanh(noise)) / 2, np.tanh(noise)]))
    store = tmp_path / "store"
    assert import_store(tmp_path / "paths.npy", store, hold_out=30, layout="auto")["held_out"] == 30
    train_tiny(tiny_recipe("training.steps=100"), store, tmp_path / "run")
    measured = _evaluate(tmp_path / "run", metrics=["pair_mse", "pair_mse_permuted"])
    assert measured["protocol"]["count"] == 30
    assert measured["metrics"]["pair_mse"] < 0.5 * measured["metrics"]["pair_mse_permuted"]
    shard = next((store / "shards").glob("*.safetensors"))
    spoil(shard)
    with pytest.raises(UsageError, match="import it again"):
        repair_store(store, None, job=QUIET)


def test_evaluation_says(way: Way) -> None:
    result = way.measured
    assert set(result["metrics"]) == {"pair_mse", "pair_mse_permuted", "sliced_wasserstein"}
    assert set(result["teacher"]) == {"sliced_wasserstein"}
    assert result["metrics"]["pair_mse"] < 0.5 * result["metrics"]["pair_mse_permuted"]
    protocol = result["protocol"]
    assert protocol["count"] == 20
    assert protocol["reference"] == "checkerboard" and protocol["reference_sha256"]
    assert Store.open(way.store).root in protocol["noise_rows"]
    assert result["files"] == [str(way.run / "report" / "evaluation.json")]
    saved = read_evaluation(way.run)
    assert saved["metrics"] == result["metrics"] and saved["protocol"] == protocol
    assert (saved["preset"], saved["method"]) == ("tiny", "kdm")


def test_pair_mse_is_that_of_the_held_out_rows(way: Way) -> None:
    store = Store.open(way.store)
    batch = store.batch(store.held_out_rows())
    from koopstep.students.files import load_student

    student, _ = load_student(way.run / "student")
    with torch.no_grad():
        error = (student.generate(batch.noise) - batch.data).square().mean()
    assert way.measured["metrics"]["pair_mse"] == pytest.approx(error.item(), rel=1e-5)


def test_evaluation_on_another_store_of_the_teacher(way: Way, tmp_path: Path) -> None:
    _collect(way.teacher, tmp_path / "store", seed=7)
    run = tmp_path / "run"
    shutil.copytree(way.run, run)
    other = _evaluate(run, data=tmp_path / "store", count=7, metrics=["pair_mse"])
    assert other["protocol"]["count"] == 7 and other["protocol"]["noise_seed"] == 7
    assert set(other["metrics"]) == {"pair_mse"}


def test_a_student_folder_alone_is_enough(way: Way, tmp_path: Path) -> None:
    shutil.copytree(way.run / "student", tmp_path / "student")
    with pytest.raises(UsageError, match="--data"):
        _evaluate(tmp_path / "student")
    result = _evaluate(tmp_path / "student", data=way.store)
    assert result["metrics"]["pair_mse"] == way.measured["metrics"]["pair_mse"]
    assert result["files"] == [] and not (tmp_path / "student" / "report").exists()


def _untrained(folder: Path, shape: tuple[int, ...], classes: int = 0) -> Path:
    """A student that learned nothing; on the loose."""
    network = {"kind": "mlp", "width": 8, "depth": 2}
    config = KDMConfig.parse(
        {"encoder": network, "decoder": network, "operator": {"kind": "dense"}, "latent": 64}, "student"
    )
    torch.manual_seed(0)
    student = build_student(config, DataFacts(shape=shape, num_classes=classes))
    save_student(folder, config, student, {}, "")
    return folder


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": ["fidelity"]}, "unknown metric 'fidelity'; known: pair_mse"),
        ({"metrics": ["class_accuracy"]}, "needs"),
        ({"count": 21}, "count must be from 1 to the 20 held-out rows"),
        ({"count": 0}, "count must be from 1 to the 20"),
        ({"data": Path("/no/such/store")}, "/no/such/store"),
        ({"reference": "no-such-data"}, "no data 'no-such-data'"),
        ({"reference": "digits"}, "'digits' has shape (1, 8, 8), the samples have (2,)"),
    ],
)
def test_evaluations_that_cannot_be_made(way: Way, options: dict[str, Any], words: str) -> None:
    before = (way.run / "report" / "evaluation.json").read_bytes()
    with pytest.raises(UsageError) as caught:
        _evaluate(way.run, **options)
    assert words in str(caught.value)
    assert (way.run / "report" / "evaluation.json").read_bytes() == before


def test_evaluation_needs_rows_that_were_held_out(way: Way, tmp_path: Path) -> None:
    _collect(way.teacher, tmp_path / "store", hold_out=0)
    with pytest.raises(UsageError, match="holds no rows out of training"):
        _evaluate(way.run, data=tmp_path / "store")


def test_evaluation_of_another_kind_of_student(way: Way, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds shape \(2,\) with 0 classes, the student makes \(3,\)"):
        _evaluate(_untrained(tmp_path / "three", (3,)), data=way.store)
    with pytest.raises(UsageError, match="with 4; use the store of its teacher"):
        _evaluate(_untrained(tmp_path / "classes", (2,), 4), data=way.store)


def test_evaluation_on_another_teachers_paths(way: Way, tmp_path: Path) -> None:
    _collect(tiny_teacher(tmp_path / "other.safetensors", MEANS + 1), tmp_path / "store")
    with pytest.raises(UsageError, match="another teacher"):
        _evaluate(way.run, data=tmp_path / "store")


def test_a_damaged_student(way: Way, tmp_path: Path) -> None:
    shutil.copytree(way.run, tmp_path / "run")
    weights = tmp_path / "run" / "student" / "model.safetensors"
    spoil(weights)
    with pytest.raises(DamagedError):
        _evaluate(tmp_path / "run")


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_no_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=name):
        _evaluate(tmp_path / name)


def _sample(run: Path, out: Path, count: int = 9, seed: int = 0, labels: list[int] | None = None) -> dict[str, Any]:
    return sample_run(run, count=count, seed=seed, class_labels=labels, out=out, job=QUIET)


def test_samples_as_numbers(way: Way, tmp_path: Path) -> None:
    said = _sample(way.run, tmp_path / "a.npz")
    assert said["count"] == 9 and said["files"] == [str(tmp_path / "a.npz")]
    assert said["seconds"] >= 0 and said["images_per_second"] > 0
    with np.load(tmp_path / "a.npz") as file:
        assert set(file) == {"samples"}
        first = file["samples"]
    assert first.shape == (9, 2) and first.dtype == np.float32
    _sample(way.run, tmp_path / "b.npz", count=4)
    with np.load(tmp_path / "b.npz") as file:
        np.testing.assert_allclose(file["samples"], first[:4], rtol=1e-4, atol=1e-4)
    _sample(way.run, tmp_path / "c.npz", seed=1)
    with np.load(tmp_path / "c.npz") as file:
        assert not np.allclose(file["samples"], first)
    np.testing.assert_allclose(
        first[:8], generated(way.run, way.store).numpy(), rtol=1e-4, atol=1e-4
    )  # the store's seed is 0


def test_samples_are_not_written_over_what_is_there(way: Way, tmp_path: Path) -> None:
    for place in (tmp_path / "a.npz", tmp_path / "folder.png"):
        place.write_text("mine") if place.suffix == ".npz" else place.mkdir()
        with pytest.raises(UsageError, match=r"exists already; name another, or add --overwrite|is a folder"):
            _sample(way.run, place)
    assert (tmp_path / "a.npz").read_text() == "mine"
    sample_run(way.run, count=1, seed=0, class_labels=None, out=tmp_path / "a.npz", job=QUIET, overwrite=True)
    with np.load(tmp_path / "a.npz") as file:
        assert len(file["samples"]) == 1


def test_an_import_is_not_written_into_its_source(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "link"):
        with pytest.raises(UsageError, match="is what this command reads"):
            import_store(tmp_path, out, hold_out=None, layout="auto")


def test_samples_as_a_scatter_plot(way: Way, tmp_path: Path) -> None:
    _sample(way.run, tmp_path / "points.png")
    with Image.open(tmp_path / "points.png") as picture:
        assert min(picture.size) > 100


def test_vectors_are_no_pictures(way: Way, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.npz"):
        _sample(way.run, tmp_path / "folder")


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_samples_as_pictures(tmp_path: Path, channels: int, mode: str) -> None:
    student = _untrained(tmp_path / "student", (channels, 8, 8), classes=10)
    _sample(student, tmp_path / "grid.png", count=7)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.mode == mode and picture.size == (3 * 66 + 2, 3 * 66 + 2)
    said = _sample(student, tmp_path / "folder", count=7, labels=[3, 4])
    assert len(said["files"]) == 7
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [f"{i:06d}.png" for i in range(7)]
    _sample(student, tmp_path / "same.npz", count=7, labels=[3, 4])
    with np.load(tmp_path / "same.npz") as file:
        assert file["class_labels"].tolist() == [3, 4, 3, 4, 3, 4, 3]
        pixels = (file["samples"][1] * 127.5 + 128).clip(0, 255).astype(np.uint8)
    with Image.open(tmp_path / "folder" / "000001.png") as picture:
        found = np.asarray(picture).reshape(8, 8, channels)
        assert np.abs(found.astype(int) - pixels.transpose(1, 2, 0)).max() <= 1


@pytest.mark.parametrize(
    ("count", "labels", "words"), [(0, None, "count"), (3, [10], "from 0 to 9, got 10"), (3, [-1], "got -1")]
)
def test_samples_that_cannot_be_made(tmp_path: Path, count: int, labels: list[int] | None, words: str) -> None:
    student = _untrained(tmp_path / "student", (1, 8, 8), classes=10)
    with pytest.raises(UsageError, match=words):
        _sample(student, tmp_path / "x.npz", count, labels=labels)
    assert not (tmp_path / "x.npz").exists()


def test_no_classes_to_ask_for(way: Way, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="knows no classes"):
        _sample(way.run, tmp_path / "x.npz", labels=[1])


OF_PATHS = {"bands", "cumulative", "inversion", "linearity", "modes", "steps", "trajectory"}  # not of a KDM student


@pytest.mark.parametrize("what", sorted(set(ANALYSES) - OF_PATHS))
def test_analyses(way: Way, tmp_path: Path, what: str) -> None:
    result = analyze_run(way.run, what, out=tmp_path / "out", data=None, job=QUIET)
    files = result.files
    assert all(file.is_file() and file.parent == tmp_path / "out" for file in files)
    assert {file.suffix for file in files} == {".png", ".json"}
    assert json.loads((tmp_path / "out" / "values.json").read_text()) == json.loads(json.dumps(result.values))


def test_an_analysis_is_not_written_among_other_files(way: Way, tmp_path: Path) -> None:
    (tmp_path / "values.json").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        analyze_run(way.run, "spectrum", out=tmp_path, data=None, job=QUIET)
    with pytest.raises(UsageError, match="is what this command reads"):
        analyze_run(way.run, "spectrum", out=way.run, data=None, job=QUIET, overwrite=True)
    assert (tmp_path / "values.json").read_text() == "mine"
    analyze_run(way.run, "spectrum", out=tmp_path, data=None, job=QUIET, overwrite=True)
    assert (tmp_path / "values.json").read_text() != "mine"


def test_the_spectrum_says_that_its_gauge_is_free(way: Way) -> None:
    result = analyze_run(way.run, "spectrum", out=None, data=None, job=QUIET)
    assert result.values["gauge"] == "free"
    assert result.files[0].parent == way.run / "report" / "spectrum"


def test_analyses_that_cannot_be_made(way: Way, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown analysis 'spectra'; known: .*spectrum"):
        analyze_run(way.run, "spectra", out=tmp_path / "out", data=None, job=QUIET)
    assert not (tmp_path / "out").exists()
    student = shutil.copytree(way.run / "student", tmp_path / "student")
    with pytest.raises(UsageError, match="--data"):
        analyze_run(Path(student), "neighbours", out=tmp_path / "n", data=None, job=QUIET)
    found = analyze_run(Path(student), "neighbours", out=tmp_path / "n", data=way.store, job=QUIET)
    assert "memorisation" in found.values["left_out"] and "memorisation" not in found.values


def test_compare(way: Way, tmp_path: Path) -> None:
    other = tmp_path / "other"
    recipe = tiny_recipe("method=direct", "student.operator={kind: identity}", "objective.latent=0.0")
    train_tiny(recipe, way.store, other)
    with pytest.raises(UsageError, match="was not evaluated yet"):
        compare_runs([way.run, other])
    _evaluate(other, reference="checkerboard")
    table = compare_runs([way.run, other])
    assert [row["name"] for row in table["rows"]] == ["teacher", str(way.run), str(other)]
    assert [row.get("method") for row in table["rows"]] == [None, "kdm", "direct"]
    assert table["rows"][1]["pair_mse"] == way.measured["metrics"]["pair_mse"]
    assert table["rows"][0]["sliced_wasserstein"] == way.measured["teacher"]["sliced_wasserstein"]
    _evaluate(other, reference="checkerboard", count=10)
    with pytest.raises(UsageError, match=r"measured differently \(count, noise_rows\)"):
        compare_runs([way.run, other])
    _evaluate(other, metrics=["pair_mse"])
    with pytest.raises(UsageError, match="metrics"):
        compare_runs([way.run, other])


def test_nothing_to_compare() -> None:
    with pytest.raises(UsageError, match="at least one run"):
        compare_runs([])


def test_stages_do_not_touch_what_they_read(way: Way, tmp_path: Path) -> None:
    before = {
        path: sha256_file(path) for folder in (way.store, way.run) for path in folder.rglob("*") if path.is_file()
    }
    _sample(way.run, tmp_path / "a.npz")
    _evaluate(way.run, reference="checkerboard")
    for path, digest in before.items():
        assert sha256_file(path) == digest, path
    assert tiny_store(tmp_path / "store").is_dir()
