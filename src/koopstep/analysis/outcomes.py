"""What noise becomes: the cell or the class of a sample, by number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from koopstep.analysis.subject import MOST_ROWS, Subject
from koopstep.core.errors import UsageError
from koopstep.core.noise import permutation
from koopstep.data.cells import Cells
from koopstep.evaluation import classifier as classifiers
from koopstep.evaluation.samples import given


@dataclass(frozen=True)
class Outcomes:
    """What each held-out row became: numbers of cells or classes, and their names.

    Attributes:
        teacher: int64 (N,).
        student: int64 (N,), from the same noise.
        independent: int64 (N,), the teacher's, dealt to the noise at random: what training starts from.
        names: of the numbers, for legends; empty for cells.
        cells: of the data, whose colours are fixed; None where outcomes are classes or quadrants.
    """

    teacher: Tensor
    student: Tensor
    independent: Tensor
    names: tuple[str, ...] = ()
    cells: Cells | None = None


def outcomes(subject: Subject) -> Outcomes:
    """Cells (2-D data) or classes (labelled data, by a classifier) of what the first held-out rows become.

    Raises:
        UsageError: if the data is neither, or is not at hand.
    """
    held_out, source = subject.held_out(), subject.reference()
    student, teacher = held_out.samples[:MOST_ROWS], held_out.batch.data[:MOST_ROWS]
    chance = torch.from_numpy(permutation(0, len(teacher)).copy())
    if subject.student.facts.shape == (2,):
        cells = cells_of(subject)
        number = quadrants if cells is None else cells.nearest
        found = number(teacher)
        return Outcomes(found, number(student), found[chance], cells=cells)
    real, labels = source.need().reference()
    judge = classifiers.fit(real, given(labels, "data with class labels for a classifier"))
    found = judge.predict(teacher)
    names = tuple(str(number) for number in range(source.need().num_classes))
    return Outcomes(found, judge.predict(student), found[chance], names)


def cells_of(subject: Subject) -> Cells | None:
    """The cells of the data, where it is in the plane, at hand and has some."""
    source = subject.reference().value if subject.student.facts.shape == (2,) else None
    return None if source is None else source.cells


def require_outcomes(subject: Subject) -> None:
    """Refuse data whose outcomes have no names.

    Raises:
        UsageError: if it is neither in the plane nor labelled, or is not at hand.
    """
    if subject.student.facts.shape != (2,) and not subject.reference().need().num_classes:
        raise UsageError("this analysis needs outcomes: 2-D data, or data with class labels for a classifier")


def quadrants(points: Tensor) -> Tensor:
    """The quadrant (N,) of each point (N, 2), where the data has no cells of its own."""
    return (points[:, 0] > 0).long() + 2 * (points[:, 1] > 0).long()
