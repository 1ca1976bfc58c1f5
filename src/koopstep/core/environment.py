"""What the surroundings of the process say: every environment variable is read here, and none is ever written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEBUG_VARIABLE = "KOOPSTEP_DEBUG"


@dataclass(frozen=True)
class Launched:
    """The place of this process among those that ``torchrun`` started; the only one where it did not."""

    rank: int
    world: int
    local_rank: int
    by_torchrun: bool


def launched() -> Launched:
    """``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``, as ``torchrun`` sets them; what is no number was not set by it."""
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    try:
        rank, world, local = (int(os.environ.get(name, other)) for name, other in alone.items())
    except ValueError:
        return Launched(0, 1, 0, by_torchrun=False)
    return Launched(rank, world, local, by_torchrun="RANK" in os.environ)


def device_name() -> str | None:
    """``KOOPSTEP_DEVICE``: where to compute when no device is asked for."""
    return os.environ.get("KOOPSTEP_DEVICE") or None


def data_folder() -> Path:
    """``KOOPSTEP_DATA``: where the user keeps data sets, else ``data`` in the working directory."""
    return Path(os.environ.get("KOOPSTEP_DATA") or "data")


def weights_folder() -> Path:
    """``KOOPSTEP_WEIGHTS``: where the weights of feature networks are, else ``weights`` in the working directory."""
    return Path(os.environ.get("KOOPSTEP_WEIGHTS") or "weights")


def cache_folder() -> Path:
    """``KOOPSTEP_CACHE``: what may be deleted at any time, else ``~/.cache/koopstep``."""
    named = os.environ.get("KOOPSTEP_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "koopstep"


def wants_traceback() -> bool:
    """``KOOPSTEP_DEBUG``: whether failures come with their traceback."""
    return bool(os.environ.get(DEBUG_VARIABLE))


def names_compiler() -> bool:
    """``CXX``: whether the user says which C++ compiler to take."""
    return bool(os.environ.get("CXX"))


def imports() -> list[str]:
    """``KOOPSTEP_IMPORT``: modules or files of the user's that a command imports first, with commas between."""
    return [name.strip() for name in os.environ.get("KOOPSTEP_IMPORT", "").split(",") if name.strip()]
