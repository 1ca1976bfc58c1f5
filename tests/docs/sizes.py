"""How the tests make the sizes of the documentation smaller. Nothing else of a command or a program is changed.

`pytest -m long tests/docs` runs the pages as they stand.
"""

from __future__ import annotations

import re

# The largest number that an option keeps; of one command only where that is named.
OPTIONS = {"--count": 80, "--hold-out": 24, "--reference-count": 96}
OPTIONS_OF = {"distil": {"--steps": 3}}

# The largest number that a setting keeps in `-o NAME=VALUE`.
SETTINGS = {
    "training.steps": 2,
    "training.batch_size": 16,
    "teacher.training.steps": 2,
    "teacher.training.batch_size": 16,
}

# What is added to a command that does not say it. A finished run goes on with the steps that its line names.
ADDED = {
    "train": ["-o", "training.steps=2", "-o", "training.batch_size=16"],
    "teacher train": ["-o", "teacher.training.steps=2", "-o", "teacher.training.batch_size=16"],
    "evaluate": ["--count", "8", "--reference-count", "96"],
    "edit": ["--count", "2"],
    "distil": ["--count", "80", "--steps", "3", "-o", "training.batch_size=16"],
}

# Options that are left out, because what is added says the same in other words.
LEFT_OUT = {"distil": ("--budget",)}

# The largest number that a keyword argument keeps in Python; of one function only where that is named.
ARGUMENTS = {"count": 80, "hold_out": 24}
ARGUMENTS_OF = {"distil": {"steps": 3}, "train_teacher": {"steps": 3}}

# How long a plan tries things out and a report analyses, and how finely figures are drawn.
CONSTANTS = {
    "koopstep.planning.timing._LONG_ENOUGH": 0.01,
    "koopstep.planning.timing._MOST_STEPS": 1,
    "koopstep.planning.timing._WARM_UP": 0,
    "koopstep.workflows.report_figures.SECONDS": 0.0,
    "koopstep.figures.sheet.DPI": 20,
}


def smaller(words: list[str]) -> list[str]:
    """A ``koopstep`` command, less its first word, with the sizes of this file."""
    names = sorted(ADDED, key=len, reverse=True)
    command = next((name for name in names if words[: len(name.split())] == name.split()), "")
    for option in LEFT_OUT.get(command, ()):
        if option in words:
            words = words[: words.index(option)] + words[words.index(option) + 2 :]
    most = OPTIONS | OPTIONS_OF.get(words[0], {})
    result: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        name, equals, value = word.partition("=")
        if before == "-o" and equals and name in SETTINGS:
            word = f"{name}={_at_most(value, SETTINGS[name])}"
        result.append(_at_most(word, most[before]) if before in most else word)
    added = ADDED.get(command, []) if "--resume" not in words else []
    if command == "edit" and "--image" in words:
        added = []  # as many as there are pictures
    for option, value in zip(added[::2], added[1::2], strict=True):
        prefix = f"{value.partition('=')[0]}="
        if not (any(word.startswith(prefix) for word in words) if option == "-o" else option in words):
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
