"""How every failure ends: one line for people and an exit code."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from koopstep.core.environment import DEBUG_VARIABLE
from koopstep.core.errors import KoopstepError
from koopstep.core.text import printable

EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "anything else",
    2: "bad usage or input",
    3: "data or a checkpoint is damaged, cannot be written, is not finite or does not fit into memory",
    75: "stopped by a signal after saving, run again to go on",
}


_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_WRONG_PATH = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
# PyTorch reports a full memory as a RuntimeError (a subclass of it on accelerators), never as a MemoryError.
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Failure:
    """The end of a command that failed: one line without a newline, and the exit code."""

    line: str
    exit_code: int


def describe(error: BaseException) -> Failure:
    """Say what went wrong in one line.

    Args:
        error: whatever a command raised, except the command line's own usage errors.
    """
    if isinstance(error, KoopstepError):
        return Failure(one_line(str(error)), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", 1)
    if _is_memory(error):
        return Failure("not enough memory; use a smaller --count or batch size, or another --device", 3)
    if isinstance(error, OSError) and error.errno in (*_UNWRITABLE, *_WRONG_PATH):
        where = f": {error.filename}" if error.filename is not None else ""
        return Failure(
            one_line(f"{error.strerror or 'input or output failed'}{where}"),
            3 if error.errno in _UNWRITABLE else 2,
        )
    text = one_line(f"{type(error).__name__}: {error}".removesuffix(": "))
    return Failure(f"internal error: {text}; set {DEBUG_VARIABLE}=1 for the traceback", 1)


def one_line(text: str) -> str:
    """``text`` with its lines joined by blanks, and what would act on a terminal written out."""
    return printable(" ".join(line.strip() for line in text.splitlines() if line.strip()))


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)
    )
