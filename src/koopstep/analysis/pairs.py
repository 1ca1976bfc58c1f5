"""Samples of student and teacher from the same noise, side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.analysis.findings import Pairs, PointPairs
from koopstep.analysis.outcomes import cells_of, quadrants
from koopstep.analysis.subject import MOST_ROWS, Subject

_LOOKED_THROUGH = 2000


def pairs_view(subject: Subject, most: int = 40) -> PointPairs | Pairs:
    """Held-out samples as points or images; what is neither is shown as `Subject.display` maps it.

    Args:
        subject: whose.
        most: images, of each class alike; of points all that are worth drawing.

    Raises:
        UsageError: if no rows were held out.
    """
    held_out, display = subject.held_out(), subject.display
    teacher, student = held_out.batch.data, held_out.samples
    if display.kind == "points":
        shown, cells = display(teacher[:MOST_ROWS]), cells_of(subject)
        number = quadrants if cells is None else cells.nearest
        other = display(student[:MOST_ROWS])
        return PointPairs("samples.png", shown, other, outcomes=number(shown), cells=cells, axes=display.axes)
    chosen = even_rows(held_out.batch.class_labels, len(teacher), most)
    return Pairs("samples.png", display(teacher[chosen]), display(student[chosen]), data_range=display.data_range)


def even_rows(labels: Tensor | None, rows: int, count: int) -> Tensor:
    """``count`` of the first rows, ordered by class and of each class alike; the first ones where there are no classes."""
    if labels is None:
        return torch.arange(min(count, rows))
    ordered = labels[:_LOOKED_THROUGH].argsort(stable=True)
    return ordered[torch.linspace(0, len(ordered) - 1, min(count, len(ordered))).long()]
