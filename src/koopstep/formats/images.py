"""Real images from a folder or a zip of PNG/JPEG files, or from an ``.npz``, as bytes.

A ``dataset.json`` in the folder or zip says the classes, as EDM's dataset tool writes it:
``{"labels": [["00000/img00000000.png", 3], ...]}``, or ``{"labels": null}`` for none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.files import read_limited
from koopstep.formats import pictures
from koopstep.formats.archive import Archive, of_stream
from koopstep.formats.arrays import read_npz

SUFFIXES = (".png", ".jpg", ".jpeg")
PACKING = 256
"""Pictures may have this many pixels a byte on the disk (photographs: 0.5 to 5, drawings up to 100) ..."""
SMALL = 64 << 20
"""... and so many pixels more."""
_MOST_PICTURES = 4_000_000
_LARGEST_LIST, _LIST_ROW = 8 << 20, 128  # bytes of a dataset.json: in any case, and for each picture
_LARGEST_CLASS = 1 << 31


class ImageSet(NamedTuple):
    """Images and, where they are known, their classes.

    Attributes:
        images: uint8 (N, C, H, W); C is 1 (all grey) or 3.
        labels: int64 (N,), or None.
        changed: what was done to the pictures beyond decoding them, a line each.
    """

    images: Tensor
    labels: Tensor | None
    changed: tuple[str, ...] = ()


class _File(NamedTuple):
    """A file that holds an image: where it is for messages, and how to read it."""

    where: str
    read: Callable[[], bytes]


Size = tuple[int, int]
"""Height and width."""


def load(source: Path, size: Size | None = None) -> ImageSet:
    """Reads a folder of images, a ``.zip`` of them, or an ``.npz``, whichever `source` is.

    With a ``size``, pictures of any other (not those of an ``.npz``) are cut to their middle and resized.

    Raises:
        UsageError: Nothing there, or what is there cannot be used; see `load_folder`, `load_zip` and `load_npz`.
    """
    source = Path(source)
    readers: dict[str, Callable[[Path], ImageSet]] = {".npz": load_npz, ".zip": partial(load_zip, size=size)}
    if source.is_dir():
        return load_folder(source, size)
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder; give a folder or .zip of PNG/JPEG images, or an .npz")
    if source.suffix.lower() not in readers:
        raise UsageError(f"{source}: neither a folder or .zip of PNG/JPEG images nor an .npz file")
    return readers[source.suffix.lower()](source)


def load_folder(folder: Path, size: Size | None = None) -> ImageSet:
    """Reads every PNG and JPEG of a folder, in sorted order; hidden files and other kinds are passed over.

    With a ``dataset.json`` the classes are what it says. Else sub-folders that hold images are classes (with all
    images below them), numbered in sorted order; then no image may lie beside them. Transparency is dropped. If every
    image is grey the result has one channel, otherwise three.

    Raises:
        UsageError: Not a folder, no images, images beside class folders, a ``dataset.json`` that does not fit, an
            unreadable or 16-bit image, or two images of different size; the message names the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and _is_image(path.relative_to(folder)))
    if not paths:
        raise UsageError(f"{folder}: no images found; wanted {', '.join(SUFFIXES)} files, or class folders of them")
    names = [path.relative_to(folder).as_posix() for path in paths]
    listed = folder / "dataset.json"
    if listed.is_file():
        labels = _listed_labels(read_limited(listed, _most_listed(names)), names, str(listed))
    else:
        labels = _folder_labels(names, folder)
    files = [_File(str(path), partial(read_limited, path, pictures.LARGEST_FILE)) for path in paths]
    return _read_all(files, sum(path.stat().st_size for path in paths), labels, size)


def load_zip(file: Path, size: Size | None = None) -> ImageSet:
    """Reads every PNG and JPEG of a zip in sorted order, as EDM's dataset tool packs them.

    Classes come from its ``dataset.json`` only: the folders inside such a zip are parcels, not classes.

    Raises:
        UsageError: Missing file, no images, a ``dataset.json`` that does not fit, or an image as in `load_folder`.
        DamagedError: The zip is cut off or damaged.
    """
    file = Path(file)
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    with file.open("rb") as stream:
        archive = Archive(of_stream(stream), str(file), kind="zip file", packed=True, most_members=_MOST_PICTURES)
        names = sorted(name for name in archive.names if _is_image(PurePosixPath(name)))
        if not names:
            raise UsageError(f"{file}: no images found; wanted {', '.join(SUFFIXES)} files inside")
        labels, where = None, f"{file}: dataset.json"
        if "dataset.json" in archive.names:
            if archive.size("dataset.json") > _most_listed(names):
                raise UsageError(
                    f"{where} has {archive.size('dataset.json')} bytes; no list of {len(names)} images has"
                )
            labels = _listed_labels(archive.read("dataset.json"), names, where)
        files = [_File(f"{file}: {name}", partial(_read_member, archive, name, f"{file}: {name}")) for name in names]
        return _read_all(files, file.stat().st_size, labels, size)


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
        return ImageSet(torch.from_numpy(np.array(planar, order="C")), None)
    if (
        labels.shape != (len(images),)
        or not np.issubdtype(labels.dtype, np.integer)
        or not (labels.min() >= 0 and labels.max() < _LARGEST_CLASS)
    ):
        raise UsageError(
            f"{file}: 'labels' must be {len(images)} whole numbers >= 0, got {labels.dtype} {labels.shape}"
        )
    return ImageSet(torch.from_numpy(np.array(planar, order="C")), torch.from_numpy(labels.astype(np.int64)))


def _is_image(path: PurePath) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _read_member(archive: Archive, name: str, where: str) -> bytes:
    if archive.size(name) > pictures.LARGEST_FILE:
        raise UsageError(f"{where} has {archive.size(name)} bytes; no picture that is read here is that large")
    return bytes(archive.read(name))


def _most_listed(names: Sequence[str]) -> int:
    return _LARGEST_LIST + _LIST_ROW * len(names)


def _folder_labels(names: list[str], folder: Path) -> Tensor | None:
    """The number of each file's first folder, or None when all lie at the top."""
    classes = sorted({name.split("/")[0] for name in names if "/" in name})
    loose = [name for name in names if "/" not in name]
    if loose and classes:
        raise UsageError(
            f"{folder}: holds images ({loose[0]}) and class folders ({classes[0]}) side by "
            "side; put every image in a class folder, or none"
        )
    return torch.tensor([classes.index(name.split("/")[0]) for name in names]) if classes else None


def _listed_labels(text: bytes | memoryview, names: list[str], where: str) -> Tensor | None:
    """The class of each name by a ``dataset.json``."""
    try:
        listed = json.loads(bytes(text))["labels"]
        labels = None if listed is None else {name.replace("\\", "/"): label for name, label in listed}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f'{where}: wanted {{"labels": [["name.png", class], ...]}} or {{"labels": null}}') from error
    if labels is None:
        return None
    for name in names:
        if type(label := labels.get(name)) is not int or not 0 <= label < _LARGEST_CLASS:
            raise UsageError(f"{where}: the class of {name} is {label!r}; wanted a whole number >= 0 for every image")
    return torch.tensor([labels[name] for name in names])


def _read_all(files: Sequence[_File], packed_bytes: int, labels: Tensor | None, size: Size | None) -> ImageSet:
    """Decodes the pictures into uint8 (N, C, H, W), held once; ``packed_bytes`` is what they take on the disk."""
    first = files[0].read()
    height, width = size or pictures.size(first, files[0].where)
    pixels = len(files) * height * width
    if pixels > PACKING * packed_bytes + SMALL:
        raise UsageError(
            f"{files[0].where}: {len(files)} pictures of {width} x {height} pixels are far more than {packed_bytes} "
            "bytes hold; nothing more was decoded"
        )
    images = np.empty((len(files), pictures.decode(first, files[0].where).shape[2], height, width), np.uint8)
    transparent = other = 0
    for row, file in enumerate(files):
        data = file.read()
        h, w = pictures.size(data, file.where)
        if (h, w) != (height, width) and size is None:
            raise UsageError(
                f"{file.where}: is {w} x {h} pixels but {Path(files[0].where).name} is {width} x {height}; "
                "all images must have one size"
            )
        decoded = pictures.decode(data, file.where)
        if (h, w) != (height, width):
            decoded, other = pictures.resized(decoded, height, width), other + 1
        transparent += pictures.is_transparent(data, file.where)
        if decoded.shape[2] > images.shape[1]:
            images = np.repeat(images, 3, axis=1)
        images[row] = decoded.transpose(2, 0, 1)
    said = {
        f"{other} of {len(files)} pictures are not {width} x {height}: cut to their middle and resized": other,
        f"{transparent} of {len(files)} pictures are transparent in places, which was dropped": transparent,
    }
    return ImageSet(torch.from_numpy(images), labels, tuple(line for line, number in said.items() if number))


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
