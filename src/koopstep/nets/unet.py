"""The DDPM++ and NCSN++ U-Nets of EDM (after Song et al.), weight-compatible with the published ones."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional

from koopstep.core.config import Config
from koopstep.nets.blocks import SONG
from koopstep.nets.layers import Conv, FourierEmbedding, group_norm, linear, positional_embedding
from koopstep.nets.skips import Plan, SkipUNet

Tap = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]


class UNetConfig(Config):
    """A :class:`UNet`; the defaults are EDM's DDPM++ for CIFAR-10, without dropout and augmentation labels.

    NCSN++ is ``embedding="fourier"``, ``channel_mult_noise=2``, ``encoder="residual"`` and
    ``resample_filter=(1, 3, 3, 1)``.

    Attributes:
        model_channels: channels of the first convolution; every other width is a multiple.
        channel_mult: of every level of resolution, the finest first.
        channel_mult_emb: of the embedding.
        channel_mult_noise: of the noise level's waves.
        num_blocks: residual blocks a level.
        attention_resolutions: sides of the maps whose pixels attend to each other; those of the coarsest always do.
        dropout: inside the blocks, in training.
        augment_channels: numbers of an augmentation label (9 in EDM's networks); 0: the network is not conditioned on one.
        embedding: how the noise level becomes waves: of fixed or of random frequencies.
        encoder: ``residual`` runs the input beside the encoder and adds it at every coarser level.
        resample_filter: taps of the filter that halves and doubles the resolution; an even number.
        patch: > 1 works on squares of pixels as channels: a cheaper network for small machines (not in EDM).
    """

    kind: Literal["unet"] = "unet"
    model_channels: int = Field(default=128, ge=2, multiple_of=2)
    channel_mult: tuple[PositiveInt, ...] = Field(default=(2, 2, 2), min_length=1, max_length=16)
    channel_mult_emb: int = Field(default=4, ge=1)
    channel_mult_noise: int = Field(default=1, ge=1)
    num_blocks: int = Field(default=4, ge=1)
    attention_resolutions: tuple[PositiveInt, ...] = Field(default=(16,), max_length=64)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    augment_channels: int = Field(default=0, ge=0)
    embedding: Literal["positional", "fourier"] = "positional"
    encoder: Literal["standard", "residual"] = "standard"
    resample_filter: tuple[Tap, ...] = Field(default=(1, 1), min_length=2, max_length=16)
    patch: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check_filter(self) -> Self:
        if len(self.resample_filter) % 2 or sum(self.resample_filter) == 0:
            raise ValueError("resample_filter needs an even number of taps with a sum other than 0")
        return self


class UNet(SkipUNet):
    """``(x, noise_labels, class_labels, augment_labels) -> image``, or in two halves: ``embed``, ``encode``, ``decode``."""

    def __init__(self, config: UNetConfig, resolution: int, inputs: int, outputs: int, num_classes: int = 0) -> None:
        super().__init__()
        self.num_classes, self.augment_channels, self.patch = num_classes, config.augment_channels, config.patch
        resolution, inputs, outputs = resolution // self.patch, inputs * self.patch**2, outputs * self.patch**2
        self.noise_channels = config.model_channels * config.channel_mult_noise
        width = config.model_channels * config.channel_mult_emb
        self.map_noise = FourierEmbedding(self.noise_channels) if config.embedding == "fourier" else None
        self.map_layer0 = linear(self.noise_channels, width)
        self.map_layer1 = linear(width, width)
        self.map_label = linear(num_classes, self.noise_channels) if num_classes else None
        augmented = config.augment_channels > 0
        self.map_augment = linear(config.augment_channels, self.noise_channels, bias=False) if augmented else None
        channels = tuple(config.model_channels * mult for mult in config.channel_mult)
        plan = Plan(
            family=SONG,
            channels=channels,
            first=config.model_channels,
            blocks=config.num_blocks,
            attention_resolutions=config.attention_resolutions,
            attend_last_only=True,
            embedding=width,
            dropout=config.dropout,
            taps=config.resample_filter,
            residual=config.encoder == "residual",
        )
        self._build_halves(plan, resolution, inputs)
        self._last = f"{resolution}x{resolution}_aux"
        self.dec[f"{self._last}_norm"] = group_norm(channels[0])
        self.dec[f"{self._last}_conv"] = Conv(channels[0], outputs, 3, scale=1e-5)

    def embed(
        self, noise_labels: Tensor, class_labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        self._check_augmentation(augment_labels)
        if self.map_noise is not None:
            embedding = self.map_noise(noise_labels)
        else:
            embedding = positional_embedding(noise_labels, self.noise_channels)
        if self.map_label is not None and class_labels is not None:
            one_hot = functional.one_hot(class_labels, self.num_classes).to(embedding.dtype)
            embedding = embedding + functional.linear(one_hot * math.sqrt(self.num_classes), self.map_label.weight)
        if self.map_label is not None:
            embedding = embedding + self.map_label.bias
        if self.map_augment is not None and augment_labels is not None:
            embedding = embedding + self.map_augment(augment_labels.to(embedding.dtype))
        return functional.silu(self.map_layer1(functional.silu(self.map_layer0(embedding))))

    def encode(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        return super().encode(functional.pixel_unshuffle(x, self.patch), embedding)

    def _finish(self, x: Tensor) -> Tensor:
        norm, conv = self.dec[f"{self._last}_norm"], self.dec[f"{self._last}_conv"]
        return functional.pixel_shuffle(conv(functional.silu(norm(x))), self.patch)
