"""What a teacher is: a deterministic path from noise to data, and how any function becomes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from koopstep.core.arguments import check_memory, checked, checked_seed, whole_number
from koopstep.core.config import Added, Config
from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian, integers
from koopstep.core.pixels import PLAIN, DataRange

_SAMPLED_AT_A_TIME = 256


class TrainingData(Config):
    """The data a teacher learned from, and the only data its samples may be compared with unasked.

    Attributes:
        name: of a built-in set, or of the file or folder it was read from.
        sha256: of the data, or its first 16 digits (files of version 0.1).
        shape: of one sample.
        num_classes: 0 without labels; None where it is not known.
    """

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{16,64}$")
    shape: tuple[int, ...]
    num_classes: int | None = None

    def matches(self, other: TrainingData) -> bool:
        """Whether both are the same data, as far as both digests go; names do not matter."""
        digits = min(len(self.sha256), len(other.sha256))
        return self.shape == other.shape and self.sha256[:digits] == other.sha256[:digits]


class TeacherIdentity(Config):
    """Who made a path: enough to tell two stores apart and to make the path again.

    Attributes:
        data_range: what black and white are, of images; None of data that are no images (latents).
        training_data: what the teacher learned from; None where nobody knows.
    """

    kind: str
    name: str
    sha256: str
    solver: str
    num_function_evaluations: int
    noise_scale: float
    data_scale: float
    num_classes: int
    shape: tuple[int, ...]
    data_range: Annotated[DataRange | None, Added()] = PLAIN
    training_data: Annotated[TrainingData | None, Added()] = None


class Teacher(ABC):
    """A map from unit-variance noise to data, together with the path between them.

    Attributes:
        shape: shape of one sample, without the batch.
        num_classes: 0 for an unconditional teacher.
        noise_scale: standard deviation of state 0 (``sigma_max`` for EDM, 1 for flow matching).
        data_scale: standard deviation of the data, known or assumed.
        data_range: what black and white are in its data; None of data that are no images. Of vectors it means nothing.
        name: what people call it.
        sha256: digest of the file it came from, or of its weights and settings; empty when it came from a function.
        training_data: what it learned from, where that is known.
        source: the file or folder it was read from; None of one made in Python.
        config: the settings its network is built by; None of a function.
        model: its network, where it is a PyTorch module.
    """

    shape: tuple[int, ...]
    num_classes: int
    noise_scale: float
    data_scale: float
    kind: str
    name: str
    sha256: str
    solver: str
    data_range: DataRange | None = PLAIN
    training_data: TrainingData | None = None
    source: Path | None = None
    config: Config | None = None
    model: nn.Module | None = None
    _device: torch.device | None = None

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
    @checked
    def path(self, noise: Tensor, class_labels: Tensor | None = None, *, steps: int) -> Tensor:
        """Carry unit-variance ``noise`` (B, *shape) to data; returns (steps + 1, B, *shape) float32.

        Raises:
            UsageError: on a wrong shape, class labels that are superfluous, no whole numbers or out of range, or
                ``steps`` < 1.
        """
        self._check(noise, class_labels)
        return torch.stack([state.float() for state in self.states(noise, class_labels, steps)])

    @torch.no_grad()
    @checked
    def sample(
        self, count: int, seed: int = 0, steps: int = 12, class_labels: Tensor | Sequence[int] | int | None = None
    ) -> Tensor:
        """Samples (count, *shape) float32, on the teacher's device: the ends of the paths that ``collect`` stores.

        Args:
            count: how many.
            seed: of their noise; row ``i`` depends on ``(seed, i)`` alone.
            steps: of the path.
            class_labels: one a sample, or one for all; absent, those that ``collect`` draws, where there are classes.

        Raises:
            UsageError: on a count or ``steps`` below 1, or class labels that cannot be.
        """
        count, seed = whole_number(count, "count", least=1), checked_seed(seed)
        check_memory(count, self.shape, "count")
        device = self.device or torch.device("cpu")
        if class_labels is None:
            labels = integers(seed, range(count), self.num_classes) if self.num_classes else None
        else:
            labels = torch.as_tensor(class_labels)
            labels = labels.expand(count) if labels.ndim == 0 else labels
        parts = []
        for start in range(0, count, _SAMPLED_AT_A_TIME):
            rows = range(start, min(start + _SAMPLED_AT_A_TIME, count))
            noise = gaussian(seed, rows, self.shape).to(device)
            few = None if labels is None else labels[rows.start : rows.stop].to(device)
            self._check(noise, few)
            for state in self.states(noise, few, steps):
                last = state
            parts.append(last.float())
        return torch.cat(parts)

    @property
    def parameters(self) -> int | None:
        """Number of trained numbers of its network; None of a function."""
        return None if self.model is None else sum(p.numel() for p in self.model.parameters())

    @property
    def device(self) -> torch.device | None:
        """Where it computes; None of a function that did not say."""
        weights = [] if self.model is None else [*self.model.parameters(), *self.model.buffers()]
        return weights[0].device if weights else self._device

    def __repr__(self) -> str:
        classes = f"{self.num_classes} classes" if self.num_classes else "no classes"
        size = "" if self.parameters is None else f", {self.parameters:,} parameters"
        source = "" if self.source is None else f", from {self.source}"
        return (
            f"<Teacher {self.name!r}: {self.kind}, samples of shape {tuple(self.shape)}, {classes}, "
            f"solver {self.solver}{size}{source}>"
        )

    def _check(self, noise: Tensor, class_labels: Tensor | None) -> None:
        if tuple(noise.shape[1:]) != self.shape:
            raise UsageError(f"this teacher makes samples of shape {self.shape}, got noise of {tuple(noise.shape[1:])}")
        if class_labels is not None and self.num_classes == 0:
            raise UsageError("this teacher knows no classes; leave class_labels away")
        if class_labels is not None and class_labels.shape != noise.shape[:1]:
            raise UsageError(f"class_labels must be one row of {len(noise)} numbers, got {tuple(class_labels.shape)}")
        if class_labels is not None and (class_labels.is_floating_point() or class_labels.is_complex()):
            raise UsageError(f"class_labels must be whole numbers (int64), got {class_labels.dtype}")
        if class_labels is not None and not bool(((class_labels >= 0) & (class_labels < self.num_classes)).all()):
            raise UsageError(f"class_labels go from 0 to {self.num_classes - 1}, got {class_labels.tolist()[:8]}")

    @checked
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
            data_range=self.data_range,
            training_data=self.training_data,
        )
