"""The ADM U-Net as EDM sets it up for ImageNet (after Dhariwal and Nichol), weight-compatible with the published one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from koopstep.core.config import Config
from koopstep.nets.blocks import adm_family
from koopstep.nets.layers import Conv, group_norm, linear, positional_embedding
from koopstep.nets.skips import Plan, SkipUNet


class ADMConfig(Config):
    """An :class:`ADM`; the defaults are EDM's for ImageNet at 64x64.

    Attributes:
        model_channels: channels every width is a multiple of.
        channel_mult: of every level of resolution, the finest first.
        channel_mult_emb: of the embedding.
        num_blocks: residual blocks a level.
        attention_resolutions: sides of the maps whose pixels attend to each other; those of the coarsest always do.
        channels_per_head: of attention. As published, a layer with fewer channels does not attend.
        dropout: inside the blocks, in training.
        augment_channels: numbers of an augmentation label; 0: the network is not conditioned on one.
    """

    kind: Literal["adm"] = "adm"
    model_channels: int = Field(default=192, ge=2, multiple_of=2)
    channel_mult: tuple[PositiveInt, ...] = Field(default=(1, 2, 3, 4), min_length=1, max_length=16)
    channel_mult_emb: int = Field(default=4, ge=1)
    num_blocks: int = Field(default=3, ge=1)
    attention_resolutions: tuple[PositiveInt, ...] = Field(default=(32, 16, 8), max_length=64)
    channels_per_head: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    augment_channels: int = Field(default=0, ge=0)


class ADM(SkipUNet):
    """``(x, noise_labels, class_labels, augment_labels) -> image``, or in two halves: ``embed``, ``encode``, ``decode``."""

    def __init__(self, config: ADMConfig, resolution: int, inputs: int, outputs: int, num_classes: int = 0) -> None:
        super().__init__()
        self.num_classes, self.augment_channels = num_classes, config.augment_channels
        self.noise_channels = config.model_channels
        width = config.model_channels * config.channel_mult_emb
        family = adm_family(config.channels_per_head)
        channels = tuple(config.model_channels * mult for mult in config.channel_mult)
        self.map_augment = None
        if config.augment_channels:
            self.map_augment = linear(
                config.augment_channels, self.noise_channels, bias=False, start=family.start_silent
            )
        self.map_layer0 = linear(self.noise_channels, width, start=family.start)
        self.map_layer1 = linear(width, width, start=family.start)
        self.map_label = None
        if num_classes:
            self.map_label = nn.Linear(num_classes, width, bias=False)
            nn.init.normal_(self.map_label.weight)
        plan = Plan(
            family=family,
            channels=channels,
            first=channels[0],
            blocks=config.num_blocks,
            attention_resolutions=config.attention_resolutions,
            attend_last_only=False,
            embedding=width,
            dropout=config.dropout,
        )
        self._build_halves(plan, resolution, inputs)
        self.out_norm = group_norm(channels[0], family.eps)
        self.out_conv = Conv(channels[0], outputs, 3, start=family.start_silent)

    def embed(
        self, noise_labels: Tensor, class_labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        self._check_augmentation(augment_labels)
        # the published network takes the cosines first
        embedding = positional_embedding(noise_labels, self.noise_channels, endpoint=False)
        embedding = embedding.roll(self.noise_channels // 2, dims=1)
        if self.map_augment is not None and augment_labels is not None:
            embedding = embedding + self.map_augment(augment_labels.to(embedding.dtype))
        embedding = self.map_layer1(functional.silu(self.map_layer0(embedding)))
        if self.map_label is not None and class_labels is not None:
            one_hot = functional.one_hot(class_labels, self.num_classes).to(embedding.dtype)
            embedding = embedding + self.map_label(one_hot)
        return functional.silu(embedding)

    def _finish(self, x: Tensor) -> Tensor:
        return self.out_conv(functional.silu(self.out_norm(x)))  # type: ignore[no-any-return]
