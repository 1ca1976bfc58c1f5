"""The lock of a folder: one holder, gone with it, and said aloud where there is none."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from koopstep.core import lock
from koopstep.core.errors import StorageError, UsageError
from koopstep.core.lock import LOCK_NAME, locked


def open_files() -> int:
    """How many descriptors this process has."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_one_at_a_time(tmp_path: Path) -> None:
    said: list[str] = []
    with locked(tmp_path, said.append, "trained"):
        with pytest.raises(UsageError, match="is being trained by process"), locked(tmp_path, said.append, "trained"):
            pass
        assert (tmp_path / LOCK_NAME).exists()
    assert not (tmp_path / LOCK_NAME).exists()
    with locked(tmp_path, said.append, "trained"):
        pass
    assert said == []


def test_what_a_killed_process_left_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text('{"pid": 1, "host": "gone"}')
    with locked(tmp_path, print, "trained"):
        assert "gone" not in (tmp_path / LOCK_NAME).read_text()


def test_a_file_system_without_locks_is_said_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    said: list[str] = []
    with locked(tmp_path, said.append, "trained"):
        pass
    assert len(said) == 1 and "has no locks" in said[0]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError), locked(tmp_path / "none", print, "trained"):
        pass


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "folder"])
def test_what_is_no_file_of_ours_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / LOCK_NAME
    victim.write_text("precious")
    make = {
        "link": lambda: path.symlink_to(victim),
        "hard link": lambda: path.hardlink_to(victim),
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
    }
    make[kind]()
    before = open_files()
    with pytest.raises(UsageError, match="is a link or no file"), locked(tmp_path, print, "trained"):
        pass
    assert victim.read_text() == "precious" and os.path.lexists(path)
    assert open_files() == before


@pytest.mark.parametrize("name", ["ftruncate", "write"])
def test_a_full_disk_is_one_line_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(lock.os, name, full)
        with pytest.raises(StorageError, match="No space left"), locked(tmp_path, print, "trained"):
            pass
    assert open_files() == before and not (tmp_path / LOCK_NAME).exists()


def test_an_error_while_it_is_held_is_the_one_that_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    before = open_files()
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError), locked(tmp_path, print, "trained"):
        patch.setattr(Path, "unlink", refuse)
        raise ZeroDivisionError
    assert open_files() == before
    with locked(tmp_path, print, "trained"):
        pass
