"""Environment variables: each is read in one place, with a default."""

from __future__ import annotations

from pathlib import Path

import pytest

from koopstep.core.environment import (
    cache_folder,
    data_folder,
    device_name,
    launched,
    wants_traceback,
    weights_folder,
)


def test_defaults_and_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEVICE", "DATA", "WEIGHTS", "CACHE", "DEBUG"):
        monkeypatch.delenv(f"KOOPSTEP_{name}", raising=False)
    assert (device_name(), data_folder(), weights_folder()) == (None, Path("data"), Path("weights"))
    assert cache_folder() == Path.home() / ".cache" / "koopstep" and not wants_traceback()
    for name in ("DEVICE", "DATA", "WEIGHTS", "CACHE", "DEBUG"):
        monkeypatch.setenv(f"KOOPSTEP_{name}", "x")
    assert (device_name(), data_folder(), weights_folder(), cache_folder()) == ("x", Path("x"), Path("x"), Path("x"))
    assert wants_traceback()


def test_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert (launched().rank, launched().world, launched().by_torchrun) == (0, 1, False)
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    found = launched()
    assert (found.rank, found.world, found.local_rank, found.by_torchrun) == (3, 4, 1, True)
    monkeypatch.setenv("RANK", "first")  # somebody else's
    assert launched().rank == 0 and not launched().by_torchrun
