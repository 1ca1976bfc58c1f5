"""A teacher's name is a stranger's text: on the terminal, in errors, in the student's card and in the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from koopstep.cli import main
from koopstep.core.tensors import load_tensors, save_tensors
from koopstep.core.terminal import Screen
from koopstep.figures import html
from koopstep.recipes.recipe import load_recipe
from koopstep.runs.card import student_card
from koopstep.students.student import DataFacts
from koopstep.teachers.files import find_teacher

EVIL = "\x1b]0;owned\x07\x1b[31m\n---\nlicense: mit\n---\n<script>alert(1)</script>"


def acts(text: str) -> bool:
    return any((ord(letter) < 32 and letter != "\n") or 127 <= ord(letter) < 160 for letter in text)


def named(path: Path, name: str, **more: torch.Tensor) -> Path:
    """The packaged teacher of the checkerboard under another name."""
    tensors, metadata = load_tensors(find_teacher("checkerboard-edm"))
    header = json.loads(metadata["koopstep_teacher"]) | {"name": name, "made_by": name}
    save_tensors(path, tensors | more, {"koopstep_teacher": json.dumps(header)})
    return path


def test_info_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["teacher", "info", str(named(tmp_path / "a.safetensors", EVIL))]) == 0
    said = capsys.readouterr()
    assert not acts(said.out) and "\\x1b]0;owned\\x07" in said.out and "\nlicense" not in said.out
    path = named(tmp_path / "b.safetensors", "b", **{"\x1b[2J\u202egone": torch.zeros(1)})
    assert main.run(["teacher", "info", str(path)]) == 3
    said = capsys.readouterr()
    assert not acts(said.err) and "\\x1b[2J\\u202egone" in said.err


def test_what_is_said_on_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(sys.stderr).say(f"reading {EVIL}")
    said = capsys.readouterr().err
    assert not acts(said) and said.count("\n") == 1


def test_a_card_shows_names_and_nothing_else() -> None:
    facts = DataFacts(shape=(2,))
    provenance = {"teacher": EVIL, "teacher_sha256": EVIL, "data_root": EVIL}
    card = student_card(load_recipe("checkerboard", "kdm"), facts, provenance)
    plain = student_card(load_recipe("checkerboard", "kdm"), facts, dict.fromkeys(provenance, "x"))
    assert card.count("\n") == plain.count("\n") and card.splitlines().count("---") == 2
    assert "<script>" not in card and not acts(card)


def test_a_report_shows_them_too(tmp_path: Path) -> None:
    written = html.write_report(tmp_path / "r.html", EVIL, EVIL, [])
    page = written.read_text()
    assert "<script>alert" not in page and not acts(page)
