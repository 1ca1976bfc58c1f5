"""What a measurement looks at, and what a metric is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.data.cells import Cells
from koopstep.evaluation.classifier import Classifier
from koopstep.features.extract import Extractor

T = TypeVar("T")


@dataclass(frozen=True)
class PathErrors:
    """What a student's states miss of the teacher's, along held-out paths.

    Shares are roots of mean squared errors over the states' spread, which is what the rows' mean leaves: 0 is exact, 1 is what
    the mean of all states would score.

    Attributes:
        u: (N,), of the states compared, the noise left out and the end last.
        unexplained: (N,), the student's shares.
        standing_still: (N,), what its one-step sample scores where it is taken for every state.
        unseen: bool (N,), the times that training left out.
    """

    u: Tensor
    unexplained: Tensor
    standing_still: Tensor
    unseen: Tensor

    def within(self, unseen_only: bool = False) -> float:
        """The root mean square of the shares over the states within the path, or over those of unseen times.

        Raises:
            UsageError: there are none.
        """
        chosen = self.unexplained[:-1][self.unseen[:-1]] if unseen_only else self.unexplained[:-1]
        if not len(chosen):
            raise UsageError("no state within the path was left out of training; set objective.states_held_out")
        return float(chosen.square().mean().sqrt())


@dataclass(frozen=True)
class Samples:
    """What a measurement looks at.

    Attributes:
        student: (N, *shape), generated samples in data units ([-1, 1] for images, not clipped).
        target: (N, *shape), the teacher's ends for the same noise, or None.
        class_labels: int64 (N,), the classes asked for, or None.
        reference: (M, *shape), real data, or None.
        reference_labels: int64 (M,), classes of the real data, or None.
        cells: The parts of the plane that the real data fills, or None for data without.
        classifier: Names the class of a sample, or None.
        seed: Of the random directions, choices and partners some metrics use.
        extractor: networks that look at images, for the metrics that need any; None for data that is no image.
        path: how well the states on the way are known, of students that read them and stores that keep some; else None.
    """

    student: Tensor
    target: Tensor | None = None
    class_labels: Tensor | None = None
    reference: Tensor | None = None
    reference_labels: Tensor | None = None
    cells: Cells | None = None
    classifier: Classifier | None = None
    seed: int = 0
    extractor: Extractor | None = None
    path: PathErrors | None = None

    @property
    def unseen_path(self) -> PathErrors | None:
        """``path`` where it has times that training left out."""
        return self.path if self.path is not None and bool(self.path.unseen.any()) else None


NEEDS = {
    "target": "the teacher's samples for the same noise",
    "class_labels": "a student of classes",
    "reference": "real data",
    "reference_labels": "real data with classes",
    "cells": "the checkerboard as its data (--reference checkerboard)",
    "classifier": "real data with classes",
    "extractor": "images with one or three planes",
    "path": "a student that reads states within its path (--method modes or hkd+) and a store that keeps some (--keep all)",
    "unseen_path": "states within the path that training left out (objective.states_held_out, of a store that keeps some)",
}
"""What is missing when one of the fields above is None, in a user's words."""


@dataclass(frozen=True)
class Metric:
    """One line of the table.

    Attributes:
        function: Maps samples to the value.
        needs: Fields of `Samples` besides ``student`` that must not be None.
        measures: What the value says, in a sentence.
        direction: Which values are better; "control" is neither, but a value to hold others against.
        unit: Of the value.
        network: The feature network it looks through, by name; empty for none.
    """

    function: Callable[[Samples], float]
    needs: tuple[str, ...]
    measures: str
    direction: Literal["lower", "higher", "control"]
    unit: str
    network: str = ""


def given(value: T | None, name: str) -> T:
    """``value``, which a metric needs.

    Raises:
        UsageError: It is None.
    """
    if value is None:
        raise UsageError(f"this metric needs {name}")
    return value
