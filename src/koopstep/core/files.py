"""Files that are either the old ones or the new ones, never something between.

Every write goes to a temporary name beside its target, is synced to the disk, and is then renamed. A process
that dies half way leaves a name containing `.tmp-<pid>`, which no reader looks at and `remove_stale` deletes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import socket
import stat
import time
from pathlib import Path
from typing import Any

from koopstep.core.errors import DamagedError, StorageError, UsageError

_TEMPORARY = re.compile(r"\.tmp-(?P<pid>\d+)-\d+-(?P<host>.+)$")
_FOREIGN_STALE_SECONDS = 24 * 3600.0  # another machine's process cannot be asked whether it lives
_counter = itertools.count()
_in_use: set[str] = set()  # names this process has given out and not yet renamed


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", socket.gethostname()) or "host"


def temporary_beside(path: Path) -> Path:
    """A fresh temporary name in the folder of `path`: `.<name>.tmp-<pid>-<n>-<host>`."""
    name = f".{path.name}.tmp-{os.getpid()}-{next(_counter)}-{_host()}"
    _in_use.add(name)
    return path.parent / name


def is_temporary(name: str) -> bool:
    """Whether a file or folder name is one that `temporary_beside` gives."""
    return _TEMPORARY.search(name) is not None


def storage_error(path: Path, error: OSError) -> StorageError:
    """The one-line error for a failed write at `path`."""
    reason = error.strerror or type(error).__name__
    return StorageError(f"cannot write {path}: {reason}; free space or choose a folder that can be written")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create `path` and its missing parents durably; an existing folder is left as it is.

    Raises:
        StorageError: it cannot be created, or a file stands in its place.
    """
    missing = [p for p in (path, *path.parents) if not p.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            _sync_folder(folder.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view) :]


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds the old content or all of the new one, even after a power cut.

    Missing parent folders are created. Calls with the same bytes from several processes do no harm.

    Raises:
        StorageError: the disk is full, the folder cannot be written, or a sync failed; `path` is untouched.
    """
    make_folder(path.parent)
    temporary = temporary_beside(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error(path, error) from error
    finally:
        _in_use.discard(temporary.name)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically and with equal bytes each time (sorted keys, indent 2, newline)."""
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    write_atomic(path, text.encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UsageError: there is no such file.
        DamagedError: it is not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is not readable JSON; it was damaged or is no file of ours") from error


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        UsageError: there is no such file, or it may not be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error


def read_limited(path: Path, most: int) -> bytes:
    """The content of a regular file of at most ``most`` bytes.

    Raises:
        UsageError: there is no such file, it may not be read, is no regular file or too large.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise UsageError(f"{path} is no file")
        if facts.st_size > most:
            raise UsageError(f"{path} has {facts.st_size} bytes, at most {most} are read")
        with path.open("rb") as stream:
            return stream.read(most)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces.

    Raises:
        UsageError: there is no such file, or it may not be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error


def publish_folder(temporary: Path, final: Path, *, replace: bool = False) -> None:
    """Give a finished folder its name: sync all its files and folders, rename it, sync the parent.

    Args:
        temporary: the complete folder, beside `final` (see `temporary_beside`).
        final: its name from now on.
        replace: whether an existing `final` is replaced. It is renamed away first and deleted last; a kill
            between the two renames leaves the old content under its temporary name only.

    Raises:
        UsageError: `final` exists and `replace` is false.
        StorageError: a sync or rename failed.
    """
    if final.exists() and not replace:
        raise UsageError(f"{final} exists already; choose another name or remove it first")
    try:
        for folder, _, names in os.walk(temporary, topdown=False):
            for name in names:
                with (Path(folder) / name).open("rb") as stream:
                    os.fsync(stream.fileno())
            _sync_folder(Path(folder))
        old = temporary_beside(final) if final.exists() else None
        if old is not None:
            final.rename(old)
        temporary.rename(final)
        _sync_folder(final.parent)
        _in_use.discard(temporary.name)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise storage_error(final, error) from error


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _is_stale(path: Path) -> bool:
    found = _TEMPORARY.search(path.name)
    if found is None:
        return False
    if found["host"] != _host():
        return time.time() - path.stat().st_mtime > _FOREIGN_STALE_SECONDS
    if int(found["pid"]) == os.getpid():  # containers hand out the same small process ids again and again
        return path.name not in _in_use
    return not _lives(int(found["pid"]))


def remove_stale(folder: Path) -> None:
    """Delete the temporaries in `folder` that dead processes left; those of living ones stay.

    A temporary of another machine is deleted when it is older than a day. Failures are left for next time.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            if _is_stale(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            continue
