"""The errors a user meets. Each message is one line: what is wrong, where, and what to do about it.

`exit_code` is the process exit status the command line ends with.
"""

from __future__ import annotations


class KoopstepError(Exception):
    """Base of every error raised on purpose by this library."""

    exit_code = 1


class UsageError(KoopstepError):
    """A bad option, config, shape or a missing input."""

    exit_code = 2


class DamagedError(KoopstepError):
    """Data or a checkpoint on disk is not what was written."""

    exit_code = 3


class StorageError(KoopstepError):
    """A file could not be written (no space left, no permission)."""

    exit_code = 3


class NumericsError(KoopstepError):
    """NaN or infinity where finite numbers are required."""

    exit_code = 3


class Interrupted(KoopstepError):
    """Stopped by a signal after everything finished so far was saved; run again to go on."""

    exit_code = 75
