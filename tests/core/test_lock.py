"""The lock of a folder: one holder, gone with it, and said aloud where there is none."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from koopstep.core import lock
from koopstep.core.errors import StorageError, UsageError
from koopstep.core.lock import LOCK_NAME, locked


def test_one_at_a_time(tmp_path: Path) -> None:
    said: list[str] = []
    with locked(tmp_path, said.append):
        with pytest.raises(UsageError, match="is being trained by process"), locked(tmp_path, said.append):
            pass
        assert (tmp_path / LOCK_NAME).exists()
    assert not (tmp_path / LOCK_NAME).exists()
    with locked(tmp_path, said.append):
        pass
    assert said == []


def test_what_a_killed_process_left_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text('{"pid": 1, "host": "gone"}')
    with locked(tmp_path, print):
        assert "gone" not in (tmp_path / LOCK_NAME).read_text()


def test_a_file_system_without_locks_is_said_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    said: list[str] = []
    with locked(tmp_path, said.append):
        pass
    assert len(said) == 1 and "has no locks" in said[0]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError), locked(tmp_path / "none", print):
        pass
