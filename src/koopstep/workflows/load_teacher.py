"""One way to open any teacher: by name, from a file of whatever program, or from a function of one's own."""

from __future__ import annotations

import importlib.util
import inspect
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from koopstep.core.arguments import AnyPath, checked_but
from koopstep.core.devices import choose_device
from koopstep.core.errors import KoopstepError, UsageError
from koopstep.core.user_code import find_code, from_here, is_code_name, said
from koopstep.data.commits import MANIFEST
from koopstep.recipes.layers import preset_names, read_packaged
from koopstep.runs.folder import CONFIG
from koopstep.students.foreign import is_checkerboard_module
from koopstep.teachers.base import Teacher
from koopstep.teachers.files import find_teacher, header_of, read_teacher_file
from koopstep.teachers.foreign.open import open_foreign
from koopstep.teachers.packaged import packaged_teachers


@checked_but("source")
def load_teacher(
    source: AnyPath | Teacher, *, config: AnyPath | None = None, device: torch.device | str | None = None
) -> Teacher:
    """Open a teacher. Nothing in a file is executed; of your own code, what you name is imported.

    Args:
        source: the name of a packaged teacher; a teacher file; an EDM network pickle; the folder of a diffusers pipeline; a
            state dict; or ``package.module:function`` (``path/to/file.py:function``), a function without arguments that
            returns what ``from_denoiser``, ``from_velocity``, ``from_epsilon`` or ``from_diffusers`` made. A teacher is
            returned as it is.
        config: of a state dict: its teacher's settings (YAML or JSON); absent, the file of its name beside it.
        device: where its network goes; absent, CUDA where present, else the CPU. A function of your own says itself.

    Raises:
        UsageError: there is no such teacher, or it cannot be one; the message says what to do.
        DamagedError: its file is damaged.
    """
    if isinstance(source, Teacher):
        return source
    if not isinstance(source, str | os.PathLike):
        raise UsageError(f"a {type(source).__name__} is no teacher yet; make it one: {_three_lines('network')}")
    text, path = os.fspath(source), Path(source)
    if text in packaged_teachers() or (path.is_file() and header_of(path) is not None):
        _refuse_config(text, config)
        return read_teacher_file(text, _place(device)).teacher
    if not path.exists() and is_code_name(text):
        _refuse_config(text, config)
        return _from_code(text)
    refuse_others(path)
    return open_foreign(path, None if config is None else Path(config), _place(device))


def _refuse_config(source: str, config: AnyPath | None) -> None:
    if config is not None:
        raise UsageError(f"{source} says itself what it is; leave the config away")


def _place(device: torch.device | str | None) -> torch.device:
    return device if isinstance(device, torch.device) else choose_device(device)


def refuse_others(path: Path) -> None:
    """Say what is there instead of a foreign teacher: nothing, or one of our own things.

    Raises:
        UsageError: if there is.
    """
    if not path.exists():
        raise UsageError(_missing(str(path)))
    what = ""
    if path.is_dir() and (path / MANIFEST).is_file():
        what = "a store of paths, not the teacher that made them; give it as the data"
    elif path.is_dir() and any((path / name).exists() for name in (CONFIG, "model.safetensors", "student")):
        what = "a run or a student, not a teacher; `koopstep sample` and `koopstep evaluate` open it"
    elif path.is_file() and is_checkerboard_module(path):
        what = "a student, not a teacher; `koopstep teacher convert` makes a student folder of it"
    elif path.suffix == ".py":
        what = f"Python code; name the function in it, as in {path}:teacher"
    if what:
        raise UsageError(f"{path} is {what}")


def _missing(name: str) -> str:
    """What to say where there is no teacher of this name: which preset it is of, or which one is near."""
    stem = name.removesuffix(".safetensors")
    for preset in preset_names():
        teacher = read_packaged(preset).get("teacher", {})
        file = str(teacher.get("file", ""))
        if stem == preset and file in packaged_teachers():
            return f"{name!r} is a preset; its teacher is {file!r}"
        if file.removesuffix(".safetensors") in (stem, Path(stem).name) or stem == preset:
            return (
                f"there is no {name if stem != preset else file}, the teacher of the preset {preset!r}; make it with "
                f"`koopstep teacher train {preset} --out {file}`, or of published weights with "
                f"`koopstep teacher convert FILE --out {file}`"
            )
    if _is_module(name):
        return f"{name} is a Python module; name the function in it that makes the teacher, as in {name}:teacher"
    try:
        find_teacher(name)
    except UsageError as error:
        return str(error)
    return f"{name} is no teacher"


def _is_module(name: str) -> bool:
    """Whether a module of this name is in the working directory, or installed; nothing is imported."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return False
    place = Path(*parts)
    here = place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()
    return here or (len(parts) == 1 and importlib.util.find_spec(name) is not None)


def _from_code(text: str) -> Teacher:
    advice = f"name a function that returns a teacher: {_three_lines('network')}"
    try:
        found = find_code(text)
    except KoopstepError as error:
        raise UsageError(f"{error}; {advice}") from error
    if isinstance(found, Teacher):
        return found
    if not callable(found):
        raise UsageError(f"{text} is a {type(found).__name__}; {advice}")
    needed = _needed(found)
    if needed:
        wrapped = _three_lines(text.rpartition(":")[2])
        raise UsageError(
            f"{text} takes {', '.join(needed)}: it is the network itself, or needs settings; make a teacher of it in a "
            f"function without arguments and name that: {wrapped}"
        )
    try:
        with from_here():
            made = found()
    except KoopstepError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{text} failed: {said(error)}; {advice}") from error
    if not isinstance(made, Teacher):
        raise UsageError(f"{text} returned a {type(made).__name__}, which is no teacher; {advice}")
    return made


def _needed(function: Any) -> list[str]:
    """The arguments that a call cannot do without."""
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):  # of some built-in functions
        return []
    fixed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in fixed]


def _three_lines(name: str) -> str:
    return (
        "`import koopstep as ks`, `def teacher():`, "
        f"`    return ks.from_denoiser({name}, shape=(3, 32, 32))` (or from_velocity, from_epsilon, from_diffusers)"
    )
