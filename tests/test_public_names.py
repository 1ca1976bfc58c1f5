"""The public names: one list, each where it says it is, found by type checkers too."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import koopstep


def test_the_list_the_homes_and_the_typed_imports_agree(repository: Path) -> None:
    tree = ast.parse((repository / "src" / "koopstep" / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == koopstep._HOMES
    assert sorted([*koopstep._HOMES, "__version__"]) == sorted(koopstep.__all__)


@pytest.mark.parametrize("name", koopstep.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(koopstep, name) is getattr(koopstep, name)
    assert name in dir(koopstep)


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        koopstep.nonsense  # noqa: B018


def test_importing_the_package_imports_nothing_else(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    code = "import sys, koopstep; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    assert run_python("-c", code).stdout.strip() == "[]"
