"""DDPM++ and NCSN++ as functions of a state dict, written from the published description and nothing of ours.

Slow and plain on purpose: filters tap by tap, attention as a softmax, group norms by their formula.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class Weights:
    """A state dict that remembers which of its entries were asked for."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors, self.used = tensors, set[str]()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> Tensor:
        self.used.add(name)
        return self.tensors[name]

    @property
    def unused(self) -> set[str]:
        return set(self.tensors) - self.used


def linear(w: Weights, name: str, x: Tensor, *, bias: bool = True) -> Tensor:
    x = x @ w[f"{name}.weight"].T
    return x + w[f"{name}.bias"] if bias else x


def conv(w: Weights, name: str, x: Tensor, padding: int, *, bias: bool = True) -> Tensor:
    return functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"] if bias else None, padding=padding)


def norm(w: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    grouped = x.reshape(len(x), min(32, x.shape[1] // 4), -1)
    centred = grouped - grouped.mean(dim=2, keepdim=True)
    unit = (centred / (centred.square().mean(dim=2, keepdim=True) + eps).sqrt()).reshape(x.shape)
    return unit * w[f"{name}.weight"].view(-1, 1, 1) + w[f"{name}.bias"].view(-1, 1, 1)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def halved(x: Tensor, taps: tuple[int, ...], padding: int) -> Tensor:
    """A strided depthwise correlation with the normalised outer product of the taps."""
    x = functional.pad(x, (padding,) * 4)
    size = (x.shape[-1] - len(taps)) // 2 + 1
    total = torch.zeros(*x.shape[:2], size, size, dtype=x.dtype)
    for row, down in enumerate(taps):
        for column, across in enumerate(taps):
            part = x[:, :, row : row + 2 * size : 2, column : column + 2 * size : 2][:, :, :size, :size]
            total = total + part * (down * across / sum(taps) ** 2)
    return total


def doubled(x: Tensor, taps: tuple[int, ...]) -> Tensor:
    """Zeros between the pixels, then a convolution with four times the same filter."""
    batch, channels, height, width = x.shape
    padding, last = (len(taps) - 1) // 2, len(taps) - 1
    spread = torch.zeros(batch, channels, 2 * height, 2 * width, dtype=x.dtype)
    spread[:, :, ::2, ::2] = x
    spread = functional.pad(spread, (last - padding, padding) * 2)
    total = torch.zeros(batch, channels, 2 * height, 2 * width, dtype=x.dtype)
    for row, down in enumerate(taps):
        for column, across in enumerate(taps):
            part = spread[:, :, last - row :, last - column :][:, :, : 2 * height, : 2 * width]
            total = total + part * (4 * down * across / sum(taps) ** 2)
    return total


def attention(w: Weights, name: str, x: Tensor, heads: int, eps: float) -> Tensor:
    """What attention adds: queries, keys and values lie interleaved; the softmax is in single precision."""
    channels = x.shape[1]
    qkv = conv(w, f"{name}.qkv", norm(w, f"{name}.norm2", x, eps), 0)
    own = 3 * channels // heads  # channels of a head: a query, a key, a value, a query, ...
    attended = []
    for head in range(heads):
        part = qkv[:, head * own : (head + 1) * own].flatten(2)
        query, key, value = part[:, 0::3], part[:, 1::3], part[:, 2::3]
        scores = query.float().transpose(1, 2) @ key.float() / math.sqrt(channels // heads)
        weights = (scores - scores.amax(dim=2, keepdim=True)).exp()
        weights = (weights / weights.sum(dim=2, keepdim=True)).to(x.dtype)
        attended.append(value @ weights.transpose(1, 2))
    return conv(w, f"{name}.proj", torch.cat(attended, dim=1).reshape(x.shape), 0)


def block(
    w: Weights, name: str, x: Tensor, told: Tensor, taps: tuple[int, ...], how: str = "", attend: bool = False
) -> Tensor:
    """``how``: "up", "down" or nothing."""
    padding = (len(taps) - 1) // 2

    def resampled(x: Tensor) -> Tensor:
        return doubled(x, taps) if how == "up" else halved(x, taps, padding) if how == "down" else x

    before = x
    x = conv(w, f"{name}.conv0", resampled(silu(norm(w, f"{name}.norm0", x, 1e-6))), 1)
    x = x + linear(w, f"{name}.affine", told)[:, :, None, None]
    x = conv(w, f"{name}.conv1", silu(norm(w, f"{name}.norm1", x, 1e-6)), 1)
    if how or before.shape[1] != x.shape[1]:
        before = conv(w, f"{name}.skip", resampled(before), 0)
    x = (x + before) / math.sqrt(2)
    return (x + attention(w, name, x, 1, 1e-6)) / math.sqrt(2) if attend else x


def embedding(
    w: Weights, settings: Mapping[str, Any], noise_labels: Tensor, classes: Tensor | None, augment: Tensor | None
) -> Tensor:
    count = settings["model_channels"] * settings["channel_mult_noise"]
    if settings["embedding"] == "positional":
        freqs = torch.arange(count // 2) / (count // 2 - 1)
        angles = torch.outer(noise_labels, ((1 / 10000) ** freqs).to(noise_labels.dtype))
    else:
        angles = torch.outer(noise_labels, 2 * math.pi * w["map_noise.freqs"])
    told = torch.cat([angles.sin(), angles.cos()], dim=1)  # ADM has the cosines first
    if "map_label.weight" in w:
        number = w["map_label.weight"].shape[1]
        one_hot = torch.zeros(len(told), number, dtype=told.dtype)
        if classes is not None:
            one_hot[torch.arange(len(told)), classes] = math.sqrt(number)
        told = told + linear(w, "map_label", one_hot)
    if augment is not None:
        told = told + linear(w, "map_augment", augment, bias=False)
    return silu(linear(w, "map_layer1", silu(linear(w, "map_layer0", told))))


def song(
    w: Weights,
    settings: Mapping[str, Any],
    x: Tensor,
    noise_labels: Tensor,
    classes: Tensor | None = None,
    augment: Tensor | None = None,
) -> Tensor:
    """The whole network; ``settings`` are the fields of its config."""
    told = embedding(w, settings, noise_labels, classes, augment)
    taps, blocks, mult = tuple(settings["resample_filter"]), settings["num_blocks"], settings["channel_mult"]
    resolution, attending = x.shape[-1], settings["attention_resolutions"]
    skips, beside = [], x
    for level in range(len(mult)):
        size = resolution >> level
        name = f"enc.{size}x{size}"
        if level == 0:
            x = conv(w, f"{name}_conv", x, 1)
        else:
            x = block(w, f"{name}_down", x, told, taps, "down")
            if settings["encoder"] == "residual":
                padding = (len(taps) - 1) // 2  # once for both, so the convolution sees the zeros further out
                filtered = halved(conv(w, f"{name}_aux_residual", beside, 1 + padding, bias=False), taps, 0)
                x = beside = (x + filtered + w[f"{name}_aux_residual.bias"].view(-1, 1, 1)) / math.sqrt(2)
        skips.append(x)
        for index in range(blocks):
            x = block(w, f"{name}_block{index}", x, told, taps, attend=size in attending)
            skips.append(x)
    for level in reversed(range(len(mult))):
        size = resolution >> level
        name = f"dec.{size}x{size}"
        if level == len(mult) - 1:
            x = block(w, f"{name}_in0", x, told, taps, attend=True)
            x = block(w, f"{name}_in1", x, told, taps)
        else:
            x = block(w, f"{name}_up", x, told, taps, "up")
        for index in range(blocks + 1):
            x = torch.cat([x, skips.pop()], dim=1)
            x = block(w, f"{name}_block{index}", x, told, taps, attend=index == blocks and size in attending)
    return conv(w, f"{name}_aux_conv", silu(norm(w, f"{name}_aux_norm", x, 1e-6)), 1)
