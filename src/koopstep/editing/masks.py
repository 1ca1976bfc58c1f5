"""Masks of a picture: which pixels an edit is meant for, drawn, read from a file, and brought to the size of a level.

A mask is a boolean tensor (H, W), True inside. Pictures have their first row at the top.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from koopstep.core.errors import UsageError
from koopstep.formats import pictures

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom, as fractions of the picture's width and height."""

LEFT_HALF: Rectangle = (0.0, 0.0, 0.5, 1.0)


def lower_left(height: int, width: int) -> Tensor:
    """The triangle below the diagonal from the top left to the bottom right corner (HKD Fig. 5)."""
    rows = (torch.arange(height) + 0.5) / height
    columns = (torch.arange(width) + 0.5) / width
    return columns[None, :] < rows[:, None] - 1e-6


def rectangle(corners: Rectangle, height: int, width: int) -> Tensor:
    """The pixels whose centres lie in a rectangle.

    Raises:
        UsageError: if a fraction is outside 0 to 1, the rectangle is turned inside out, or no centre lies in it.
    """
    left, top, right, bottom = corners
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise UsageError(
            f"a rectangle is X0,Y0,X1,Y1 with 0 <= X0 < X1 <= 1 and 0 <= Y0 < Y1 <= 1, got "
            f"{','.join(f'{corner:g}' for corner in corners)}"
        )
    rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    mask = ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))[None, :]
    if not bool(mask.any()):
        raise UsageError(f"the rectangle holds no pixel of a {width} x {height} picture; make it larger")
    return mask


def read_mask(path: Path, height: int, width: int) -> Tensor:
    """A mask from a picture file: white is inside; of another size it is averaged down (or enlarged) first.

    Raises:
        UsageError: if the file is missing, is no 8-bit PNG or JPEG, or has nothing inside.
    """
    pixels = pictures.read_picture(path)
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    grey = picture.convert("L").resize((width, height), Image.Resampling.BOX)
    mask = torch.from_numpy(np.asarray(grey, dtype=np.float32)) > 127.5
    if not bool(mask.any()):
        raise UsageError(f"{path}: nothing is white in this mask; white marks what is edited")
    return mask


def read_picture(path: Path) -> Tensor:
    """One picture file as uint8 (1 or 3, H, W): one plane where it is grey; transparency is dropped.

    Raises:
        UsageError: if the file is missing or is no 8-bit PNG or JPEG.
    """
    return torch.from_numpy(np.array(pictures.read_picture(path).transpose(2, 0, 1), order="C"))


def of_level(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask at a level's resolution: a place is inside when more than half of the area it stands for is.

    A mask stays hard, so that an edit is of a set of modes that can be counted.
    """
    if mask.shape == (height, width):
        return mask
    return functional.adaptive_avg_pool2d(mask[None, None].float(), (height, width))[0, 0] > 0.5


def area(mask: Tensor) -> float:
    """Share of the pixels that are inside."""
    return float(mask.float().mean())
