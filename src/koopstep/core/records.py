"""Named records that travel between the packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from koopstep.core.errors import KoopstepError

T = TypeVar("T")


@dataclass(frozen=True)
class Found(Generic[T]):
    """Something that may not be at hand: it, or the error that says why not. Exactly one of them is None."""

    value: T | None
    error: KoopstepError | None = None

    @property
    def reason(self) -> str:
        """Why it is not at hand; empty where it is."""
        return "" if self.error is None else str(self.error)

    def need(self, advice: str = "") -> T:
        """The value, for what cannot do without; ``advice`` ends the error's line.

        Raises:
            KoopstepError: the error, where it is not at hand.
        """
        if self.value is None:
            raise type(self.error or KoopstepError())(f"{self.reason}{advice}")
        return self.value


@dataclass(frozen=True, eq=False)
class Batch:
    """Some paths of a teacher, of which K states are kept.

    Attributes:
        noise: (B, *shape) float32, the unit-variance start.
        states: (K, B, *shape) float32; `states[0]` is the scaled noise, `states[-1]` the data.
        progress: (K,) float32 in [0, 1], increasing: u of each kept state; 0 is noise, 1 is data.
        class_labels: (B,) int64, or None where the teacher has no classes.
    """

    noise: Tensor
    states: Tensor
    progress: Tensor
    class_labels: Tensor | None = None

    @property
    def data(self) -> Tensor:
        """The last state, (B, *shape)."""
        return self.states[-1]

    def __len__(self) -> int:
        return self.noise.shape[0]

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Batch:
        """The same batch on another device; `dtype` changes the floating-point tensors, never the labels.

        The copy of a pinned batch does not wait.
        """
        return Batch(
            noise=self.noise.to(device=device, dtype=dtype, non_blocking=True),
            states=self.states.to(device=device, dtype=dtype, non_blocking=True),
            progress=self.progress.to(device=device, dtype=dtype, non_blocking=True),
            class_labels=None if self.class_labels is None else self.class_labels.to(device, non_blocking=True),
        )

    def pinned(self) -> Batch:
        """The same batch in page-locked memory, from which a GPU copies without waiting."""
        labels = None if self.class_labels is None else self.class_labels.pin_memory()
        return Batch(self.noise.pin_memory(), self.states.pin_memory(), self.progress, labels)

    def __getitem__(self, rows: slice) -> Batch:
        """The paths `rows` of the batch, with all their states."""
        return Batch(
            noise=self.noise[rows],
            states=self.states[:, rows],
            progress=self.progress,
            class_labels=None if self.class_labels is None else self.class_labels[rows],
        )
