"""What an analysis looks at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from koopstep.analysis.display import Display, display_of
from koopstep.core.records import Batch, Found
from koopstep.data.sources import DataSource
from koopstep.students.student import KoopmanStudent
from koopstep.teachers.base import Teacher

MOST_ROWS = 10_000
"""Held-out rows that are looked at where no network needs to run for each of them again."""
_ROWS, _LARGE_ROWS, _VECTORS = 256, 64, 2000  # rows of small images, of large ones (over 16 x 16), of vectors


@dataclass(frozen=True)
class HeldOut:
    """Rows that training never saw.

    Attributes:
        batch: their paths, on the CPU.
        samples: (N, *shape), the student's one-step samples from the same noise, on the CPU.
        steps: of the teacher's path.
    """

    batch: Batch
    samples: Tensor
    steps: int


class Subject(ABC):
    """A student, and what else is at hand; each is fetched when first asked for.

    Attributes:
        student: on its device, for evaluation only.
    """

    student: KoopmanStudent

    @abstractmethod
    def held_out(self) -> HeldOut:
        """The held-out rows.

        Raises:
            UsageError: if there are none.
        """

    def paths(self) -> Batch:
        """The paths of `rows`; where it can be done, without sampling from the student.

        Raises:
            UsageError: if there are none.
        """
        return self.rows()

    def others(self) -> Mapping[str, KoopmanStudent]:
        """Students of the same data to compare with, by name."""
        return {}

    @abstractmethod
    def teacher(self) -> Found[Teacher]:
        """The teacher that the student learned from, on the student's device."""

    @abstractmethod
    def reference(self) -> Found[DataSource]:
        """The real data that samples are compared with."""

    def rows(self, most: int | None = None) -> Batch:
        """The first held-out paths, as many as a decode-heavy analysis can take, on the student's device.

        Raises:
            UsageError: if there are none.
        """
        return self.held_out().batch[slice(0, most or self.few)].to(self.device)

    @property
    def few(self) -> int:
        """How many rows a decode-heavy analysis can take."""
        shape = self.student.facts.shape
        small = len(shape) < 3 or max(shape[1:]) <= 16
        return _VECTORS if len(shape) < 3 else _ROWS if small else _LARGE_ROWS

    @cached_property
    def display(self) -> Display:
        """How samples are drawn: by a map that is fixed by the teacher's data in the held-out rows.

        Raises:
            UsageError: if there are none.
        """
        return display_of(self.student.facts, self.held_out().batch.data)

    @property
    def device(self) -> torch.device:
        """Where the student is."""
        return next(self.student.parameters()).device
