"""Where a command may write: never over what it reads, and over what is there already only where someone means it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from koopstep.core.errors import UsageError


def check_not_input(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is one of the inputs, also by another name (a symbolic or hard link).

    Raises:
        UsageError: it is.
    """
    for path in inputs:
        try:
            same = out.samefile(path)
        except OSError:  # one of them is not there (yet)
            same = os.path.realpath(out) == os.path.realpath(path)
        if same:
            raise UsageError(f"{out} is what this command reads ({path}); name another place to write to")


def check_output(out: Path, *, inputs: Iterable[Path] = (), overwrite: bool = False, folder: bool = False) -> None:
    """Refuse an output that would destroy something.

    Args:
        out: the file or folder to be written.
        inputs: what the command reads; an output is never one of these.
        overwrite: whether what is there may be written over.
        folder: whether ``out`` is a folder; a new or empty one is free, files are written into it.

    Raises:
        UsageError: it is an input, of the other kind, or there already.
    """
    check_not_input(out, inputs)
    if not os.path.lexists(out):
        return
    if folder != out.is_dir():
        raise UsageError(f"{out} is {'no folder' if folder else 'a folder'}; name {'a folder' if folder else 'a file'}")
    if overwrite or (folder and not any(out.iterdir())):
        return
    raise UsageError(f"{out} {'is not empty' if folder else 'exists already'}; name another, or add --overwrite")
