"""Discriminators: four layers, as KDM uses them (App. E.3), told the class where there is one."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvDiscriminator(nn.Module):
    """Four convolutions (the last two halvings only while the image is large enough); one logit a place.

    The published one has batch norm, which mixes the rows of a batch; this one has group norm, so that splitting a
    batch over processes or micro-batches changes nothing. The class enters by projection (Miyato and Koyama, 2018).
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int = 0, width: int = 64) -> None:
        super().__init__()
        channels, size = shape[0], shape[1]
        layers: list[nn.Module] = []
        for index in range(3):
            halve = size >= 4
            outputs = width * 2**index
            kernel, stride = (4, 2) if halve else (3, 1)
            layers.append(nn.Conv2d(channels, outputs, kernel, stride, 1))
            if index:
                layers.append(nn.GroupNorm(min(32, outputs // 4), outputs))
            layers.append(nn.LeakyReLU(0.2))
            channels, size = outputs, size // 2 if halve else size
        self.features = nn.Sequential(*layers)
        self.last = nn.Conv2d(channels, 1, 3, 1, 1)
        self.classes = nn.Embedding(num_classes, channels) if num_classes else None
        if self.classes is not None:
            nn.init.zeros_(self.classes.weight)

    def forward(self, x: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,) int64 or None -> logits (B, places), above 0 for 'real'."""
        hidden = self.features(x)
        logits = self.last(hidden).flatten(1)
        if self.classes is not None and class_labels is not None:
            match = (self.classes(class_labels) * hidden.mean(dim=(2, 3))).sum(dim=1, keepdim=True)
            logits = logits + match
        return logits  # type: ignore[no-any-return]


class VectorDiscriminator(nn.Module):
    """Four linear layers; one logit a row."""

    def __init__(self, shape: tuple[int, ...], num_classes: int = 0, width: int = 128) -> None:
        super().__init__()
        self.num_classes = num_classes
        sizes = [math.prod(shape) + num_classes, width, width, width]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, x: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, *shape), (B,) int64 or None -> logits (B, 1), above 0 for 'real'."""
        row = x.flatten(1)
        if self.num_classes:
            known = torch.zeros(len(x), self.num_classes, dtype=row.dtype, device=row.device)
            if class_labels is not None:
                known = functional.one_hot(class_labels, self.num_classes).to(row.dtype)
            row = torch.cat([row, known], dim=1)
        return self.layers(row)  # type: ignore[no-any-return]


def build_discriminator(shape: tuple[int, ...], num_classes: int = 0) -> nn.Module:
    """The discriminator for data of ``shape``: convolutions for images, linear layers for vectors."""
    if len(shape) == 3:
        return ConvDiscriminator(shape, num_classes)
    return VectorDiscriminator(shape, num_classes)
