"""Where the weights of feature networks are: files the user got, in one folder; nothing is downloaded."""

from __future__ import annotations

import os
from pathlib import Path

from koopstep.core.errors import UsageError


def weights_folder() -> Path:
    """The folder named by ``KOOPSTEP_WEIGHTS``, else ``weights`` in the working directory."""
    return Path(os.environ.get("KOOPSTEP_WEIGHTS") or "weights")


def has_file(*names: str) -> bool:
    """True when the folder holds a file of one of these names."""
    return any((weights_folder() / name).is_file() for name in names)


def find_file(*names: str, what: str) -> Path:
    """The first of ``names`` that the folder holds.

    Raises:
        UsageError: it holds none of them; ``what`` says what they would be.
    """
    for name in names:
        if (weights_folder() / name).is_file():
            return weights_folder() / name
    raise UsageError(
        f"no {what} in {weights_folder().absolute()}: put {' or '.join(names)} there, or name another folder with "
        "KOOPSTEP_WEIGHTS=FOLDER"
    )
