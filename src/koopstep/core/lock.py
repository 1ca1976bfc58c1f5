"""One process at a time in a folder, by the operating system's own lock: it ends with the process, however that ends."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from koopstep.core.errors import UsageError
from koopstep.core.files import storage_error

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def locked(folder: Path, warn: Callable[[str], None]) -> Iterator[None]:
    """Hold ``folder`` (which exists) for this process; a file ``.lock`` in it says meanwhile who does.

    Args:
        folder: what others are kept from.
        warn: gets one line where the file system has no locks.

    Raises:
        UsageError: another process on this machine holds it; says which one.
        StorageError: the file cannot be made.
    """
    path = folder / LOCK_NAME
    descriptor = _acquire(path, warn)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still held: whoever waits on this file sees that it is gone
        os.close(descriptor)


def _acquire(path: Path, warn: Callable[[str], None]) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            if not _flock(descriptor):
                warn(
                    f"the file system of {path.parent} has no locks: nothing keeps a second training out of this folder"
                )
                return descriptor
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise UsageError(
                f"{path.parent} is being trained by {holder}; wait until that ends, or choose another folder"
            ) from None
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)  # its holder finished and removed it in between


def _flock(descriptor: int) -> bool:
    """Take the lock; False where there are none."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    try:
        found: dict[str, Any] = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {found['pid']} on {found['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
