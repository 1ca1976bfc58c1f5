"""Real images from a folder of PNG/JPEG files or from an ``.npz``, as one float32 tensor in [-1, 1]."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.data.arrays import read_npz

SUFFIXES = (".png", ".jpg", ".jpeg")
_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_UNREADABLE_IMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class ImageSet(NamedTuple):
    """Images and, where they are known, their classes.

    Attributes:
        images: float32 (N, C, H, W) in [-1, 1]: byte / 127.5 - 1; C is 1 (all grey) or 3.
        labels: int64 (N,), or None. For a folder they number its sub-folders in sorted order.
    """

    images: Tensor
    labels: Tensor | None


def load(source: Path) -> ImageSet:
    """Reads a folder of images or an ``.npz``, whichever `source` is.

    Raises:
        UsageError: Nothing there, or what is there cannot be used; see `load_folder` and `load_npz`.
    """
    source = Path(source)
    if source.is_dir():
        return load_folder(source)
    if source.suffix == ".npz":
        return load_npz(source)
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder; give a folder of PNG/JPEG images or an .npz")
    raise UsageError(f"{source}: neither a folder of PNG/JPEG images nor an .npz file")


def load_folder(folder: Path) -> ImageSet:
    """Reads every PNG and JPEG of a folder, in sorted order; hidden files and other kinds are passed over.

    Sub-folders that hold images are classes (with all images below them); then none may lie beside them.
    Transparency is dropped. If every image is grey the result has one channel, otherwise three.

    Raises:
        UsageError: Not a folder, no images, images beside class folders, an unreadable or 16-bit image, or
            two images of different size; the message names the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    loose = sorted(path for path in folder.iterdir() if _is_image(path))
    classes = {
        below.name: sorted(path for path in below.rglob("*") if _is_image(path))
        for below in sorted(folder.iterdir())
        if below.is_dir() and not below.name.startswith(".")
    }
    classes = {name: paths for name, paths in classes.items() if paths}
    if loose and classes:
        raise UsageError(
            f"{folder}: holds images ({loose[0].name}) and class folders ({next(iter(classes))}) side by "
            "side; put every image in a class folder, or none"
        )
    if not loose and not classes:
        raise UsageError(f"{folder}: no images found; wanted {', '.join(SUFFIXES)} files, or class folders of them")
    if loose:
        return ImageSet(_read_all(loose), None)
    labels = [number for number, paths in enumerate(classes.values()) for _ in paths]
    return ImageSet(_read_all(path for paths in classes.values() for path in paths), torch.tensor(labels))


def load_npz(file: Path) -> ImageSet:
    """Reads an ``.npz`` with ``images`` (uint8, NHWC, NCHW or NHW) and, if present, ``labels`` (whole, (N,)).

    Pickled (object) arrays are refused.

    Raises:
        UsageError: Missing file or key, wrong type or shape, or a shape that could be both NHWC and NCHW.
        DamagedError: The file is cut off or is no ``.npz``.
    """
    file = Path(file)
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    arrays, _ = read_npz(file)
    if "images" not in arrays:
        found = ", ".join(arrays) or "nothing"
        raise UsageError(f"{file}: no array 'images' inside (found {found}); save it as np.savez(f, images=...)")
    images, labels = arrays["images"], arrays.get("labels")
    planar = _planar(images, file)
    if labels is None:
        return ImageSet(_scaled(planar), None)
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise UsageError(
            f"{file}: 'labels' must be {len(images)} whole numbers >= 0, got {labels.dtype} {labels.shape}"
        )
    return ImageSet(_scaled(planar), torch.from_numpy(labels.astype(np.int64)))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read_all(paths: Iterable[Path]) -> Tensor:
    """Decodes the files into float32 (N, C, H, W)."""
    pictures: list[np.ndarray] = []
    first: Path | None = None
    for path in paths:
        first = first or path
        pictures.append(_read(path))
        if pictures[-1].shape[:2] != pictures[0].shape[:2]:
            (h0, w0), (h1, w1) = pictures[0].shape[:2], pictures[-1].shape[:2]
            raise UsageError(
                f"{path}: is {w1} x {h1} pixels but {first.name} is {w0} x {h0}; all images must have one size"
            )
    channels = max(picture.shape[2] for picture in pictures)
    wide = [np.broadcast_to(picture, (*picture.shape[:2], channels)) for picture in pictures]
    return _scaled(np.stack(wide).transpose(0, 3, 1, 2))


def _read(path: Path) -> np.ndarray:
    """One image as uint8 (H, W, 1 or 3)."""
    try:
        with Image.open(path) as image:
            mode = image.mode
            if mode in _GREY_MODES:
                return np.asarray(image.convert("L"))[:, :, None]
            if mode in _COLOUR_MODES:
                return np.asarray(image.convert("RGB"))
    except _UNREADABLE_IMAGE as error:
        raise UsageError(f"{path}: cannot be read as an image ({error}); remove or replace it") from error
    raise UsageError(f"{path}: pixels of mode {mode} are not 8-bit; convert the image to 8-bit grey or RGB")


def _planar(images: np.ndarray, file: Path) -> np.ndarray:
    """Checks the array and brings it to NCHW."""
    wanted = "uint8 (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, or (N, H, W)"
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.size == 0:
        raise UsageError(f"{file}: 'images' must be {wanted}, got {images.dtype} {images.shape}")
    if images.ndim == 3:
        return images[:, None]
    last, first = images.shape[3] in (1, 3), images.shape[1] in (1, 3)
    if last and first:
        raise UsageError(f"{file}: 'images' {images.shape} could be channels first or last; make H and W larger than 3")
    if not last and not first:
        raise UsageError(f"{file}: 'images' must be {wanted}, got {images.shape}")
    return images.transpose(0, 3, 1, 2) if last else images


def _scaled(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images.astype(np.float32, order="C")).div_(127.5).sub_(1)
