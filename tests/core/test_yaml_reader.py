"""YAML that settings are written in: YAML 1.2's numbers, and small files that want to become large."""

from __future__ import annotations

import time

import pytest

from koopstep.core.errors import UsageError
from koopstep.core.yaml_reader import LARGEST_TEXT, parse_yaml

TEN = ", ".join(["*{}"] * 10)


def _bomb(levels: int) -> str:
    """Each line holds the one before it ten times."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{level}: &a{level} [{TEN.replace('{}', f'a{level - 1}')}]" for level in range(1, levels)]
    return "\n".join(lines)


def _merge_bomb(levels: int) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{level}: &a{level} {{<<: [{TEN.replace('{}', f'a{level - 1}')}]}}" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("-7", -7),
        ("+.5", 0.5),
        ("1.", 1.0),
        ("-.inf", float("-inf")),
        ("2026-01-01", "2026-01-01"),
        ("true", True),
        ("!!bool 'No'", False),
        ("", None),
        ("{a: &x [1, 2], b: *x}", {"a": [1, 2], "b": [1, 2]}),
        ("{a: &x {k: 1}, b: {<<: *x, l: 2}}", {"a": {"k": 1}, "b": {"k": 1, "l": 2}}),
    ],
)
def test_values(text: str, value: object) -> None:
    found = parse_yaml(text, "t")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !!bool x", "'x' is neither true nor false"),
        ("!!bool", "'' is neither true nor false"),
        ("a: !!int x", "invalid literal"),
        ("a: !!timestamp x", "no setting is a date, got 'x'"),
        ("a: !!timestamp 2026-01-01", "no setting is a date"),
        ("a: \x00", "special characters are not allowed"),
        ("a: \x07", "special characters are not allowed"),
        ("a: \ud800", "special characters are not allowed"),
        ("a: !!python/none x", "could not determine a constructor"),
    ],
)
def test_what_is_no_value_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_yaml(text, "mine.yaml")
    assert str(caught.value).startswith("mine.yaml: not readable as YAML: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_bomb(9), "with what its aliases repeat"),
        (_merge_bomb(9), "with what its aliases repeat"),
        ("&a [*a]", "an alias holds itself"),
        ("1" * 5000, "a number of 5000 digits"),
        ("!!int '" + ":".join(["1"] * 50_000) + "'", "a number of 99999 digits"),
        ("x: " + "1" * LARGEST_TEXT, "characters of YAML"),
        ("[" * 20_000, "not readable as YAML"),
        ("a: 1\nb: {c: 1, d: 2, c: 3}", "'c' is named twice in the settings that begin in line 2"),
    ],
)
def test_what_would_blow_up_is_refused_at_once(text: str, words: str) -> None:
    started = time.process_time()
    with pytest.raises(UsageError, match=words) as caught:
        parse_yaml(text, "mine.yaml")
    assert time.process_time() - started < 2
    assert str(caught.value).startswith("mine.yaml: ") and "\n" not in str(caught.value)


def test_a_sexagesimal_number_of_600_kilobytes_is_text_at_most() -> None:
    started = time.process_time()
    assert parse_yaml("x: " + "1:" * 1000 + "1", "t")["x"].startswith("1:1:")
    with pytest.raises(UsageError, match="settings are at most"):
        parse_yaml("x: " + "1:" * 300_000 + "1", "t")
    assert time.process_time() - started < 2
