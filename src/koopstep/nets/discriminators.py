"""Discriminators: KDM's four layers (App. E.3), the same at several resolutions, and heads on a frozen network's features.

All judge each row by itself, give logits (B, places) above 0 for 'real', and are conditioned on the class by
projection (Miyato and Koyama, arXiv 1802.05637). To add one: a class here, and a line in :func:`build_discriminator`.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from koopstep.core.errors import UsageError

DiscriminatorName = Literal["conv", "multiscale", "features"]

_SCALES, _SMALLEST = 3, 8  # of the multi-scale discriminator: how many resolutions at most, and the smallest side
_GRID = 4  # side of the grid of places that every head on features judges


class FeatureNetwork(Protocol):
    """A frozen network that a discriminator looks through."""

    def features(self, x: Tensor) -> list[Tensor]:
        """Maps (B, C, H, W) of images in [-1, 1], one a layer."""


class Projection(nn.Module):
    """How well hidden features suit a class: their inner product with a vector of the class, which starts at 0."""

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(num_classes, channels) if num_classes else None
        if self.classes is not None:
            nn.init.zeros_(self.classes.weight)

    def forward(self, hidden: Tensor, class_labels: Tensor | None) -> Tensor:
        """(B, channels), (B,) int64 or None -> (B, 1)."""
        if self.classes is None or class_labels is None:
            return hidden.new_zeros(len(hidden), 1)
        match: Tensor = (self.classes(class_labels) * hidden).sum(dim=1, keepdim=True)
        return match


class ConvDiscriminator(nn.Module):
    """The paper's four convolutions: three halvings and, where 4 x 4 places are left, one last 4 x 4 kernel.

    At 32 x 32 that is one logit, at 64 x 64 it is 25, as published. The published one has batch norm, which mixes the
    rows of a batch; this one has group norm, so that splitting a batch over processes or micro-batches changes nothing.
    Images too small to halve are not halved. ``halvings`` < 3 leaves the first layers at full resolution; ``patches`` has
    a last 3 x 3 kernel, so that each place gets its logit.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int = 0,
        width: int = 64,
        *,
        halvings: int = 3,
        patches: bool = False,
    ) -> None:
        super().__init__()
        channels, size = shape[0], min(shape[1:])
        layers: list[nn.Module] = []
        for index in range(3):
            halve = size >= 4 and index >= 3 - halvings
            outputs = width * 2**index
            kernel, stride = (4, 2) if halve else (3, 1)
            layers.append(nn.Conv2d(channels, outputs, kernel, stride, 1))
            if index:
                layers.append(nn.GroupNorm(min(32, outputs // 4), outputs))
            layers.append(nn.LeakyReLU(0.2))
            channels, size = outputs, size // 2 if halve else size
        self.features = nn.Sequential(*layers)
        whole = size >= 4 and not patches
        self.last = nn.Conv2d(channels, 1, 4) if whole else nn.Conv2d(channels, 1, 3, padding=1)
        self.projection = Projection(num_classes, channels)

    def forward(self, x: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,) int64 or None -> logits (B, places)."""
        hidden = self.features(x)
        logits: Tensor = self.last(hidden).flatten(1)
        suits: Tensor = self.projection(hidden.mean(dim=(2, 3)), class_labels)
        return logits + suits


class MultiscaleDiscriminator(nn.Module):
    """The four convolutions at full, half and quarter resolution (while 8 pixels are left), a logit for each patch.

    A lower resolution is halved as often less, so that all end at the same grid of places and weigh the same.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int = 0, width: int = 64) -> None:
        super().__init__()
        scales = [scale for scale in range(_SCALES) if scale == 0 or min(shape[1:]) >> scale >= _SMALLEST]
        self.towers = nn.ModuleList(
            ConvDiscriminator(
                (shape[0], *(side >> scale for side in shape[1:])),
                num_classes,
                width,
                halvings=3 - scale,
                patches=True,
            )
            for scale in scales
        )

    def forward(self, x: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,) int64 or None -> logits (B, scales * places)."""
        logits: list[Tensor] = []
        for scale, tower in enumerate(self.towers):
            x = functional.avg_pool2d(x, 2) if scale else x
            logits.append(tower(x, class_labels))
        return torch.cat(logits, dim=1)


class FeatureDiscriminator(nn.Module):
    """A small head on each layer of a frozen feature network (the idea of Projected GANs, arXiv 2111.01007).

    The frozen network is not part of this module: it is not trained, saved or counted with it, and whoever builds the
    discriminator puts it on its device. Each head judges the same grid of places, so that all layers weigh the same.
    """

    def __init__(self, network: FeatureNetwork, shape: tuple[int, ...], num_classes: int = 0, width: int = 64) -> None:
        super().__init__()
        self._frozen = (network,)  # in a tuple, where the module does not see it
        with torch.no_grad():
            channels = [part.shape[1] for part in network.features(torch.zeros(1, *shape))]
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, width, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.AdaptiveAvgPool2d(_GRID),
                nn.Conv2d(width, width, 3, padding=1),
                nn.LeakyReLU(0.2),
            )
            for inputs in channels
        )
        self.last = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in channels)
        self.projections = nn.ModuleList(Projection(num_classes, width) for _ in channels)

    def forward(self, x: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,) int64 or None -> logits (B, layers * places)."""
        logits: list[Tensor] = []
        (network,) = self._frozen
        for part, head, last, projection in zip(
            network.features(x), self.heads, self.last, self.projections, strict=True
        ):
            hidden = head(part)
            logits.append(last(hidden).flatten(1) + projection(hidden.mean(dim=(2, 3)), class_labels))
        return torch.cat(logits, dim=1)


class VectorDiscriminator(nn.Module):
    """Four linear layers; one logit a row."""

    def __init__(self, shape: tuple[int, ...], num_classes: int = 0, width: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([math.prod(shape), width, width, width]):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        self.layers, self.last = nn.Sequential(*layers), nn.Linear(width, 1)
        self.projection = Projection(num_classes, width)

    def forward(self, x: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, *shape), (B,) int64 or None -> logits (B, 1)."""
        hidden = self.layers(x.flatten(1))
        return self.last(hidden) + self.projection(hidden, class_labels)  # type: ignore[no-any-return]


def build_discriminator(
    shape: tuple[int, ...],
    num_classes: int = 0,
    kind: DiscriminatorName = "conv",
    network: FeatureNetwork | None = None,
) -> nn.Module:
    """The discriminator for data of ``shape``; vectors have one kind only, four linear layers.

    Args:
        shape: of one sample.
        num_classes: 0 without class labels.
        kind: for images.
        network: what the kind ``features`` looks through, on the CPU.

    Raises:
        UsageError: if the kind does not fit the shape, or its network is missing.
    """
    if len(shape) != 3:
        if kind != "conv":
            raise UsageError(
                f"the discriminator {kind!r} is for images, this data has shape {shape}; use objective.discriminator=conv"
            )
        return VectorDiscriminator(shape, num_classes)
    if kind == "multiscale":
        return MultiscaleDiscriminator(shape, num_classes)
    if kind == "features":
        if network is None:
            raise UsageError(
                "the discriminator 'features' needs a feature network, and none was given; use another one"
            )
        return FeatureDiscriminator(network, shape, num_classes)
    return ConvDiscriminator(shape, num_classes)
