"""Where the weights of feature networks are: files the user got, in one folder; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

from koopstep.core.environment import weights_folder
from koopstep.core.errors import UsageError


def has_file(*names: str, folder: Path | None = None) -> bool:
    """True when ``folder`` (the one of ``KOOPSTEP_WEIGHTS`` when None) holds a file of one of these names."""
    return any(((folder or weights_folder()) / name).is_file() for name in names)


def find_file(*names: str, what: str, folder: Path | None = None) -> Path:
    """The first of ``names`` that ``folder`` (the one of ``KOOPSTEP_WEIGHTS`` when None) holds.

    Raises:
        UsageError: it holds none of them; ``what`` says what they would be.
    """
    folder = folder or weights_folder()
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UsageError(
        f"no {what} in {folder.absolute()}: put {' or '.join(names)} there, or name another folder with "
        "KOOPSTEP_WEIGHTS=FOLDER"
    )
