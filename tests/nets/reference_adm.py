"""EDM's ADM as a function of a state dict, written from the published description and nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from reference_song import Weights, attention, conv, doubled, halved, linear, norm, silu
from torch import Tensor

EPS = 1e-5


def block(
    w: Weights, name: str, x: Tensor, told: Tensor, head_channels: int, how: str = "", attend: bool = False
) -> Tensor:
    """``how``: "up", "down" or nothing; resampling is by the box filter."""

    def resampled(x: Tensor) -> Tensor:
        return doubled(x, (1, 1)) if how == "up" else halved(x, (1, 1), 0) if how == "down" else x

    before = x
    x = conv(w, f"{name}.conv0", resampled(silu(norm(w, f"{name}.norm0", x, EPS))), 1)
    scale, shift = linear(w, f"{name}.affine", told)[:, :, None, None].chunk(2, dim=1)
    x = conv(w, f"{name}.conv1", silu(norm(w, f"{name}.norm1", x, EPS) * (1 + scale) + shift), 1)
    before = resampled(before)
    if before.shape[1] != x.shape[1]:
        before = conv(w, f"{name}.skip", before, 0)
    x = x + before
    heads = x.shape[1] // head_channels
    return x + attention(w, name, x, heads, EPS) if attend and heads else x


def adm(
    w: Weights,
    settings: Mapping[str, Any],
    x: Tensor,
    noise_labels: Tensor,
    classes: Tensor | None = None,
    augment: Tensor | None = None,
) -> Tensor:
    """The whole network; ``settings`` are the fields of its config."""
    half = settings["model_channels"] // 2
    angles = torch.outer(noise_labels, ((1 / 10000) ** (torch.arange(half) / half)).to(noise_labels.dtype))
    told = torch.cat([angles.cos(), angles.sin()], dim=1)
    if augment is not None:
        told = told + linear(w, "map_augment", augment, bias=False)
    told = linear(w, "map_layer1", silu(linear(w, "map_layer0", told)))
    if classes is not None:
        told = told + w["map_label.weight"].T[classes]
    told = silu(told)
    blocks, mult, attending = settings["num_blocks"], settings["channel_mult"], settings["attention_resolutions"]
    resolution, wide = x.shape[-1], settings["channels_per_head"]
    skips = []
    for level in range(len(mult)):
        size = resolution >> level
        name = f"enc.{size}x{size}"
        x = block(w, f"{name}_down", x, told, wide, "down") if level else conv(w, f"{name}_conv", x, 1)
        skips.append(x)
        for index in range(blocks):
            x = block(w, f"{name}_block{index}", x, told, wide, attend=size in attending)
            skips.append(x)
    for level in reversed(range(len(mult))):
        size = resolution >> level
        name = f"dec.{size}x{size}"
        if level == len(mult) - 1:
            x = block(w, f"{name}_in0", x, told, wide, attend=True)
            x = block(w, f"{name}_in1", x, told, wide)
        else:
            x = block(w, f"{name}_up", x, told, wide, "up")
        for index in range(blocks + 1):
            x = torch.cat([x, skips.pop()], dim=1)
            x = block(w, f"{name}_block{index}", x, told, wide, attend=size in attending)
    return conv(w, "out_conv", silu(norm(w, "out_norm", x, EPS)), 1)
