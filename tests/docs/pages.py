"""The blocks of the README and of the pages under docs/: which are run, which are only read, and why."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SHELL, PYTHON = ("bash", "sh", "console"), ("python",)

# Directly above a block: why the tests do not run it. Above every block of a page: within its first lines.
_NOT_RUN = re.compile(r"<!-- not run: (?P<why>.+?) -->")
_PAGE_NOT_RUN = re.compile(r"<!-- nothing here is run: (?P<why>.+?) -->")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w.+-]*)[^\n]*$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: where its text begins.
        language: what follows the fence.
        text: without the indentation of the fence.
        not_run: the reason why it is not run; empty where it is.
    """

    line: int
    language: str
    text: str
    not_run: str


def pages() -> list[Path]:
    """The README and every page of the site."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = text.splitlines()
    everywhere = _PAGE_NOT_RUN.search("\n".join(lines[:6]))
    index = 0
    while index < len(lines):
        fence = _FENCE.match(lines[index])
        if fence is None:
            index += 1
            continue
        end = next(i for i in range(index + 1, len(lines)) if lines[i].strip() == "```")
        above = next((line for line in reversed(lines[:index]) if line.strip()), "")
        reason = _NOT_RUN.search(above) or everywhere
        inside = [line[len(fence["indent"]) :] for line in lines[index + 1 : end]]
        yield Block(index + 2, fence["language"], "\n".join(inside), reason["why"] if reason else "")
        index = end + 1


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block as words; comments left out, continued lines joined, a prompt taken off."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words:
            yield words
