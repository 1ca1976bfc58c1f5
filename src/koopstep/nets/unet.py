"""The DDPM++ U-Net of EDM, cut at its skips: one half returns every skip, the other takes them.

Structure, initialisation and parameter names follow the published networks (EDM, arXiv 2206.00364, App. F), so that
their weights can be loaded. The layer that is the last skip is also the bottleneck.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from koopstep.core.config import Config
from koopstep.nets.layers import Conv, group_norm, linear, positional_embedding

SKIP_SCALE = math.sqrt(0.5)


class UNetConfig(Config):
    """Size of a :class:`UNet`; the defaults are EDM's for CIFAR-10 but for the width.

    ``patch`` > 1 works on squares of pixels as channels: a cheaper network for small machines (not in EDM).
    """

    kind: Literal["unet"] = "unet"
    model_channels: int = Field(default=128, ge=2, multiple_of=2)
    channel_mult: tuple[PositiveInt, ...] = Field(default=(2, 2, 2), min_length=1)
    channel_mult_emb: int = Field(default=4, ge=1)
    num_blocks: int = Field(default=4, ge=1)
    attention_resolutions: tuple[int, ...] = (16,)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    patch: int = Field(default=1, ge=1)


class Block(nn.Module):
    """Residual block: two 3x3 convolutions, the embedding between them, optional resampling and self-attention."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        *,
        dropout: float = 0.0,
        up: bool = False,
        down: bool = False,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.dropout = inputs, outputs, dropout
        self.norm0 = group_norm(inputs)
        self.conv0 = Conv(inputs, outputs, 3, up=up, down=down)
        self.affine = linear(embedding, outputs)
        self.norm1 = group_norm(outputs)
        self.conv1 = Conv(outputs, outputs, 3, scale=1e-5)
        resampled = up or down
        self.skip = Conv(inputs, outputs, 1, up=up, down=down) if inputs != outputs or resampled else None
        if attention:
            self.norm2 = group_norm(outputs)
            self.qkv = Conv(outputs, outputs * 3, 1, scale=math.sqrt(0.2))
            self.proj = Conv(outputs, outputs, 1, scale=1e-5)
        self.attention = attention

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, inputs, H, W), (B, E) -> (B, outputs, H', W')."""
        residual = x if self.skip is None else self.skip(x)
        x = self.conv0(functional.silu(self.norm0(x)))
        x = functional.silu(self.norm1(x + self.affine(embedding)[:, :, None, None]))
        x = self.conv1(functional.dropout(x, self.dropout, self.training))
        x = (x + residual) * SKIP_SCALE
        return self._attend(x) if self.attention else x

    def _attend(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        # queries, keys and values are interleaved along the channels: (C, 3), not (3, C)
        qkv = self.qkv(self.norm2(x)).reshape(batch, channels, 3, height * width)
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
        attended = functional.scaled_dot_product_attention(query, key, value)
        attended = attended.transpose(1, 2).reshape(batch, channels, height, width)
        return torch.add(x, self.proj(attended)) * SKIP_SCALE


class UNet(nn.Module):
    """``(x, noise_labels, class_labels) -> image``, or in two halves: :meth:`embed`, :meth:`encode`, :meth:`decode`."""

    def __init__(self, config: UNetConfig, resolution: int, inputs: int, outputs: int, num_classes: int = 0) -> None:
        super().__init__()
        self.num_classes, self.noise_channels, self.patch = num_classes, config.model_channels, config.patch
        resolution, inputs, outputs = resolution // self.patch, inputs * self.patch**2, outputs * self.patch**2
        width = config.model_channels * config.channel_mult_emb
        self.map_layer0 = linear(self.noise_channels, width)
        self.map_layer1 = linear(width, width)
        self.map_label = linear(num_classes, self.noise_channels) if num_classes else None
        self.enc = nn.ModuleDict()
        self.dec = nn.ModuleDict()
        skips = self._build_encoder(config, resolution, inputs, width)
        self._build_decoder(config, resolution, outputs, width, list(skips))
        self.skip_shapes = tuple(skips)

    def _build_encoder(
        self, config: UNetConfig, resolution: int, inputs: int, width: int
    ) -> list[tuple[int, int, int]]:
        skips: list[tuple[int, int, int]] = []
        channels = config.model_channels
        for level, mult in enumerate(config.channel_mult):
            size = resolution >> level
            if level == 0:
                self.enc[f"{size}x{size}_conv"] = Conv(inputs, channels, 3)
            else:
                block = Block(channels, channels, width, down=True, dropout=config.dropout)
                self.enc[f"{size}x{size}_down"] = block
            skips.append((channels, size, size))
            for index in range(config.num_blocks):
                outputs = config.model_channels * mult
                attention = size in config.attention_resolutions
                block = Block(channels, outputs, width, attention=attention, dropout=config.dropout)
                self.enc[f"{size}x{size}_block{index}"] = block
                channels = outputs
                skips.append((channels, size, size))
        return skips

    def _build_decoder(
        self, config: UNetConfig, resolution: int, outputs: int, width: int, skips: list[tuple[int, int, int]]
    ) -> None:
        channels = skips[-1][0]
        last = len(config.channel_mult) - 1
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            size = resolution >> level
            if level == last:
                block = Block(channels, channels, width, attention=True, dropout=config.dropout)
                self.dec[f"{size}x{size}_in0"] = block
                self.dec[f"{size}x{size}_in1"] = Block(channels, channels, width, dropout=config.dropout)
            else:
                self.dec[f"{size}x{size}_up"] = Block(channels, channels, width, up=True, dropout=config.dropout)
            for index in range(config.num_blocks + 1):
                inputs = channels + skips.pop()[0]
                channels = config.model_channels * mult
                attention = index == config.num_blocks and size in config.attention_resolutions
                block = Block(inputs, channels, width, attention=attention, dropout=config.dropout)
                self.dec[f"{size}x{size}_block{index}"] = block
        self.dec[f"{resolution}x{resolution}_aux_norm"] = group_norm(channels)
        self.dec[f"{resolution}x{resolution}_aux_conv"] = Conv(channels, outputs, 3, scale=1e-5)

    def embed(self, noise_labels: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """Noise labels (B,) and classes (B,) int64 -> (B, E). A conditional network without classes sees zeros."""
        embedding = positional_embedding(noise_labels, self.noise_channels)
        if self.map_label is not None and class_labels is not None:
            one_hot = functional.one_hot(class_labels, self.num_classes).to(embedding.dtype)
            embedding = embedding + functional.linear(one_hot * math.sqrt(self.num_classes), self.map_label.weight)
        if self.map_label is not None:
            embedding = embedding + self.map_label.bias
        return functional.silu(self.map_layer1(functional.silu(self.map_layer0(embedding))))

    def encode(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        """Return every skip, first to last; the last is the bottleneck. Shapes: :attr:`skip_shapes`."""
        skips: list[Tensor] = []
        x = functional.pixel_unshuffle(x, self.patch)
        for block in self.enc.values():
            x = block(x, embedding) if isinstance(block, Block) else block(x)
            skips.append(x)
        return skips

    def decode(self, skips: list[Tensor], embedding: Tensor) -> Tensor:
        """Return the image (B, outputs, H, W) from the skips of :meth:`encode` (or evolved ones)."""
        skips = list(skips)
        x = skips[-1]
        for name, block in self.dec.items():
            if isinstance(block, Block):
                if block.inputs != x.shape[1]:
                    x = torch.cat([x, skips.pop()], dim=1)
                x = block(x, embedding)
            else:
                x = functional.silu(block(x)) if name.endswith("aux_norm") else block(x)
        return functional.pixel_shuffle(x, self.patch)

    def forward(self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, inputs, R, R), (B,), (B,) int64 or None -> (B, outputs, R, R)."""
        embedding = self.embed(noise_labels, class_labels)
        return self.decode(self.encode(x, embedding), embedding)
