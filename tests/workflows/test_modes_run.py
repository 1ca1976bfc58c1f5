"""A run of modes from end to end: its analyses, those that say plainly why not, and its page."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_way import MEANS, SPREAD, tiny_recipe, train_tiny

from jobs import QUIET
from koopstep.core.errors import UsageError
from koopstep.data.collect import CollectSettings, collect
from koopstep.teachers.analytic import mixture_teacher
from koopstep.workflows import report_figures
from koopstep.workflows.analyze import analyze_run
from koopstep.workflows.report import tell


def trained(folder: Path, *, within: bool) -> Path:
    """A run of four steps on paths of three, one of whose states is held out."""
    settings = CollectSettings(count=120, steps=3, hold_out=20, keep="all")
    for _ in collect(mixture_teacher(MEANS, SPREAD), folder / "store", settings):
        pass
    network = "{kind: mlp, width: 8, depth: 2, fourier: 0}"
    recipe = tiny_recipe(
        "method=modes",
        f"student={{kind: modes, network: {network}, operator: {{kind: modes, modes: 1}}, within: {str(within).lower()}}}",
        "objective={reconstruction: 0.0, latent: 0.0, latent_noise: 0.0, prediction: 1.0, states: 0.5, states_held_out: 1}",
        "training.steps=4",
    )
    train_tiny(recipe, folder / "store", folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("modes"), within=True)


@pytest.fixture(scope="module")
def of_noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("of_noise"), within=False)


def test_modes_come_first_on_the_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_figures, "SECONDS", 0.0)  # only what was made before
    for what in ("neighbours", "modes"):
        analyze_run(run, what, job=QUIET)
    chapter = tell(run, None, QUIET).chapter
    assert [part.title for part in chapter.parts[:2]] == ["The path as a sum of modes", "More samples"]
    first = chapter.parts[0]
    assert "the path is the sum of 1 mode, a constant" in first.lead and "(20 held-out rows)." in first.lead
    assert [picture.path.name for picture in first.pictures][:2] == ["modes.png", "modes_pictures.png"]
    assert "Does near noise end near?" in [part.title for part in chapter.parts]


@pytest.mark.parametrize("what", ["modes", "spectrum", "bands", "cumulative", "trajectory"])
def test_students_of_noise_alone_have_their_analyses(of_noise: Path, what: str, tmp_path: Path) -> None:
    found = analyze_run(of_noise, what, out=tmp_path / what, job=QUIET)
    assert found.conclusion.endswith(".") and found.files


@pytest.mark.parametrize("what", ["linearity", "steps"])
def test_what_needs_states_within_the_path_is_refused_in_plain_words(of_noise: Path, what: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="within=true"):
        analyze_run(of_noise, what, out=tmp_path / what, job=QUIET)


def test_steps_keep_to_the_states_that_were_learned(run: Path, tmp_path: Path) -> None:
    found = analyze_run(run, "steps", out=tmp_path / "steps", job=QUIET)
    assert sorted(found.values["noise"]) == ["1", "2"]
