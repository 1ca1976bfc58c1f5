"""Images as pixels, and as picture files."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.files import make_folder, write_atomic
from koopstep.core.pixels import PLAIN, DataRange, byte_values

_MARGIN = 2  # pixels between the images of a grid
_MOST_PLANES = 16
_SIDE = 64  # to which small images of a grid are enlarged


def pixels(images: Tensor, data_range: DataRange = PLAIN) -> np.ndarray:
    """Images (N, 1 or 3, H, W) in data units as uint8 (N, H, W, 3), clipped; NaN becomes white.

    Raises:
        UsageError: on another shape.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise UsageError(f"figure: images of shape (N, 1 or 3, H, W) are needed, got {tuple(images.shape)}")
    values = byte_values(images.detach().cpu(), data_range).nan_to_num(255.0)
    shown: np.ndarray = values.numpy().astype(np.uint8).transpose(0, 2, 3, 1)
    return np.repeat(shown, 3 // shown.shape[3], axis=3)


def tiled_planes(data: Tensor, between: float) -> Tensor:
    """The planes of (N, C, H, W) as tiles of one (N, 1, rows (H + 1) - 1, columns (W + 1) - 1), at most 16 of them.

    ``between`` is the value of the lines between the tiles, and of tiles that are left over.
    """
    count, height, width = min(data.shape[1], _MOST_PLANES), *data.shape[2:]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    page = data.new_full((len(data), 1, rows * (height + 1) - 1, columns * (width + 1) - 1), between)
    for plane in range(count):
        top, left = plane // columns * (height + 1), plane % columns * (width + 1)
        page[:, 0, top : top + height, left : left + width] = data[:, plane]
    return page


def write_images(folder: Path, images: Tensor, *, digits: int = 4, data_range: DataRange = PLAIN) -> list[Path]:
    """Write images (N, 1 or 3, H, W) as ``0000.png``, ``0001.png``, ... at their own size; one plane as grey.

    Raises:
        UsageError: on another shape.
    """
    shown, grey = pixels(images, data_range), images.shape[1] == 1
    make_folder(folder)
    return [_write(folder / f"{index:0{digits}d}.png", picture, grey) for index, picture in enumerate(shown)]


def write_grid(path: Path, images: Tensor, *, data_range: DataRange = PLAIN) -> Path:
    """Write one picture of all images (N, 1 or 3, H, W), about square, small ones enlarged.

    Raises:
        UsageError: on another shape.
    """
    shown = pixels(images, data_range)
    count, height, width, _ = shown.shape
    columns, zoom = math.ceil(math.sqrt(count)), max(1, _SIDE // width)
    shown = shown.repeat(zoom, axis=1).repeat(zoom, axis=2)
    down, across = height * zoom + _MARGIN, width * zoom + _MARGIN
    page = np.full((math.ceil(count / columns) * down + _MARGIN, columns * across + _MARGIN, 3), 255, np.uint8)
    for index, picture in enumerate(shown):
        top, left = index // columns * down + _MARGIN, index % columns * across + _MARGIN
        page[top : top + height * zoom, left : left + width * zoom] = picture
    return _write(path, page, images.shape[1] == 1)


def _write(path: Path, picture: np.ndarray, grey: bool) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if grey else picture).save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())
    return path
