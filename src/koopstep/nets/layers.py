"""Layers shared by the networks, with EDM's initialisations."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Start = Callable[[Tensor, Tensor | None], None]
"""Fills a fresh layer's weight (out, in, *kernel) and bias (out,) in place."""


def xavier_(weight: Tensor, scale: float = 1.0) -> Tensor:
    """Fill ``weight`` (out, in, *kernel) with scaled Xavier-uniform numbers, in place."""
    receptive = math.prod(weight.shape[2:])
    bound = math.sqrt(6.0 / ((weight.shape[0] + weight.shape[1]) * receptive)) * scale
    with torch.no_grad():
        return weight.uniform_(-bound, bound)


def xavier(scale: float = 1.0) -> Start:
    """Xavier-uniform weights times ``scale`` and no bias: the start of EDM's DDPM++ and NCSN++ layers."""

    def start(weight: Tensor, bias: Tensor | None) -> None:
        xavier_(weight, scale)
        if bias is not None:
            nn.init.zeros_(bias)

    return start


def fan_in(scale: float = 1.0) -> Start:
    """Weights and biases uniform within ``scale / sqrt(inputs * receptive field)``: the start of EDM's ADM layers."""

    def start(weight: Tensor, bias: Tensor | None) -> None:
        bound = scale / math.sqrt(math.prod(weight.shape[1:]))
        nn.init.uniform_(weight, -bound, bound)
        if bias is not None:
            nn.init.uniform_(bias, -bound, bound)

    return start


def linear(
    inputs: int, outputs: int, *, bias: bool = True, scale: float = 1.0, start: Start | None = None
) -> nn.Linear:
    """A linear layer with Xavier-uniform weights times ``scale`` and zero bias, or as ``start`` fills it."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    (start or xavier(scale))(layer.weight, layer.bias)
    return layer


def resampling_kernel(taps: tuple[int, ...]) -> Tensor:
    """The outer product of ``taps`` with themselves, of sum 1, shape (1, 1, n, n) float32.

    EDM's files keep this constant as ``resample_filter`` in every layer that changes the resolution; our networks compute
    it, so those entries of a published state dict are to be compared with it and left out.
    """
    line = torch.tensor(taps, dtype=torch.float64)
    return (torch.outer(line, line) / line.sum() ** 2).float()[None, None]


class Conv(nn.Module):
    """A convolution, optionally with 2x down- or upsampling by a filter before it; ``kernel`` 0 only resamples.

    With two equal taps (EDM's DDPM++ and ADM) downsampling is a 2x2 mean and upsampling repeats pixels. ``filter_last``
    convolves first and filters what came out, padded once for both (NCSN++'s path beside the encoder); the borders differ.
    """

    filter: Tensor | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        up: bool = False,
        down: bool = False,
        taps: tuple[int, ...] = (1, 1),
        filter_last: bool = False,
        scale: float = 1.0,
        start: Start | None = None,
    ) -> None:
        super().__init__()
        self.up, self.down, self.filter_last, self.padding = up, down, filter_last, kernel // 2
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel)) if kernel else None
        self.bias = nn.Parameter(torch.empty(outputs)) if kernel else None
        if self.weight is not None:
            (start or xavier(scale))(self.weight, self.bias)
        self.overlap = (len(taps) - 1) // 2
        box = len(taps) == 2 and taps[0] == taps[1]
        constant = resampling_kernel(taps) if (up or down) and not box else None
        self.register_buffer("filter", constant, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H', W')."""
        if self.filter_last and self.weight is not None and self.bias is not None:
            x = functional.conv2d(x, self.weight, padding=self.padding + self.overlap)
            return self._halve(x, padding=0) + self.bias[:, None, None]
        if self.up:
            x = self._double(x)
        elif self.down:
            x = self._halve(x, padding=self.overlap)
        return x if self.weight is None else functional.conv2d(x, self.weight, self.bias, padding=self.padding)

    def _halve(self, x: Tensor, padding: int) -> Tensor:
        if self.filter is None:
            return functional.avg_pool2d(x, 2)
        depthwise = self.filter.to(x.dtype).expand(x.shape[1], -1, -1, -1)
        return functional.conv2d(x, depthwise, stride=2, padding=padding, groups=x.shape[1])

    def _double(self, x: Tensor) -> Tensor:
        if self.filter is None:
            return functional.interpolate(x, scale_factor=2, mode="nearest")
        depthwise = (4 * self.filter).to(x.dtype).expand(x.shape[1], -1, -1, -1)  # three zeros beside every pixel
        return functional.conv_transpose2d(x, depthwise, stride=2, padding=self.overlap, groups=x.shape[1])


def group_norm(channels: int, eps: float = 1e-6) -> nn.GroupNorm:
    """EDM's group norm: at most 32 groups, at least 4 channels each (fewer where 32 does not divide the channels)."""
    groups = max(min(32, channels // 4), 1)
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels, eps=eps)


def positional_embedding(labels: Tensor, channels: int, *, endpoint: bool = True) -> Tensor:
    """Sinusoidal embedding (B,) -> (B, channels), sines first.

    Frequencies fall from 1 to 1/10000; with ``endpoint`` the last one is 1/10000, without it the one after the last.
    """
    half = channels // 2
    exponent = torch.arange(half, dtype=torch.float32, device=labels.device) / max(half - endpoint, 1)
    frequencies = (1.0 / 10000.0) ** exponent
    return _waves(labels, frequencies)


class FourierEmbedding(nn.Module):
    """Sines, then cosines of random frequencies (NCSN++): (B,) -> (B, channels).

    The frequencies are drawn once, of standard deviation 16, and belong to the weights.
    """

    freqs: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(channels // 2) * 16)

    def forward(self, labels: Tensor) -> Tensor:
        """(B,) -> (B, channels) in the dtype of the labels."""
        return _waves(labels, 2 * math.pi * self.freqs)


def _waves(labels: Tensor, frequencies: Tensor) -> Tensor:
    """Angles need at least single precision: they go up to hundreds of turns."""
    dtype = torch.promote_types(labels.dtype, torch.float32)
    angles = labels.to(dtype)[:, None] * frequencies.to(dtype)
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(labels.dtype)
