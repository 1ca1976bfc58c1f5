"""Atomic files: old or new, never between; clear errors; stale temporaries go."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from koopstep.core import files
from koopstep.core.errors import DamagedError, StorageError, UsageError
from koopstep.core.files import (
    is_temporary,
    make_folder,
    publish_folder,
    read_bytes,
    read_json,
    remove_stale,
    sha256_bytes,
    sha256_file,
    temporary_beside,
    write_atomic,
    write_json,
)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    write_atomic(path, b"one")
    write_atomic(path, b"two" * 1000)
    assert read_bytes(path) == b"two" * 1000
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]
    assert sha256_file(path) == sha256_bytes(b"two" * 1000)


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": [1.5, "ü\udcff"]})
    text = path.read_bytes()
    assert text.endswith(b"\n")
    assert text.index(b'"a"') < text.index(b'"b"')
    assert read_json(path) == {"b": 1, "a": [1.5, "ü\udcff"]}
    with pytest.raises(UsageError, match=r"nothing\.json"):
        read_json(tmp_path / "nothing.json")
    for garbage in (b"{", b"\xff\xfe\x00", b"[" * 100_000, b""):
        path.write_bytes(garbage)
        with pytest.raises(DamagedError, match=r"a\.json"):
            read_json(path)
    with pytest.raises(UsageError):
        read_bytes(tmp_path)
    with pytest.raises(UsageError):
        sha256_file(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["open", "write", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path if name == "replace" else os, name, fail)
        with pytest.raises(StorageError, match="No space left") as caught:
            write_atomic(path, b"new")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:7])))
    write_atomic(tmp_path / "a", bytes(range(256)))
    assert (tmp_path / "a").read_bytes() == bytes(range(256))


def test_order_of_operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data is synced before the rename, the folder after it: what a power cut needs."""
    log: list[str] = []

    def record(owner: object, name: str) -> None:
        real: Callable[..., object] = getattr(owner, name)

        def call(*args: object) -> object:
            log.append(name)
            return real(*args)

        monkeypatch.setattr(owner, name, call)

    record(os, "write")
    record(os, "fsync")
    record(Path, "replace")
    write_atomic(tmp_path / "a", b"x")
    assert log == ["write", "fsync", "replace", "fsync"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file"):
        write_atomic(tmp_path / "file" / "a", b"x")
    with pytest.raises(StorageError):
        make_folder(tmp_path / "file")


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_remove_stale(tmp_path: Path) -> None:
    host = files._host()
    dead = tmp_path / f".a.tmp-{_dead_pid()}-0-{host}"
    dead.write_bytes(b"x")
    dead_folder = tmp_path / f".b.tmp-{_dead_pid()}-0-{host}"
    (dead_folder / "inner").mkdir(parents=True)
    living = tmp_path / f".c.tmp-{os.getppid()}-0-{host}"
    living.write_bytes(b"x")
    reused = tmp_path / f".d.tmp-{os.getpid()}-99999999-{host}"
    reused.write_bytes(b"x")
    mine = temporary_beside(tmp_path / "e")
    mine.write_bytes(b"x")
    foreign = tmp_path / f".f.tmp-{_dead_pid()}-0-other-machine"
    foreign.write_bytes(b"x")
    old = tmp_path / ".g.tmp-1-0-other-machine"
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    plain = tmp_path / "tmp-1-0-x"
    plain.write_bytes(b"x")
    remove_stale(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {living.name, mine.name, foreign.name, plain.name}
    assert is_temporary(mine.name)
    assert not is_temporary(plain.name)
    remove_stale(tmp_path / "nowhere")


def test_publish_folder(tmp_path: Path) -> None:
    final = tmp_path / "step"
    for content in ("one", "two"):
        temporary = temporary_beside(final)
        (temporary / "deep").mkdir(parents=True)
        (temporary / "deep" / "a").write_text(content)
        if content == "two":
            with pytest.raises(UsageError, match="exists"):
                publish_folder(temporary, final)
        publish_folder(temporary, final, replace=content == "two")
        assert (final / "deep" / "a").read_text() == content
    assert [p.name for p in tmp_path.iterdir()] == ["step"]
    with pytest.raises(StorageError):
        publish_folder(tmp_path / "missing", tmp_path / "other")
