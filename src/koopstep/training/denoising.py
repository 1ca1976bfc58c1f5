"""The task of teaching a teacher data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from koopstep.core.devices import Place
from koopstep.core.noise import stream_seed
from koopstep.data.sources import DataSource
from koopstep.training.loop import Losses, Task

TeacherLoss = Callable[[nn.Module, Tensor, Tensor | None, Tensor], Tensor]
"""``loss(model, data, class_labels, draw)``; ``draw`` is (B, 1 + prod(shape)) standard normal."""


class Denoising(Task):
    """A teacher's model and loss, and the data. Data and noise of a step depend on the step only."""

    def __init__(
        self,
        model: nn.Module,
        loss: TeacherLoss,
        source: DataSource,
        *,
        conditional: bool,
        batch_size: int,
        seed: int,
        place: Place,
    ) -> None:
        self.model = model
        self._conditional = conditional
        self._loss, self._source, self._place = loss, source, place
        self._batch_size, self._seed = batch_size, seed

    def losses(self, step: int, rows: slice) -> Losses:
        data, labels = self._source.batch(self._seed, step, self._batch_size)
        generator = torch.Generator().manual_seed(stream_seed("draw", self._seed, step))
        draw = torch.randn(self._batch_size, 1 + math.prod(data.shape[1:]), generator=generator)
        device = self._place.device
        chosen = labels[rows].to(device) if self._conditional and labels is not None else None
        value = self._loss(self.model, data[rows].to(device), chosen, draw[rows].to(device))
        return Losses(value, {"denoising": value})
