"""One PNG or JPEG picture as bytes of pixels. Its size is looked at before it is decoded; no other program is started."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from koopstep.core.errors import UsageError
from koopstep.core.files import read_limited

FORMATS = ("PNG", "JPEG")
"""Pillow would also open PostScript, for which it starts an interpreter, and twenty formats more."""
LARGEST_FILE = 1 << 26
MOST_PIXELS = 1 << 24
"""Of one picture: 4,096 x 4,096."""

Pixels = npt.NDArray[np.uint8]
_GREY_MODES = ("1", "L", "LA")
_ALPHA_MODES = ("LA", "PA", "RGBA")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
    zlib.error,
)
_JPEG, _SCAN, _MOST_SCANS = b"\xff\xd8", b"\xff\xda", 256  # a scan of ten bytes may cost a pass over all pixels


def read_picture(path: Path) -> Pixels:
    """A picture file as uint8 (H, W, 1 or 3); see :func:`decode`.

    Raises:
        UsageError: there is no such file, or it is no picture that is read here.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such picture file")
    return decode(read_limited(path, LARGEST_FILE), str(path))


def size(data: bytes, where: str) -> tuple[int, int]:
    """Height and width of a picture, without decoding it.

    Raises:
        UsageError: it is no 8-bit PNG or JPEG, or too large; ``where`` names it.
    """
    with _opened(data, where) as image:
        return image.height, image.width


def decode(data: bytes, where: str) -> Pixels:
    """The pixels of a PNG or JPEG, uint8 (H, W, 1) where it is grey, else (H, W, 3); transparency is dropped.

    Raises:
        UsageError: it is no 8-bit PNG or JPEG, damaged, or too large; ``where`` names it.
    """
    with _opened(data, where) as image:
        if image.mode in _GREY_MODES:
            return np.asarray(image.convert("L"))[:, :, None]
        return np.asarray(image.convert("RGB"))


def is_transparent(data: bytes, where: str) -> bool:
    """Whether some of a picture is transparent, which :func:`decode` drops.

    Raises:
        UsageError: it is no 8-bit PNG or JPEG, damaged, or too large; ``where`` names it.
    """
    with _opened(data, where) as image:
        if image.mode not in _ALPHA_MODES and "transparency" not in image.info:
            return False
        return bool(np.asarray(image.convert("RGBA"))[:, :, 3].min() < 255)


def resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """The middle of a picture (H, W, 1 or 3), cut to the shape of ``width`` x ``height`` and brought to that size (Lanczos)."""
    h, w = pixels.shape[:2]
    scale = min(h / height, w / width)
    down, across = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (h - down) // 2, (w - across) // 2
    middle = pixels[top : top + down, left : left + across]
    image = Image.fromarray(middle[:, :, 0] if pixels.shape[2] == 1 else middle)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).reshape(height, width, pixels.shape[2])


@contextmanager
def _opened(data: bytes, where: str) -> Iterator[Image.Image]:
    if data.startswith(_JPEG) and data.count(_SCAN) > _MOST_SCANS:
        raise UsageError(f"{where}: a JPEG of more than {_MOST_SCANS} scans; save it again as PNG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we ask for less, below
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        with image:
            _check(image, where)
            yield image
    except UnidentifiedImageError as error:
        raise UsageError(f"{where}: cannot be read as an image: it is no PNG or JPEG") from error
    except Image.DecompressionBombError as error:
        raise UsageError(f"{where}: has far more than {MOST_PIXELS} pixels; make it smaller") from error
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:120]
        raise UsageError(f"{where}: cannot be read as an image ({reason}); remove or replace it") from error


def _check(image: Image.Image, where: str) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise UsageError(
            f"{where}: has {image.width} x {image.height} pixels, at most {MOST_PIXELS} are read; make it smaller"
        )
    if image.mode not in _GREY_MODES + _COLOUR_MODES:
        raise UsageError(f"{where}: pixels of mode {image.mode} are not 8-bit; convert the image to 8-bit grey or RGB")
