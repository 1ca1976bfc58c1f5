"""The printed reference is that of the commands there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from koopstep.cli import main
from koopstep.cli.reference import render

COMMANDS = [
    "demo",
    "distil",
    "presets",
    "teacher train",
    "teacher convert",
    "teacher info",
    "collect",
    "data info",
    "data verify",
    "data repair",
    "data import",
    "train",
    "sample",
    "evaluate",
    "analyze",
    "edit RUN mix",
    "edit RUN scale",
    "edit RUN inpaint",
    "edit RUN colorize",
    "edit RUN superres",
    "compare",
    "report",
]


def test_the_reference_in_docs_is_up_to_date(repository: Path) -> None:
    page = repository / "docs" / "commands.md"
    assert page.read_text(encoding="utf-8") == render(), "run `python scripts/make_command_docs.py`"


def test_every_command_and_its_json_option_are_in_it() -> None:
    page = render()
    assert sorted(line[12:] for line in page.splitlines() if line.startswith("## ")) == sorted(COMMANDS)
    assert page.count("| `--json` |") == page.count("\nJSON: ") == len(COMMANDS)


def test_the_help_of_analyze_is_the_table_of_analyses(capsys: pytest.CaptureFixture[str]) -> None:
    from koopstep.workflows.analyses import ANALYSES

    assert main.run(["analyze", "--help"]) == 0
    shown, page = capsys.readouterr().out, render()
    for name, entry in ANALYSES.items():
        line = f"- {name}: {entry.about}"
        assert f"\n{line}" in page and line[:60] in shown


def test_the_layouts_named_in_the_help_are_those_there_are() -> None:
    from typing import get_args

    from koopstep.data.pairs import LayoutName

    *first, last = (name for name in get_args(LayoutName) if name != "auto")
    assert f"{', '.join(first)} or {last}." in render()
