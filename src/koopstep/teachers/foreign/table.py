"""The table of foreign teachers. To add one: a file that reads it and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from koopstep.core.errors import UsageError
from koopstep.core.files import sha256_bytes, sha256_file
from koopstep.teachers.foreign.base import ForeignTeacher
from koopstep.teachers.foreign.diffusers import is_pipeline, read_pipeline
from koopstep.teachers.foreign.edm import is_edm_pickle, read_edm
from koopstep.teachers.foreign.state_dict import is_state_dict, read_state_dict
from koopstep.teachers.table import TeacherConfig


@dataclass(frozen=True)
class Foreign:
    """A line of :data:`FOREIGN`.

    Attributes:
        sniff: whether a file or folder looks like this format; it must not raise on any that exists.
        read: (source, config) -> the teacher. The config is what the user gave, for formats that need one.
        wants_config: whether the format says nothing of the architecture.
    """

    sniff: Callable[[Path], bool]
    read: Callable[[Path, TeacherConfig | None], ForeignTeacher]
    wants_config: bool = False


FOREIGN: dict[str, Foreign] = {
    "diffusers": Foreign(is_pipeline, lambda source, config: read_pipeline(source)),
    "edm-pickle": Foreign(is_edm_pickle, lambda source, config: read_edm(source)),
    "state-dict": Foreign(is_state_dict, read_state_dict, wants_config=True),
}
"""Format -> how it is recognised and read; the first that recognises a file reads it."""


def sniff(source: Path) -> str:
    """The name of a file's or folder's format.

    Raises:
        UsageError: there is no such file, or none of the formats.
    """
    if not source.exists():
        raise UsageError(f"{source} does not exist")
    for name, line in FOREIGN.items():
        if line.sniff(source):
            return name
    raise UsageError(f"{source} is none of the formats that can be converted ({', '.join(FOREIGN)})")


def source_sha256(source: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and digests of its files, one folder deep, hidden ones left out.

    Raises:
        UsageError: it cannot be read.
    """
    if source.is_file():
        return sha256_file(source)
    files = [path for pattern in ("*", "*/*") for path in source.glob(pattern) if path.is_file()]
    shown = [path for path in files if not any(part.startswith(".") for part in path.relative_to(source).parts)]
    lines = sorted(f"{path.relative_to(source).as_posix()!r}: {sha256_file(path)}\n" for path in shown)
    return sha256_bytes("".join(lines).encode())
