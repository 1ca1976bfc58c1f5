"""EDM's augmentation that does not leak (EDM App. F.2, Table 6): the network is conditioned on what was done to each image.

Geometry only, as EDM uses it: flips, scaling, rotation, stretching, shifting. Images are resampled bilinearly with
reflection at the border, where EDM filters with wavelets on a finer grid.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

LABELS = 9
"""Numbers a row is described by: x-flip, y-flip, scale, cos and sin of the rotation, two of the stretch, two of the shift."""
_SCALE, _STRETCH, _SHIFT = 0.2, 0.2, 0.125  # standard deviations: powers of two, powers of two, share of the image


class Augmented(NamedTuple):
    """Images (B, C, H, W) and what was done to each: (B, 9), zeros where nothing was."""

    images: Tensor
    labels: Tensor


def augment(images: Tensor, probability: float, generator: torch.Generator) -> Augmented:
    """Change each image by each of six transformations with ``probability``.

    Args:
        images: (B, C, H, W), on the CPU.
        probability: of each transformation, from 0 to 1.
        generator: everything random comes from it, in an order that depends on B only.
    """
    batch, _, height, width = images.shape
    chosen = (torch.rand(6, batch, generator=generator) < probability).to(torch.float32)
    coins = torch.randint(0, 2, (2, batch), generator=generator)
    normal = torch.randn(4, batch, generator=generator)
    angles = (torch.rand(2, batch, generator=generator) * 2 - 1) * math.pi
    flips = chosen[:2] * coins  # a chosen flip happens every other time
    scale = chosen[2] * normal[0] * _SCALE
    rotation = chosen[3] * angles[0]
    stretch, direction = chosen[4] * normal[1] * _STRETCH, angles[1]
    shift = chosen[5] * normal[2:] * _SHIFT
    matrix = _flip(flips) @ _scaling(scale, scale) @ _rotation(-rotation)
    matrix = matrix @ _rotation(direction) @ _scaling(stretch, -stretch) @ _rotation(-direction)
    placed = torch.cat(
        [matrix, (matrix @ (-2 * shift.T)[:, :, None])], dim=2
    )  # the shift comes last, hence undone first
    grid = functional.affine_grid(_in_pixels(placed, height, width), list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)
    done = [flips[0], flips[1], scale, rotation.cos() - 1, rotation.sin()]
    done += [stretch * (2 * direction).cos(), stretch * (2 * direction).sin(), shift[0], shift[1]]
    labels = torch.stack(done, dim=1)
    return Augmented(torch.where(labels.any(dim=1)[:, None, None, None], moved, images), labels)


def mirror(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip every other image left to right, at random: twice the data, for data without a handedness."""
    coins = torch.randint(0, 2, (len(images),), generator=generator).bool()
    return torch.where(coins[:, None, None, None], images.flip(3), images)


def _flip(flips: Tensor) -> Tensor:
    """(2, B) of 0 or 1 -> (B, 2, 2)."""
    return torch.diag_embed((1 - 2 * flips).T)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    """Where the pixels of images enlarged by ``2^x`` and ``2^y`` come from: (B,), (B,) -> (B, 2, 2)."""
    return torch.diag_embed(torch.stack([torch.exp2(-x), torch.exp2(-y)], dim=1))


def _rotation(angle: Tensor) -> Tensor:
    """(B,) -> (B, 2, 2)."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)


def _in_pixels(placed: Tensor, height: int, width: int) -> Tensor:
    """The same map for coordinates that run from -1 to 1 along both sides of an image that is not square."""
    if height == width:
        return placed
    ratio = torch.tensor([[1.0, height / width, 1.0], [width / height, 1.0, 1.0]])
    return placed * ratio
