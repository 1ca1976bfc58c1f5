"""The task of teaching a teacher data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from koopstep.core.devices import Place
from koopstep.core.noise import stream_seed
from koopstep.data.augment import augment, mirror
from koopstep.data.sources import DataSource
from koopstep.training.loop import Losses, Task

TeacherLoss = Callable[..., Tensor]
"""``loss(model, data, class_labels, draw)``; ``draw`` is (B, 1 + prod(shape)) standard normal. Where images are augmented
it is also given ``augment_labels=`` (B, 9)."""


class Denoising(Task):
    """A teacher's model and loss, and the data. Data, changes to them and noise of a step depend on the step only.

    ``augment`` is the probability of each of EDM's augmentations, ``xflip`` mirrors every other image.
    """

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
        augment: float = 0.0,
        xflip: bool = False,
    ) -> None:
        self.model = model
        self._conditional = conditional
        self._loss, self._source, self._place = loss, source, place
        self._batch_size, self._seed = batch_size, seed
        self._augment, self._xflip = augment, xflip

    def losses(self, step: int, rows: slice) -> Losses:
        data, labels = self._source.batch(self._seed, step, self._batch_size)
        generator = torch.Generator().manual_seed(stream_seed("draw", self._seed, step))
        draw = torch.randn(self._batch_size, 1 + math.prod(data.shape[1:]), generator=generator)
        device = self._place.device
        chosen = labels[rows].to(device) if self._conditional and labels is not None else None
        given: dict[str, Tensor] = {}
        if self._xflip:
            data = mirror(data, torch.Generator().manual_seed(stream_seed("mirror", self._seed, step)))
        if self._augment:
            changes = torch.Generator().manual_seed(stream_seed("augment", self._seed, step))
            data, labels_of_changes = augment(data, self._augment, changes)
            given["augment_labels"] = labels_of_changes[rows].to(device)
        value = self._loss(self.model, data[rows].to(device), chosen, draw[rows].to(device), **given)
        return Losses(value, {"denoising": value})
