"""How the tests make the sizes of the documentation smaller. Nothing else of a command or a program is changed.

`pytest -m long tests/docs` runs the pages as they stand.
"""

from __future__ import annotations

import re

# The largest number that an option keeps; of one command only where that is named.
OPTIONS = {"--count": 96, "--hold-out": 24, "--reference-count": 96}
OPTIONS_OF = {"distil": {"--steps": 3}}

# The largest number that a setting keeps in `-o NAME=VALUE`.
SETTINGS = {
    "training.steps": 2,
    "training.batch_size": 16,
    "teacher.training.steps": 2,
    "teacher.training.batch_size": 16,
}

# What is added to a command that does not say it.
ADDED = {
    "train": ["-o", "training.steps=2", "-o", "training.batch_size=16"],
    "teacher train": ["-o", "teacher.training.steps=2", "-o", "teacher.training.batch_size=16"],
    "evaluate": ["--count", "24", "--reference-count", "96"],
}

# The largest number that a keyword argument keeps in Python; of one function only where that is named.
ARGUMENTS = {"count": 96, "hold_out": 24}
ARGUMENTS_OF = {"distil": {"steps": 3}, "train_teacher": {"steps": 3}}


def smaller(words: list[str]) -> list[str]:
    """A ``koopstep`` command, less its first word, with the sizes of this file."""
    command = next(
        (name for name in sorted(ADDED, key=len, reverse=True) if words[: len(name.split())] == name.split()), ""
    )
    most = OPTIONS | OPTIONS_OF.get(words[0], {})
    result: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        name, equals, value = word.partition("=")
        if before == "-o" and equals and name in SETTINGS:
            word = f"{name}={_at_most(value, SETTINGS[name])}"
        result.append(_at_most(word, most[before]) if before in most else word)
    added = ADDED.get(command, [])
    for option, value in zip(added[::2], added[1::2], strict=True):
        given = (
            any(word.startswith(value.partition("=")[0] + "=") for word in words) if option == "-o" else option in words
        )
        if not given and "--resume" not in words:
            result += [option, value]
    return result


def smaller_python(text: str) -> str:
    """A program with the sizes of this file."""
    for name, most in ARGUMENTS.items():
        text = re.sub(rf"\b{name}=([\d_]+)", lambda match, n=name, m=most: f"{n}={_at_most(match[1], m)}", text)
    for function, arguments in ARGUMENTS_OF.items():
        for name, most in arguments.items():
            call = rf"(\b{function}\([^\n]*?\b{name}=)([\d_]+)"
            text = re.sub(call, lambda match, m=most: match[1] + _at_most(match[2], m), text)
    return text


def _at_most(text: str, most: int) -> str:
    return text if not text.replace("_", "").isdigit() or int(text) <= most else str(most)
