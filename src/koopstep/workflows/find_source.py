"""The teacher that is distilled, from anywhere; one of another program is kept in the run."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from koopstep.core.errors import UsageError
from koopstep.core.job import Job
from koopstep.planning.source import Source
from koopstep.runs.folder import TEACHER
from koopstep.teachers.base import Teacher
from koopstep.teachers.files import (
    TeacherHeader,
    header_of,
    is_same_teacher,
    read_header,
    save_teacher,
)
from koopstep.teachers.foreign.open import read_config
from koopstep.teachers.foreign.table import FOREIGN, sniff, source_sha256
from koopstep.teachers.packaged import packaged_teachers
from koopstep.teachers.table import TeacherConfig
from koopstep.workflows.convert import convert
from koopstep.workflows.load_teacher import load_teacher, refuse_others


def find_source(teacher: str | Path | Teacher, out: Path, job: Job) -> Source:
    """The teacher that a user means; one of another program's is written into the run's folder ``out``, once.

    Raises:
        UsageError: if there is no such teacher, or ``out`` holds another one.
        DamagedError: if its file is damaged.
    """
    if is_foreign(teacher):
        return _kept(teacher, out / TEACHER, job)
    found = load_teacher(teacher, device=job.place.device)
    named = teacher if isinstance(teacher, str) else None
    return Source(found, named or str(found.source or found.name), _config(found))


def is_foreign(teacher: str | Path | Teacher) -> bool:
    """Whether this is weights of another program, which a run keeps as a file of its own."""
    path = teacher.source if isinstance(teacher, Teacher) else Path(teacher)
    if path is None or str(path) in packaged_teachers() or not path.exists():
        return False
    return path.is_dir() or header_of(path) is None


def _kept(teacher: str | Path | Teacher, kept: Path, job: Job) -> Source:
    """The teacher as it is kept in the file ``kept``, which is written where it is not there yet."""
    if isinstance(teacher, Teacher):
        config = _config(teacher)
        if config is None or teacher.model is None:
            return Source(teacher, teacher.name, None)
        if kept.is_file() and not is_same_teacher(kept, teacher.sha256):
            raise _another(kept, teacher.name)
        if not kept.is_file():
            origin = {} if teacher.source is None else {"sha256": source_sha256(teacher.source)}
            header = TeacherHeader(
                config=config, name=teacher.name, made_by=f"koopstep distil {teacher.source}", source=origin
            )
            save_teacher(kept, header, teacher.model)
    else:
        _recognise(Path(teacher), kept)
        digest = source_sha256(Path(teacher))
        if kept.is_file() and read_header(kept).source.get("sha256") != digest:
            raise _another(kept, str(teacher))
        if not kept.is_file():
            convert(Path(teacher), kept, config=None, sha256=None, weights_dtype="float32", job=job)
    found = load_teacher(kept, device=job.place.device)
    return Source(found, str(kept), _config(found))


def _recognise(source: Path, kept: Path) -> None:
    """Refuse what is no teacher before all of it is read for its digest.

    Raises:
        UsageError: it is none, or weights without their config.
    """
    refuse_others(source)
    line = FOREIGN[sniff(source)]
    if line.wants_config and not kept.is_file() and read_config(source, None) is None:
        line.read(source, None)


def _another(kept: Path, name: str) -> UsageError:
    return UsageError(
        f"{kept.parent} was begun with the teacher {read_header(kept).name!r}, not with {name}; choose another --out"
    )


def _config(teacher: Teacher) -> TeacherConfig | None:
    """The settings of a teacher that has some."""
    return cast("TeacherConfig | None", teacher.config)
