"""An analysis is a function and an entry: the command, the report and what is refused follow from them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_way import tiny_recipe, tiny_store, train_tiny

from jobs import QUIET
from koopstep.analysis.findings import Caption, Curves, Findings
from koopstep.analysis.subject import Subject
from koopstep.core.errors import UsageError
from koopstep.workflows import report_figures
from koopstep.workflows.analyses import ANALYSES, Entry, Need
from koopstep.workflows.analyze import analyze_run
from koopstep.workflows.report import tell


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analyses")
    train_tiny(tiny_recipe("training.steps=2"), tiny_store(folder / "store"), folder / "run")
    return folder / "run"


@pytest.fixture
def table() -> Iterator[dict[str, Entry]]:
    """The table of analyses, empty; what was there comes back in its order."""
    before = dict(ANALYSES)
    ANALYSES.clear()
    yield ANALYSES
    ANALYSES.clear()
    ANALYSES.update(before)


def count_rows(subject: Subject) -> Findings:
    rows = len(subject.held_out().batch)
    view = Curves("mine.png", {"rows": {"all": ([0, 1], [rows, rows])}}, across="nothing")
    hidden = Curves("hidden.png", view.panels, across="nothing")
    captions = {"mine.png": Caption("My analysis", f"It counted {rows} rows.")}
    return Findings({"rows": rows}, [view, hidden], f"There are {rows} rows.", captions)


def test_an_entry_is_a_command_and_a_part_of_the_report(
    run: Path, tmp_path: Path, table: dict[str, Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_figures, "SECONDS", 60.0)
    table["mine"] = Entry("counts rows", ("held-out rows",), count_rows)
    found = analyze_run(run, "mine", out=tmp_path / "out", data=None, job=QUIET)
    assert found.values == {"rows": 20, "conclusion": "There are 20 rows."}
    assert found.conclusion == "There are 20 rows."
    assert [file.name for file in found.files] == ["mine.png", "hidden.png", "values.json"]
    chapter = tell(run, None, QUIET).chapter
    (picture,) = (picture for picture in chapter.pictures if picture.title == "My analysis")
    assert picture.finding == "It counted 20 rows." and picture.path == run / "report" / "mine" / "mine.png"


@pytest.mark.parametrize(
    ("need", "words"), [("path", "--method hkd"), ("rates", "--method hkd"), ("modes", "train with --method modes")]
)
def test_needs_that_are_not_met_are_refused_and_left_out_of_reports(
    run: Path, need: Need, words: str, tmp_path: Path, table: dict[str, Entry]
) -> None:
    table["mine"] = Entry("needs more", (need,), count_rows)
    with pytest.raises(UsageError, match=words):
        analyze_run(run, "mine", out=tmp_path / "out", data=None, job=QUIET)
    assert not (tmp_path / "out").exists()
    fresh = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("report"))
    chapter = tell(fresh, None, QUIET).chapter
    assert "My analysis" not in [picture.title for picture in chapter.pictures]
    assert words in chapter.details["analyses that are not on this page"]
