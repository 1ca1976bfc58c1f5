"""One process at a time in a folder, by the operating system's own lock: it ends with the process, however that ends."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from koopstep.core.errors import UsageError
from koopstep.core.files import storage_error

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)  # a link, a folder, a socket
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def locked(folder: Path, warn: Callable[[str], None], doing: str) -> Iterator[None]:
    """Hold ``folder`` (which exists) for this process; a file ``.lock`` in it says meanwhile who does.

    Args:
        folder: what others are kept from.
        warn: gets one line where the file system has no locks.
        doing: what is done to the folder, such as ``trained``, for the error that others get.

    Raises:
        UsageError: another process on this machine holds it (says which one), or ``.lock`` is a link or no file.
        StorageError: the file cannot be made or written.
    """
    path = folder / LOCK_NAME
    descriptor = _acquire(path, warn, doing)
    try:
        _write_holder(path, descriptor)
        yield
    finally:
        with suppress(OSError):  # a file that stays is no lock: that ends with the descriptor
            path.unlink(missing_ok=True)  # while it is still held: whoever waits on this file sees that it is gone
        os.close(descriptor)


def _acquire(path: Path, warn: Callable[[str], None], doing: str) -> int:
    while True:
        descriptor = _open(path)
        try:
            if not _flock(path, descriptor):
                warn(
                    f"the file system of {path.parent} has no locks: nothing keeps a second process out of this folder"
                )
                return descriptor
            if _is_still(path, descriptor):
                return descriptor
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise UsageError(
                f"{path.parent} is being {doing} by {holder}; wait until that ends, or choose another folder"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder finished and removed it in between


def _open(path: Path) -> int:
    """The file, which is written to: never what a link leads to, and nothing that a reader would wait on."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise _no_file(path) from error
        raise storage_error(path, error) from error
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(descriptor)
        raise _no_file(path)
    return descriptor


def _no_file(path: Path) -> UsageError:
    return UsageError(
        f"{path} is a link or no file, which koopstep does not write; remove it, or choose another folder"
    )


def _write_holder(path: Path, descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
    except OSError as error:
        raise storage_error(path, error) from error


def _flock(path: Path, descriptor: int) -> bool:
    """Take the lock; False where there are none. BlockingIOError where another process has it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise storage_error(path, error) from error
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    try:
        found: dict[str, Any] = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {found['pid']} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
