"""Layers shared by the networks, with EDM's initialisations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def xavier_(weight: Tensor, scale: float = 1.0) -> Tensor:
    """Fill ``weight`` (out, in, *kernel) with scaled Xavier-uniform numbers, in place."""
    receptive = math.prod(weight.shape[2:])
    bound = math.sqrt(6.0 / ((weight.shape[0] + weight.shape[1]) * receptive)) * scale
    with torch.no_grad():
        return weight.uniform_(-bound, bound)


def linear(inputs: int, outputs: int, *, bias: bool = True, scale: float = 1.0) -> nn.Linear:
    """A linear layer with Xavier-uniform weights times ``scale`` and zero bias."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    xavier_(layer.weight, scale)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Conv(nn.Module):
    """A convolution, optionally after 2x down- or upsampling with the box filter [1, 1].

    Box downsampling is a 2x2 mean, box upsampling repeats pixels: what EDM's DDPM++ networks do.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        up: bool = False,
        down: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.up, self.down, self.padding = up, down, kernel // 2
        self.weight = nn.Parameter(xavier_(torch.empty(outputs, inputs, kernel, kernel), scale))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H', W')."""
        if self.up:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        elif self.down:
            x = functional.avg_pool2d(x, 2)
        return functional.conv2d(x, self.weight, self.bias, padding=self.padding)


def group_norm(channels: int, eps: float = 1e-6) -> nn.GroupNorm:
    """EDM's group norm: at most 32 groups, at least 4 channels each (fewer where 32 does not divide the channels)."""
    groups = max(min(32, channels // 4), 1)
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels, eps=eps)


def positional_embedding(labels: Tensor, channels: int) -> Tensor:
    """Sinusoidal embedding (B,) -> (B, channels), sines first; the last frequency is 1/10000 ('endpoint')."""
    half = channels // 2
    exponent = torch.arange(half, dtype=torch.float32, device=labels.device) / max(half - 1, 1)
    angles = labels.to(torch.float32).outer((1.0 / 10000.0) ** exponent).to(labels.dtype)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
