"""An exponential moving average of weights, with EDM's half-life and ramp-up."""

from __future__ import annotations

import copy

import torch
from torch import nn


class AverageWeights:
    """The averaged copy of a model.

    The half-life is counted in images, so it means the same at every batch size; early on it is at most ``ramp`` times the
    images seen so far, so that the average does not remember the initial weights (EDM's training loop).

    Attributes:
        model: the averaged model, in eval mode, without gradients.
    """

    def __init__(self, model: nn.Module, halflife_images: float, ramp: float | None = 0.05) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.halflife_images = halflife_images
        self.ramp = ramp

    def decay(self, images_seen: int, batch_size: int) -> float:
        """The weight of the old average after ``images_seen`` images, in steps of ``batch_size``."""
        halflife = self.halflife_images
        if self.ramp is not None:
            halflife = min(halflife, images_seen * self.ramp)
        return float(0.5 ** (batch_size / max(halflife, 1e-8)))

    @torch.no_grad()
    def update(self, model: nn.Module, images_seen: int, batch_size: int) -> None:
        """Move the average towards ``model``; buffers are copied."""
        weight = 1 - self.decay(images_seen, batch_size)
        averaged, current = dict(self.model.named_parameters()), dict(model.named_parameters())
        names = list(averaged)
        torch._foreach_lerp_([averaged[n] for n in names], [current[n].detach() for n in names], weight)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
