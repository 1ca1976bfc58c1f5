"""Pictures as bytes and back: one rule, EDM's, for data of any range."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"a data range is two numbers, what black and white are, got {value}")
    return value


DataRange = Annotated[tuple[float, float], AfterValidator(_rising)]
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


def in_plain_range(images: Tensor, data_range: DataRange | None) -> Tensor:
    """Images (any shape, floating point) in [-1, 1], not clipped; as they are where the data are no images (None)."""
    if data_range is None or data_range == PLAIN:
        return images
    low, high = data_range
    return (images - (low + high) / 2) * (2 / (high - low))


def from_plain_range(images: Tensor, data_range: DataRange | None) -> Tensor:
    """The inverse of :func:`in_plain_range`."""
    if data_range is None or data_range == PLAIN:
        return images
    low, high = data_range
    return images * ((high - low) / 2) + (low + high) / 2
