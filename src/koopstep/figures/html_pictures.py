"""Pictures as a page holds them: inline, and no larger than they are shown."""

from __future__ import annotations

import base64
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from koopstep.core.errors import DamagedError
from koopstep.core.files import read_limited
from koopstep.formats.pictures import LARGEST_FILE, decode

_SMALL = 60_000  # bytes of a picture that is taken as it is
_GIF = b"GIF8"


@dataclass(frozen=True)
class Embedded:
    """A picture inside a page: its ``data:`` address, and its size in pixels."""

    address: str
    width: int
    height: int


def embedded(path: Path, most: int) -> Embedded:
    """A PNG at most ``most`` pixels wide, with a palette where that saves much; a GIF as it is.

    Raises:
        UsageError: it cannot be read.
        DamagedError: it is neither.
    """
    data = read_limited(path, LARGEST_FILE)
    if data.startswith(_GIF):
        if len(data) < 10:
            raise DamagedError(f"{path} is damaged; make it again")
        width, height = struct.unpack("<HH", data[6:10])
        return Embedded(address("image/gif", data), width, height)
    shown = decode(data, str(path))
    height, width = shown.shape[:2]
    if width <= most and len(data) <= _SMALL:
        return Embedded(address("image/png", data), width, height)
    grey = bool((shown[..., :1] == shown).all())
    picture = Image.fromarray(shown[..., 0] if grey else shown)
    if width > most:
        height, width = max(1, round(height * most / width)), most
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    if not grey:  # median cut, the default, would turn rare colours grey
        picture = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    return Embedded(address("image/png", _png(picture)), width, height)


def picture_address(pixels: np.ndarray) -> str:
    """Pixels (H, W, 3) of bytes as an address: PNG, or JPEG where that is much smaller."""
    picture = Image.fromarray(pixels)
    grey = bool((pixels[..., :1] == pixels).all())
    plain = _png(picture.convert("L") if grey else picture)
    if len(plain) <= _SMALL:
        return address("image/png", plain)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return address("image/jpeg", buffer.getvalue())


def address(kind: str, data: bytes) -> str:
    """``data:`` and the bytes."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
