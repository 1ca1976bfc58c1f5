"""What a teacher is: a deterministic path from noise to data, and how any function becomes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from koopstep.core.config import Config
from koopstep.core.errors import UsageError


class TeacherIdentity(Config):
    """Who made a path: enough to tell two stores apart and to make the path again."""

    kind: str
    name: str
    sha256: str
    solver: str
    num_function_evaluations: int
    noise_scale: float
    data_scale: float
    num_classes: int
    shape: tuple[int, ...]


class Teacher(ABC):
    """A map from unit-variance noise to data, together with the path between them.

    Attributes:
        shape: shape of one sample, without the batch.
        num_classes: 0 for an unconditional teacher.
        noise_scale: standard deviation of state 0 (``sigma_max`` for EDM, 1 for flow matching).
        data_scale: standard deviation of the data, known or assumed.
        name: what people call it.
        sha256: digest of the file it came from, empty when it came from a function.
    """

    shape: tuple[int, ...]
    num_classes: int
    noise_scale: float
    data_scale: float
    kind: str
    name: str
    sha256: str
    solver: str

    @abstractmethod
    def levels(self, steps: int) -> tuple[float, ...]:
        """The ``steps + 1`` levels (sigma or t) of the grid, noise first."""

    @abstractmethod
    def evaluations(self, steps: int) -> int:
        """How often :meth:`path` calls the network (NFE)."""

    @abstractmethod
    def states(self, noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
        """Yield the ``steps + 1`` states (B, *shape), float64, from scaled noise to data."""

    @torch.no_grad()
    def path(self, noise: Tensor, class_labels: Tensor | None = None, *, steps: int) -> Tensor:
        """Carry unit-variance ``noise`` (B, *shape) to data; returns (steps + 1, B, *shape) float32.

        Raises:
            UsageError: on a wrong shape, class labels that are superfluous or out of range, or ``steps`` < 1.
        """
        if tuple(noise.shape[1:]) != self.shape:
            raise UsageError(f"this teacher makes samples of shape {self.shape}, got noise of {tuple(noise.shape[1:])}")
        if class_labels is not None and self.num_classes == 0:
            raise UsageError("this teacher knows no classes; leave class_labels away")
        if class_labels is not None and class_labels.shape != noise.shape[:1]:
            raise UsageError(f"class_labels must be one row of {len(noise)} numbers, got {tuple(class_labels.shape)}")
        if class_labels is not None and not bool(((class_labels >= 0) & (class_labels < self.num_classes)).all()):
            raise UsageError(f"class_labels go from 0 to {self.num_classes - 1}, got {class_labels.tolist()[:8]}")
        return torch.stack([state.float() for state in self.states(noise, class_labels, steps)])

    def identity(self, steps: int) -> TeacherIdentity:
        """The record that a store keeps of this teacher."""
        return TeacherIdentity(
            kind=self.kind,
            name=self.name,
            sha256=self.sha256,
            solver=self.solver,
            num_function_evaluations=self.evaluations(steps),
            noise_scale=self.noise_scale,
            data_scale=self.data_scale,
            num_classes=self.num_classes,
            shape=self.shape,
        )
