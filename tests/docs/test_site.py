"""The site: its order, its links, its words, its reference and its counted costs."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import REPOSITORY, name_of, pages

import koopstep
from koopstep.core.renamed import NAMES

DOCS = REPOSITORY / "docs"
PAGES = pages()
# One word for one thing: what is on the left is not written in the documentation.
WORDS = {
    r"critics?\b": "discriminator",
    r"adversary\b": "adversarial loss, or discriminator",
    r"\b(is|are|was|were|be) told\b": "conditioned on, or gets",
    r"\bgenuine\b": "real",
    r"\bshaken\b": "with noise added",
    r"\bby lot\b": "at random",
    r"\b(drawn|dealt|chosen)\b.{0,25}\bby chance\b": "at random",
    r"\beyes?\b": "what is measured, not who looks",
    r"cannot be gone on": "cannot be resumed",
    r"--moment\b": "--at",
}


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without the tags of its extensions."""


def _nav() -> list[str]:
    found: list[str] = []

    def walk(entry: object) -> None:
        if isinstance(entry, str):
            found.append(entry)
        for inner in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            walk(inner)

    walk(yaml.load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)["nav"])
    return found


def test_every_page_has_its_place_in_the_order() -> None:
    assert sorted(_nav()) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_every_example_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert [example.name for example in DOCS.glob("examples/*.py") if f"](examples/{example.name})" not in index] == []


def test_laboratory_notes_come_last() -> None:
    order = _nav()
    lab = [name for name in order if name.startswith("lab/")]
    assert lab and order[-len(lab) :] == lab


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            assert anchor in _anchors(path), f"{name_of(page)} links to {target}; there are {sorted(_anchors(path))}"


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head.lower())).strip("-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_one_word_for_one_thing(page: Path) -> None:
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        for word, better in WORDS.items():
            assert not re.search(word, line, re.I), f"{name_of(page)}:{number}: write {better}\n{line}"


def test_names_of_version_0_1_are_gone_from_the_documentation() -> None:
    for page in PAGES:
        found = [name for name in NAMES if re.search(rf"\b{name}\b", page.read_text(encoding="utf-8"))]
        assert not found, f"{name_of(page)}: {found}"


def _referenced() -> list[str]:
    return [
        name
        for page in sorted((DOCS / "api").glob("*.md"))
        for name in re.findall(r"^::: koopstep\.([\w.]+)$", page.read_text(encoding="utf-8"), re.M)
    ]


def test_the_reference_has_every_public_name_once() -> None:
    found = _referenced()
    assert len(found) == len(set(found))
    whole = {name.partition(".")[0] for name in found} | {"analyze", "plot"}  # made from tables
    assert {*koopstep.__all__} - {"__version__", "distill"} <= whole  # the same as distil


@pytest.mark.parametrize("name", _referenced())
def test_what_the_reference_names_is_there_and_described(name: str) -> None:
    thing: object = koopstep
    for part in name.split("."):
        thing = getattr(thing, part)
    assert (getattr(thing, "__doc__", None) or "").strip(), f"koopstep.{name} has no docstring"


def _script(name: str) -> Any:
    sys.path.insert(0, str(REPOSITORY / "scripts"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def test_the_disk_of_the_big_presets_is_counted() -> None:
    """The other columns take seconds to count and are made by the script alone."""
    table = _script("make_cost_table")
    page = (DOCS / "costs.md").read_text(encoding="utf-8")
    for preset, method in table.ROWS:
        recipe = table.load_recipe(preset, method)
        assert f"| {preset} | {method} | {recipe.collect.count:,} | {table.disk(recipe)} |" in page


@pytest.mark.long
def test_the_table_of_costs_is_that_of_its_script() -> None:
    table = _script("make_cost_table")
    assert table.table() in (DOCS / "costs.md").read_text(encoding="utf-8")


def test_pages_made_from_tables_are_up_to_date() -> None:
    made = _script("make_reference_pages")
    for name, text in (("analyses", made.analyses()), ("figures", made.figures())):
        page = DOCS / "api" / f"{name}.md"
        assert page.read_text(encoding="utf-8") == text, "run `python scripts/make_reference_pages.py`"


def test_one_word_for_one_thing_in_what_the_package_says() -> None:
    """Its messages, its help and its docstrings; names in code are checked by reading."""
    for file in sorted((REPOSITORY / "src").rglob("*.py")):
        if file.name == "renamed.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for word, better in WORDS.items():
                    found = re.search(word, node.value, re.I)
                    assert not found, f"{file.name}:{node.lineno}: write {better}, not {found[0]!r}"
