"""`koopstep.analyze`, `koopstep.edit` and `koopstep.plot`: a function for each entry of their tables, with help of its own."""

from __future__ import annotations

import inspect
import pydoc
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from tiny_way import tiny_recipe, tiny_store, train_tiny

import koopstep
from koopstep.core.errors import UsageError
from koopstep.workflows.analyses import ANALYSES
from koopstep.workflows.analyze import analyze_run
from koopstep.workflows.run import Run

SPACES = [koopstep.analyze, koopstep.edit, koopstep.plot]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    base = tmp_path_factory.mktemp("spaces")
    train_tiny(tiny_recipe(), tiny_store(base / "store"), base / "run")
    return Run.open(base / "run", device="cpu")


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.__name__.rsplit(".", 1)[1])
def test_each_name_is_a_function_that_says_what_it_takes(space: ModuleType) -> None:
    assert dir(space) == sorted(space.__all__)
    text = pydoc.plain(pydoc.render_doc(space))
    for name in space.__all__:
        function = getattr(space, name)
        parameters = inspect.signature(function).parameters
        assert function.__name__ == name and next(iter(parameters)) == "run"
        assert f"{name}(run" in text
        described = set(inspect.getdoc(function).split())  # type: ignore[union-attr]
        assert {f"{parameter}:" for parameter in parameters} <= described
    with pytest.raises(AttributeError, match=f"did you mean {space.__all__[0]}|it has {space.__all__[0]}, "):
        getattr(space, space.__all__[0] + "s")


def test_the_tables_decide() -> None:
    assert set(koopstep.analyze.__all__) == set(ANALYSES)
    views = [view for entry in ANALYSES.values() for view in entry.views]
    assert len(views) == len(set(views)) and set(koopstep.plot.__all__) == {"losses", "samples", *views}
    assert set(koopstep.edit.__all__) == {"colorize", "inpaint", "mix", "scale", "superres"}


def test_an_analysis_by_its_function_is_that_by_its_name(run: Run, tmp_path: Path) -> None:
    by_name = analyze_run(run, "neighbours", out=tmp_path / "a", device="cpu", quiet=True)
    by_function = koopstep.analyze.neighbours(run, out=tmp_path / "b", device="cpu", quiet=True)
    by_run = run.analyze.neighbours(out=tmp_path / "c", quiet=True)
    assert by_name.values == by_function.values == by_run.values and by_run.conclusion
    assert by_run.files[-1] == tmp_path / "c" / "values.json"
    assert by_run.conclusion in repr(by_run) and "\n" not in repr(by_run) and "<img" in by_run._repr_html_()
    with pytest.raises(TypeError, match="unexpected keyword"):
        run.analyze.spectrum(data="store", quiet=True)  # it looks at the student alone
    with pytest.raises(UsageError, match="--method hkd"):
        run.analyze.linearity(quiet=True)


def test_what_a_run_offers_needs_no_run(run: Run) -> None:
    assert dir(run.plot) == dir(koopstep.plot) and "spectrum" in repr(run.plot)
    assert "run" not in inspect.signature(run.plot.spectrum).parameters
    assert "ax" in inspect.signature(run.plot.spectrum).parameters
    with pytest.raises(AttributeError, match="did you mean spectrum"):
        run.plot.spectra  # noqa: B018


@pytest.mark.parametrize("name", ["samples", "losses", "spectrum", "noise_space", "outliers", "vicinity"])
def test_a_picture_on_axes_of_ones_own(run: Run, name: str) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    figure, axes = plt.subplots(1, 2)
    try:
        options = {} if name == "losses" else {"quiet": True}
        drawn = getattr(run.plot, name)(axes[1], **options)
        assert drawn is figure and not axes[0].has_data()
        assert (
            len(figure.findobj(match=lambda artist: hasattr(artist, "get_array") or hasattr(artist, "get_xdata"))) > 3
        )
        own = getattr(koopstep.plot, name)(run.folder, **({} if name == "losses" else {"device": "cpu", "quiet": True}))
        assert own is not figure and own.axes and plt.get_fignums() == [figure.number]
    finally:
        plt.close(figure)


def test_samples_without_a_store_are_the_students_alone(run: Run, tmp_path: Path) -> None:
    student = shutil.copytree(run.folder / "student", tmp_path / "student")
    figure = koopstep.plot.samples(student, device="cpu", quiet=True)
    assert [title for axes in figure.axes if (title := axes.get_title(loc="left"))] == ["student"]
    with pytest.raises(UsageError, match="is no run folder"):
        koopstep.plot.losses(student)


def test_a_picture_that_this_run_has_not(run: Run) -> None:
    with pytest.raises(UsageError, match="spectrum has no picture 'rate_maps' of this run; it has spectrum"):
        run.plot.rate_maps(quiet=True)


def test_edits_refuse_what_is_no_image(run: Run) -> None:
    for name in koopstep.edit.__all__:
        with pytest.raises(UsageError, match="editing is for images"):
            getattr(run.edit, name)(quiet=True)
    with pytest.raises(UsageError, match="must be at least 2"):
        run.edit.superres(factor=1, quiet=True)
