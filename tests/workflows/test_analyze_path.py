"""``analyze`` on small runs of whole paths, images and points, to the last file."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tiny_way import HERE, Quiet

from koopstep.core.errors import UsageError
from koopstep.data.collect import CollectSettings, collect
from koopstep.teachers.files import load_teacher
from koopstep.workflows.analyze import analyze_run
from koopstep.workflows.recipe import load_recipe
from koopstep.workflows.train import train_student

TRAIN = ["training.steps=3", "training.batch_size=8", "training.log_every=1", "objective.trajectory_points=1"]
SMALL = ["student.network={kind: mlp, width: 16, depth: 2}", "student.latent=8"]
RUNS = {
    "digits": ("digits-cond", "hkd+", []),
    "points": ("checkerboard", "hkd", SMALL),
    "kdm": ("digits-cond", "kdm", []),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, made = tmp_path_factory.mktemp("runs"), {}
    for name, (preset, method, changes) in RUNS.items():
        recipe = load_recipe(preset, method, [*TRAIN, *changes])
        teacher = load_teacher(recipe.teacher.file).teacher
        settings = CollectSettings(count=60, steps=3, keep=recipe.collect.keep, hold_out=30)
        for _ in collect(teacher, folder / f"{name}-store", settings):
            pass
        train_student(
            recipe,
            folder / f"{name}-store",
            folder / name,
            resume=False,
            place=HERE,
            console=Quiet(),
            stop=lambda: False,
        )
        made[name] = folder / name
    return made


@pytest.mark.parametrize("what", ["spectrum", "bands", "cumulative", "linearity", "vicinity", "trajectory"])
@pytest.mark.parametrize("name", ["digits", "points"])
def test_every_analysis_leaves_pictures_and_numbers(
    runs: dict[str, Path], name: str, what: str, tmp_path: Path
) -> None:
    if (name, what) == ("points", "trajectory"):
        with pytest.raises(UsageError, match="made of images"):
            analyze_run(runs[name], what, out=tmp_path, data=None, place=HERE, console=Quiet())
        return
    result = analyze_run(runs[name], what, out=tmp_path, data=None, place=HERE, console=Quiet())
    assert result["values"]
    files = [Path(file) for file in result["files"]]
    assert {"values.json"} < {file.name for file in files}
    for file in files:
        if file.suffix == ".png":
            with Image.open(file) as picture:
                assert min(picture.size) > 100
        if file.suffix == ".gif":
            with Image.open(file) as picture:
                assert picture.n_frames > 10  # type: ignore[attr-defined]  # equal neighbours become one
    if what == "vicinity":
        assert result["values"]["teacher_at_hand"]
        assert set(result["values"]) >= {"teacher", "student", "sigma"}


@pytest.mark.parametrize("what", ["bands", "cumulative", "linearity", "trajectory"])
def test_students_without_levels_are_told_so(runs: dict[str, Path], what: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--method hkd"):
        analyze_run(runs["kdm"], what, out=tmp_path, data=None, place=HERE, console=Quiet())


def test_vicinity_and_neighbours_work_for_every_student(runs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("kdm", "digits"):
        for what in ("vicinity", "neighbours"):
            result = analyze_run(runs[name], what, out=tmp_path / name / what, data=None, place=HERE, console=Quiet())
            assert result["values"]
