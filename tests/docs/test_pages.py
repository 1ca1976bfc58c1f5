"""The README and the documentation run as they stand: each page in order, in an empty folder of its own.

Sizes are cut by `sizes.py`, and nothing else; `pytest -m long` leaves them as they are. What needs a download, a GPU or hours
says so in a comment above it; of such blocks every command is still parsed, so that no option in the documentation is one
that does not exist.
"""

from __future__ import annotations

import contextlib
import io
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import PYTHON, REPOSITORY, SHELL, blocks, commands, name_of, pages
from sizes import CONSTANTS, smaller, smaller_python

from koopstep.cli import main
from koopstep.core import registry

PAGES = pages()


def _runs(page: Path) -> bool:
    found = blocks(page.read_text(encoding="utf-8"))
    return any(not block.not_run and block.language in (*SHELL, *PYTHON) for block in found)


RUN = [page for page in PAGES if _runs(page)]


class Reader:
    """Somebody who does what a page says, from top to bottom."""

    def __init__(self, page: Path, cut: bool, patch: pytest.MonkeyPatch) -> None:
        self.page, self.cut, self.patch = page, cut, patch
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def read(self) -> None:
        for block in blocks(self.page.read_text(encoding="utf-8")):
            where = f"{name_of(self.page)}:{block.line}"
            if block.language in PYTHON and not block.not_run:
                text = smaller_python(block.text) if self.cut else block.text
                # as many lines as the page has above it, so that a traceback names the page's own line
                exec(compile("\n" * (block.line - 1) + text, str(self.page), "exec"), self.names)
            elif block.language in SHELL and not block.not_run:
                for words in commands(block):
                    self.obey(words, where)

    def obey(self, words: list[str], where: str) -> None:
        words, target = _without_redirection(words)
        doing = WORDS.get(words[0])
        assert doing is not None, (
            f"{where}: {words[0]!r} is no command that the tests know; mark the block with `not run`"
        )
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            doing(self, words[1:], where)
        if target:
            Path(target).write_text(said.getvalue(), encoding="utf-8")

    def koopstep(self, words: list[str], where: str) -> None:
        words = smaller(words) if self.cut else words
        heard = io.StringIO()
        with contextlib.redirect_stderr(heard):
            code = main.run(words)
        assert code == 0, f"{where}: koopstep {' '.join(words)}\n{heard.getvalue()[-2000:]}"

    def python(self, words: list[str], where: str) -> None:
        if words[:2] == ["-m", "pip"]:
            return self.pip(words[2:], where)
        runpy.run_path(words[0], run_name="__main__")

    def export(self, words: list[str], where: str) -> None:
        for word in words:
            name, _, value = word.partition("=")
            self.patch.setenv(name, value)

    def make(self, words: list[str], where: str) -> None:
        targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M)
        assert {word for word in words if "=" not in word} <= set(targets), f"{where}: no such target: {words}"

    def pip(self, words: list[str], where: str) -> None:
        project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
        for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
            for name in extra.split(","):
                assert re.search(rf"^{name} = \[", project, re.M), f"{where}: no extra {name!r}"

    def nothing(self, words: list[str], where: str) -> None:
        """What only moves between folders and environments."""


WORDS: dict[str, Callable[[Reader, list[str], str], None]] = {
    "koopstep": Reader.koopstep,
    "python": Reader.python,
    "export": Reader.export,
    "make": Reader.make,
    "pip": Reader.pip,
    "git": Reader.nothing,
    "cd": Reader.nothing,
    "source": Reader.nothing,
}


def _without_redirection(words: list[str]) -> tuple[list[str], str]:
    return (words[:-2], words[-1]) if len(words) > 2 and words[-2] == ">" else (words, "")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, with nothing of the environment but what the documentation sets."""
    import torch

    monkeypatch.chdir(tmp_path)
    for name in ("KOOPSTEP_DATA", "KOOPSTEP_WEIGHTS", "KOOPSTEP_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KOOPSTEP_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small are far slower on two
    yield tmp_path
    registry.forget()
    torch.set_num_threads(threads)


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_a_page_runs_in_order(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CONSTANTS.items():
        monkeypatch.setattr(name, value)
    Reader(page, cut=True, patch=monkeypatch).read()


@pytest.mark.long
@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_a_page_runs_at_full_size(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Reader(page, cut=False, patch=monkeypatch).read()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        where = f"{name_of(page)}:{block.line}"
        if block.language not in SHELL:
            begins = [line.removeprefix("$ ") for line in block.text.splitlines()]
            assert not any(line.startswith("koopstep ") for line in begins) or page.name == "commands.md", (
                f"{where}: commands stand in a block of `bash`, so that they are tested"
            )
            continue
        for words in commands(block):
            words, _ = _without_redirection(words)
            if words[0] == "torchrun":
                words = words[words.index("-m") + 1 :]
            if words[0] == "koopstep":
                parse(words[1:], where)


def parse(words: list[str], where: str) -> None:
    """Let the command line read ``words`` without doing anything; code that a command imports need not be there."""
    while "--import" in words:
        at = words.index("--import")
        words = words[:at] + words[at + 2 :]
    command, path = main.build(), "koopstep"
    context = command.make_context(path, list(words), resilient_parsing=False) if words != ["--help"] else None
    while context is not None and hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        assert rest, f"{where}: {' '.join(words)} is no whole command"
        name, command, rest = command.resolve_command(context, rest)
        assert command is not None, f"{where}: no command {name!r}"
        try:
            context = command.make_context(name, rest, parent=context)
        except main._UsageProblem as error:
            raise AssertionError(f"{where}: koopstep {' '.join(words)}: {error.format_message()}") from error


def test_a_wrong_option_in_the_documentation_is_found() -> None:
    with pytest.raises(AssertionError, match="No such option"):
        parse(["collect", "digits-edm", "--out", "x", "--count", "3", "--stepz", "4"], "page:1")
    with pytest.raises(AssertionError, match="no such target"):
        Reader(PAGES[0], True, pytest.MonkeyPatch()).make(["dmeo"], "page:1")


def test_sizes_are_cut_and_nothing_else() -> None:
    words = ["collect", "digits-edm", "--out", "28000", "--count", "28000", "--steps", "12"]
    assert smaller(words) == ["collect", "digits-edm", "--out", "28000", "--count", "80", "--steps", "12"]
    assert smaller(["train", "digits", "-o", "training.steps=900"])[:4] == ["train", "digits", "-o", "training.steps=2"]
    assert smaller(["train", "run", "--resume"]) == ["train", "run", "--resume"]
    assert smaller_python("x = collect(t, 'a', count=20_000, steps=12)") == "x = collect(t, 'a', count=80, steps=12)"
    assert smaller_python("distil(t, 'r', steps=2_000, seed=5000)") == "distil(t, 'r', steps=3, seed=5000)"
