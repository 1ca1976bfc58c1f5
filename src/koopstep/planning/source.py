"""What is distilled: a teacher as it was found, and the real data that its students may be compared with."""

from __future__ import annotations

from dataclasses import dataclass

from koopstep.data.reference import RealData, load_reference
from koopstep.data.sources import DataSource
from koopstep.recipes.material import Material, calls_twice
from koopstep.runs.origin import find_data
from koopstep.teachers.base import Teacher
from koopstep.teachers.table import TeacherConfig


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


def real_data(source: Source, reference: RealData | None) -> DataSource | None:
    """The real data that a user gives, else what the teacher learned from, if that is at hand.

    Raises:
        UsageError: if what was given cannot be read, or is of another shape, range or number of classes.
    """
    if reference is not None:
        return load_reference(reference, source.teacher)
    learned = source.teacher.training_data
    return None if learned is None else find_data(learned).value


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
