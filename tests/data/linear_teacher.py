"""A teacher that costs nothing: straight paths from the noise to tanh(2 noise), shifted by the class."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from koopstep.teachers.base import Teacher


class LinearTeacher(Teacher):
    """Paths (1 - t) s noise + t tanh(2 noise + class)."""

    kind = "linear"
    name = "linear"
    sha256 = "0" * 64
    solver = "none"

    def __init__(
        self, shape: tuple[int, ...] = (2,), num_classes: int = 0, noise_scale: float = 1.0, gain: float = 2.0
    ) -> None:
        self.shape = shape
        self.num_classes = num_classes
        self.noise_scale = noise_scale
        self.data_scale = 0.8
        self.gain = gain

    def levels(self, steps: int) -> tuple[float, ...]:
        return tuple(i / steps for i in range(steps + 1))

    def evaluations(self, steps: int) -> int:
        return steps

    def states(self, noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
        start = noise.double()
        shift = 0.0 if class_labels is None else class_labels.double().reshape(-1, *(1 for _ in self.shape))
        end = (self.gain * start + shift).tanh()
        for i in range(steps + 1):
            t = i / steps
            yield (1 - t) * self.noise_scale * start + t * end
