"""``analyze`` on small runs of whole paths, images and points, to the last file."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from jobs import QUIET
from koopstep.core.errors import UsageError
from koopstep.data.collect import CollectSettings, collect
from koopstep.recipes.recipe import load_recipe
from koopstep.runs.findings import Written
from koopstep.teachers.files import read_teacher_file
from koopstep.workflows.analyze import analyze_run
from koopstep.workflows.train import train_student

Analysed = Callable[[str, str], Written]
TRAIN = ["training.steps=3", "training.batch_size=8", "training.log_every=1", "objective.trajectory_points=1"]
SMALL = ["student.network={kind: mlp, width: 16, depth: 2}", "student.latent=8"]
UNET = "{kind: unet, model_channels: 4, channel_mult: [1, 2], channel_mult_emb: 1, num_blocks: 1, attention_resolutions: []}"
TINY = [f"student.network={UNET}", "student.lift=null", "initialise=fresh"]
RUNS = {
    "digits": ("digits-cond", "hkd+", TINY),
    "points": ("checkerboard", "hkd", SMALL),
    "kdm": ("digits-cond", "kdm", []),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, made = tmp_path_factory.mktemp("runs"), {}
    for name, (preset, method, changes) in RUNS.items():
        recipe = load_recipe(preset, method, [*TRAIN, *changes])
        teacher = read_teacher_file(recipe.teacher.file).teacher
        settings = CollectSettings(count=60, steps=3, keep="all" if method != "kdm" else "ends", hold_out=30)
        for _ in collect(teacher, folder / f"{name}-store", settings):
            pass
        train_student(
            recipe,
            folder / f"{name}-store",
            folder / name,
            resume=False,
            job=QUIET,
        )
        made[name] = folder / name
    return made


@pytest.fixture(scope="module")
def analysed(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    """(run, analysis) -> what it left; worked out once."""

    @functools.cache
    def once(name: str, what: str) -> Written:
        out = tmp_path_factory.mktemp(f"{name}-{what}")
        return analyze_run(runs[name], what, out=out, data=None, job=QUIET)

    return once


@pytest.mark.parametrize(
    "what", ["spectrum", "verify", "bands", "cumulative", "linearity", "steps", "vicinity", "trajectory"]
)
@pytest.mark.parametrize("name", ["digits", "points"])
def test_every_analysis_leaves_pictures_and_numbers(analysed: Analysed, name: str, what: str) -> None:
    result = analysed(name, what)
    assert result.values
    files = result.files
    assert {"values.json"} < {file.name for file in files}
    for file in files:
        if file.suffix == ".png":
            with Image.open(file) as picture:
                assert min(picture.size) > 100
        if file.suffix == ".gif":
            with Image.open(file) as picture:
                assert picture.n_frames > 1  # type: ignore[attr-defined]  # equal neighbours become one
    if what == "vicinity":
        assert result.values["teacher_at_hand"]
        assert set(result.values) >= {"teacher", "student", "sigma", "unrelated"}
    if what == "verify":
        assert all("residual" in one for level in result.values["levels"] for one in level["eigenvalues"])
        assert {file.name for file in files} == {
            "verify.png",
            "verify_forecast.png",
            "verify_agreement.png",
            "values.json",
        }
    if what == "steps":
        ways = {"noise", "path"} if name == "digits" else {"noise"}
        assert set(result.values) == ways | {"teacher", "left_out", "conclusion"}
        for way in ways:  # three kept intervals: three steps at most
            assert list(result.values[way]) == ["1", "2", "3"]
        first, second = (result.values["noise"][count] for count in "12")
        assert set(first) == set(second) and first != second and "pair_mse_permuted" not in first
        assert {file.name for file in files} == {"steps.png", "steps_samples.png", "values.json"}
    if what == "inversion":
        assert {"inversion.png", "inversion_noise.png", "values.json"} == {file.name for file in files}
        assert set(result.values) >= {"real", "teacher", "gaussian"} and result.values["teacher"]["rows"] == 30
    if what == "trajectory":
        assert {file.name for file in files} == {"trajectory.png", "trajectory.gif", "values.json"}
    if what == "spectrum":
        assert {"spectrum.png", "times.png", "band_effects.png"} < {file.name for file in files}
        assert ("rate_maps.png" in {file.name for file in files}) == (name == "digits")
        assert result.values["verified"]["eigenvalues"] > 0 and "Verified on held-out paths" in result.conclusion
        assert set(result.values["band_effects"]) == {"real", "modulus", "frequency", "chance", "chance_spread"}


def test_inversion_needs_a_student_that_reads_its_path(analysed: Analysed) -> None:
    with pytest.raises(UsageError, match="--method modes"):
        analysed("points", "inversion")


def test_rates_that_depend_on_the_state_are_read_where_the_path_starts(analysed: Analysed) -> None:
    spread, plain = analysed("digits", "spectrum"), analysed("points", "spectrum")
    told = [level["alpha_spread_between_states"] for level in spread.values["rates"].values()]
    assert all(value is not None and value > 0 for value in told)
    assert all(level["alpha_spread_between_states"] is None for level in plain.values["rates"].values())


def test_a_store_of_ends_is_enough_for_a_film_and_not_for_linearity(runs: dict[str, Path], tmp_path: Path) -> None:
    recipe = load_recipe("digits-cond", "hkd+", [])
    settings = CollectSettings(count=20, steps=3, keep="ends", hold_out=10)
    for _ in collect(read_teacher_file(recipe.teacher.file).teacher, tmp_path / "ends", settings):
        pass
    film = analyze_run(runs["digits"], "trajectory", out=tmp_path / "f", data=tmp_path / "ends", job=QUIET)
    distances = film.values["distance_by_u"]
    assert len(distances) == 9 and [value is None for value in distances] == [False, *[True] * 7, False]
    with pytest.raises(UsageError, match="collect with --keep all"):
        analyze_run(runs["digits"], "linearity", out=tmp_path / "l", data=tmp_path / "ends", job=QUIET)


def test_without_the_teacher_vicinity_draws_the_student_alone(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["points"], run)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub(r"(?m)^(teacher_sha256: ).*$", r"\g<1>" + "f" * 64, config))
    values = analyze_run(run, "vicinity", out=tmp_path / "v", data=None, job=QUIET).values
    assert values["teacher_at_hand"] is False and "teacher" not in values and "student" in values


def test_a_student_without_rates_has_no_bands(runs: dict[str, Path], tmp_path: Path) -> None:
    recipe = load_recipe("checkerboard", "trajectory", [*TRAIN, *SMALL])
    store = runs["points"].parent / "points-store"
    train_student(recipe, store, tmp_path / "run", resume=False, job=QUIET)
    for what in ("bands", "cumulative"):
        with pytest.raises(UsageError, match="no modes to sort"):
            analyze_run(tmp_path / "run", what, out=tmp_path / what, data=None, job=QUIET)
    files = analyze_run(tmp_path / "run", "spectrum", out=tmp_path / "s", data=None, job=QUIET).files
    assert [Path(file).name for file in files] == ["spectrum.png", "values.json"]


@pytest.mark.parametrize("what", ["bands", "cumulative", "linearity", "steps", "trajectory"])
def test_students_without_levels_are_told_so(runs: dict[str, Path], what: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--method hkd"):
        analyze_run(runs["kdm"], what, out=tmp_path, data=None, job=QUIET)


def test_vicinity_and_neighbours_work_for_every_student(analysed: Analysed) -> None:
    for name in ("kdm", "digits"):
        for what in ("vicinity", "neighbours", "verify"):
            assert analysed(name, what).values


def test_spectra_are_compared_with_those_of_other_runs(runs: dict[str, Path], tmp_path: Path) -> None:
    store, recipe = runs["points"].parent / "points-store", load_recipe("checkerboard", "hkd", [*TRAIN, *SMALL])
    other = recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": 1})})
    train_student(other, store, tmp_path / "other", resume=False, job=QUIET)
    found = analyze_run(runs["points"], "verify", others=[tmp_path / "other"], out=tmp_path / "out", job=QUIET)
    assert list(found.values["agreement"]) == ["halves", str(tmp_path / "other")]
    with pytest.raises(UsageError, match="cannot be compared with"):
        analyze_run(runs["points"], "verify", others=[runs["digits"]], out=tmp_path / "no", job=QUIET)
    with pytest.raises(UsageError, match="leave --with away"):
        analyze_run(runs["points"], "linearity", others=[tmp_path / "other"], out=tmp_path / "no", job=QUIET)


def test_a_spectrum_without_its_store_says_that_it_is_not_verified(runs: dict[str, Path], tmp_path: Path) -> None:
    alone = shutil.copytree(runs["points"] / "student", tmp_path / "student")
    found = analyze_run(alone, "spectrum", out=tmp_path / "out", job=QUIET)
    assert found.values["verified"]["passed"] is None
    assert "Not verified" in found.conclusion and "without its run" in found.conclusion
