"""Pictures as bytes and back: one rule, EDM's, for data of any range."""

from __future__ import annotations

import torch
from torch import Tensor

DataRange = tuple[float, float]
"""What the darkest and the brightest byte stand for, in data units."""

PLAIN: DataRange = (-1.0, 1.0)
"""The range of images where nothing else is said."""


def byte_values(images: Tensor, data_range: DataRange = PLAIN) -> Tensor:
    """Images of any shape as the whole numbers 0 to 255 of a picture file, clipped; NaN stays NaN.

    In [-1, 1] that is ``x * 127.5 + 128``, cut off to a whole number, as EDM writes its pictures.

    Args:
        images: floating point, in data units.
        data_range: of the data.

    Returns:
        float32 of the same shape.
    """
    low, high = data_range
    scale = 255 / (high - low)
    return (images.to(torch.float32) * scale + (0.5 - low * scale)).clamp(0, 255).floor()


def from_bytes(images: Tensor, data_range: DataRange = PLAIN) -> Tensor:
    """Bytes (uint8, any shape) in data units, float32: 0 is the lower end of the range, 255 the upper."""
    low, high = data_range
    return images.to(torch.float32) / (255 / (high - low)) + low
