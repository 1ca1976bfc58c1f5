"""The printed reference is that of the commands there are."""

from __future__ import annotations

from pathlib import Path

from koopstep.cli.reference import render

COMMANDS = [
    "demo",
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
    "edit",
    "compare",
]


def test_the_reference_in_docs_is_up_to_date(repository: Path) -> None:
    page = repository / "docs" / "commands.md"
    assert page.read_text(encoding="utf-8") == render(), "run `python scripts/make_command_docs.py`"


def test_every_command_and_its_json_option_are_in_it() -> None:
    page = render()
    assert sorted(line[12:] for line in page.splitlines() if line.startswith("## ")) == sorted(COMMANDS)
    assert page.count("| `--json` |") == page.count("\nJSON: ") == len(COMMANDS)


def test_the_analyses_named_in_the_help_are_those_there_are() -> None:
    from koopstep.workflows.analyze import ANALYSES

    (line,) = (line for line in render().splitlines() if line.startswith("| `WHAT`") and "spectrum" in line)
    named = line.replace(";", "").replace(",", "").replace(".", "").split()
    assert {word for word in named if word in ANALYSES} == set(ANALYSES)


def test_the_layouts_named_in_the_help_are_those_there_are() -> None:
    from typing import get_args

    from koopstep.data.pairs import LayoutName

    *first, last = (name for name in get_args(LayoutName) if name != "auto")
    assert f"{', '.join(first)} or {last}." in render()
