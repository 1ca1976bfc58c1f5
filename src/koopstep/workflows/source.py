"""What is distilled: a teacher from anywhere, and the real data that its students may be compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.job import Job
from koopstep.data.sources import DataSource, load_source
from koopstep.recipes.derive import Material, calls_twice
from koopstep.teachers.base import Teacher
from koopstep.teachers.files import load_teacher, packaged_teachers, read_header
from koopstep.teachers.foreign.table import source_sha256
from koopstep.teachers.table import TeacherConfig
from koopstep.workflows.convert import convert
from koopstep.workflows.origin import find_data

TEACHER = "teacher.safetensors"  # of a run: its foreign teacher, converted


@dataclass(frozen=True)
class Source:
    """A teacher as it is distilled.

    Attributes:
        teacher: makes the paths.
        file: where it is: a packaged name, or a path; of a function its name.
        config: of one that is a file.
    """

    teacher: Teacher
    file: str
    config: TeacherConfig | None


def find_source(teacher: str | Path | Teacher, out: Path, job: Job) -> Source:
    """The teacher that a user means; weights of other programs are converted into the run's folder ``out``, once.

    Raises:
        UsageError: if there is no such teacher, or ``out`` holds another one.
        DamagedError: if its file is damaged.
    """
    if isinstance(teacher, Teacher):
        return Source(teacher, teacher.name, None)
    name = str(teacher)
    if is_foreign(name):
        name = str(_converted(Path(name), out / TEACHER, job))
    found = load_teacher(name, job.place.device)
    return Source(found.teacher, name if name in packaged_teachers() else str(found.path), found.header.config)


def is_foreign(teacher: str | Path | Teacher) -> bool:
    """Whether this is a file or folder of another program, which has to be converted."""
    if isinstance(teacher, Teacher) or str(teacher) in packaged_teachers() or not Path(teacher).exists():
        return False
    try:
        read_header(Path(teacher))
    except (UsageError, DamagedError):
        return Path(teacher).is_dir() or Path(teacher).suffix != ".safetensors" or _has_config(Path(teacher))
    return False


def _has_config(path: Path) -> bool:
    """Whether a config lies beside the file: a state dict in the format that our own teachers have, too."""
    return any(path.with_suffix(suffix).is_file() for suffix in (".yaml", ".yml", ".json"))


def _converted(source: Path, out: Path, job: Job) -> Path:
    digest = source_sha256(source)
    if out.is_file():
        before = read_header(out).source
        if before.get("sha256") != digest:
            raise UsageError(
                f"{out.parent} was begun with the teacher {before.get('name')!r}, not with {source}; choose another --out"
            )
        return out
    convert(source, out, config=None, sha256=None, weights_dtype="float32", job=job)
    return out


def real_data(source: Source, reference: str | None) -> DataSource | None:
    """The real data that a user names, else what the teacher learned from, if that is at hand.

    Raises:
        UsageError: if what was named cannot be read, or is of another shape.
    """
    teacher = source.teacher
    if reference is None:
        learned = teacher.training_data
        return None if learned is None else find_data(learned).value
    found = load_source(reference)
    if found.shape != tuple(teacher.shape):
        raise UsageError(
            f"the reference {found.name!r} has shape {found.shape}, the teacher makes {tuple(teacher.shape)}; name data of "
            "the same shape"
        )
    return found


def material_of(source: Source, real: DataSource | None) -> Material:
    """What a recipe is derived from."""
    teacher = source.teacher
    return Material(
        teacher=teacher.name,
        file=source.file,
        shape=tuple(teacher.shape),
        num_classes=teacher.num_classes,
        data_range=teacher.data_range,
        twice=calls_twice(teacher),
        model=source.config,
        data=None if real is None else real.name,
        labelled=real is not None and real.num_classes > 0,
        cells=real is not None and real.cells is not None,
    )
