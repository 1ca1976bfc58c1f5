"""MNIST and CIFAR-10 from the files a user has: nothing is downloaded, no pickle is read.

The folder is named by the environment variable ``KOOPSTEP_DATA`` (``data`` in the working directory when unset). In it or
in a sub-folder ``mnist`` / ``cifar10``:

- MNIST: ``mnist.npz`` (``train_image, train_label, test_image, test_label`` or Keras' ``x_train, y_train, ...``), or the
  four IDX files of the authors, packed (``.gz``) or not;
- CIFAR-10: the authors' "binary version" (``cifar-10-batches-bin/`` or ``cifar-10-binary.tar.gz``), or ``train*.npz`` and
  ``test*.npz`` with ``images`` (see :func:`koopstep.formats.images.load_npz`) or ``delta`` (see :func:`_undo_delta`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from koopstep.core.environment import data_folder
from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_limited
from koopstep.formats.arrays import read_idx, read_npz
from koopstep.formats.tarballs import read_members

Split = Literal["train", "test"]
Bytes = npt.NDArray[np.uint8]

_CIFAR_ROW = 1 + 3 * 32 * 32
_CIFAR_LARGEST = 1 << 26  # bytes of a batch
_CIFAR_FILES = {"train": [f"data_batch_{n}.bin" for n in range(1, 6)], "test": ["test_batch.bin"]}
_IDX_PREFIX = {"train": "train", "test": "t10k"}


class LabelledBytes(NamedTuple):
    """Images uint8 (N, C, H, W) and classes int64 (N,)."""

    images: Bytes
    labels: npt.NDArray[np.int64]


def load_mnist(split: Split) -> LabelledBytes:
    """MNIST (LeCun, Cortes, Burges), padded from 28 to 32 pixels with paper (0): uint8 (N, 1, 32, 32).

    Raises:
        UsageError: the files are not there, or are something else.
        DamagedError: a file is cut off.
    """
    places = (data_folder(), data_folder() / "mnist")
    packed = _first(places, ["mnist.npz"])
    if packed is not None:
        arrays, _ = read_npz(packed)
        images, labels = _mnist_arrays(arrays, split, packed)
    else:
        stem = _IDX_PREFIX[split]
        image_file = _first(places, [f"{stem}-images-idx3-ubyte", f"{stem}-images-idx3-ubyte.gz"])
        label_file = _first(places, [f"{stem}-labels-idx1-ubyte", f"{stem}-labels-idx1-ubyte.gz"])
        if image_file is None or label_file is None:
            raise _missing("MNIST", "mnist.npz, or the authors' four IDX files")
        images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if images.ndim != 3 or images.shape[1:] != (28, 28) or labels.shape != (len(images),):
        raise UsageError(f"MNIST: expected images (N, 28, 28) and labels (N,), got {images.shape} and {labels.shape}")
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None]
    return LabelledBytes(padded, labels.astype(np.int64))


def load_cifar10(split: Split) -> LabelledBytes:
    """CIFAR-10 (Krizhevsky, 2009): uint8 (N, 3, 32, 32), as many images as the files hold.

    Raises:
        UsageError: the files are not there, or are something else.
        DamagedError: a file is cut off.
    """
    places = (data_folder(), data_folder() / "cifar10")
    for folder in places:
        arrays = sorted(folder.glob("train*.npz" if split == "train" else "test*.npz"))
        if arrays:
            parts = [_cifar_arrays(path) for path in arrays]
            images = np.concatenate([part.images for part in parts])
            return LabelledBytes(images, np.concatenate([part.labels for part in parts]))
        if (folder / "cifar-10-batches-bin").is_dir():
            folder = folder / "cifar-10-batches-bin"
        if (folder / _CIFAR_FILES[split][0]).is_file():
            return _cifar_rows([read_limited(folder / name, _CIFAR_LARGEST) for name in _CIFAR_FILES[split]], folder)
        if (folder / "cifar-10-binary.tar.gz").is_file():
            packed = folder / "cifar-10-binary.tar.gz"
            return _cifar_rows(read_members(packed, _CIFAR_FILES[split]), packed)
    raise _missing("CIFAR-10", "cifar-10-batches-bin/ or cifar-10-binary.tar.gz (the authors' binary version)")


def _missing(name: str, wanted: str) -> UsageError:
    return UsageError(
        f"no {name} in {data_folder().absolute()}: put {wanted} there, or name another folder with KOOPSTEP_DATA=FOLDER"
    )


def _first(folders: tuple[Path, ...], names: list[str]) -> Path | None:
    candidates = (folder / name for folder in folders for name in names)
    return next((path for path in candidates if path.is_file()), None)


def _mnist_arrays(
    arrays: dict[str, npt.NDArray[np.generic]], split: Split, path: Path
) -> tuple[Bytes, npt.NDArray[np.generic]]:
    for image_key, label_key in ((f"{split}_image", f"{split}_label"), (f"x_{split}", f"y_{split}")):
        if image_key in arrays and label_key in arrays:
            return arrays[image_key].astype(np.uint8), arrays[label_key]
    raise UsageError(f"{path}: expected arrays {split}_image and {split}_label, found {', '.join(arrays) or 'none'}")


def _cifar_rows(files: list[bytes], where: Path) -> LabelledBytes:
    """Rows of one class byte and 3,072 bytes of planar RGB."""
    if any(len(raw) % _CIFAR_ROW or not raw for raw in files):
        raise DamagedError(f"{where}: a batch is cut off, or is not of CIFAR-10's binary version")
    rows = np.concatenate([np.frombuffer(raw, np.uint8).reshape(-1, _CIFAR_ROW) for raw in files])
    if rows[:, 0].max() > 9:
        raise DamagedError(f"{where}: a class above 9; this is not CIFAR-10's binary version")
    return LabelledBytes(rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].astype(np.int64))


def _cifar_arrays(path: Path) -> LabelledBytes:
    arrays, _ = read_npz(path)
    images = arrays.get("images")
    if images is None and "delta" in arrays:
        images = _undo_delta(arrays["delta"].astype(np.uint8))
    labels = arrays.get("labels", arrays.get("label"))
    if images is None or labels is None or images.ndim != 4 or labels.shape != (len(images),):
        raise UsageError(f"{path}: expected 'images' and 'labels' of CIFAR-10, found {', '.join(arrays) or 'nothing'}")
    planar = images if images.shape[1] == 3 else images.transpose(0, 3, 1, 2)
    if planar.shape[1:] != (3, 32, 32) or planar.dtype != np.uint8:
        raise UsageError(f"{path}: expected uint8 images of 32 x 32 RGB, got {images.dtype} {images.shape}")
    return LabelledBytes(planar.astype(np.uint8, copy=False), labels.astype(np.int64))


def _undo_delta(delta: Bytes) -> Bytes:
    """Lossless difference coding (N, 3, H, W): red and blue minus green, then each pixel minus its left one, modulo 256."""
    images = np.cumsum(delta, axis=-1, dtype=np.uint8)
    images[:, 0] += images[:, 1]
    images[:, 2] += images[:, 1]
    return images
