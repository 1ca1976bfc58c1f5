"""Where a teacher's training data comes from: built-in sets by name, anything else by path.

To add a built-in one: a function and a line in :data:`SOURCES`.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from koopstep.core.environment import data_folder
from koopstep.core.errors import UsageError
from koopstep.core.files import sha256_bytes
from koopstep.core.noise import stream_seed
from koopstep.core.pixels import PLAIN, DataRange, from_bytes, from_plain_range
from koopstep.data import checkerboard, digits, standard
from koopstep.data.batches import BatchStream
from koopstep.data.cells import Cells
from koopstep.formats import images
from koopstep.teachers.base import TrainingData


class DataSource(ABC):
    """Data by (seed, step), and as a whole for reference.

    Attributes:
        name: what reports call it.
        shape: of one sample.
        num_classes: 0 without labels.
        cells: the parts of the plane that it fills, where it has any: its own metric and colours.
    """

    name: str
    shape: tuple[int, ...]
    num_classes: int
    cells: Cells | None = None

    @abstractmethod
    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor | None]:
        """The global batch of a step: (B, *shape) float32 and (B,) int64 or None."""

    @abstractmethod
    def reference(self, count: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Real data to compare with: all of it, or fresh samples where there is no end of them."""

    def sha256(self) -> str:
        """Digest of the reference data."""
        data, _ = self.reference()
        return sha256_bytes(data.contiguous().numpy().tobytes())

    def identity(self) -> TrainingData:
        """The record that a teacher keeps of it."""
        return TrainingData(name=self.name, sha256=self.sha256(), shape=self.shape, num_classes=self.num_classes)


class Checkerboard(DataSource):
    """The 4 x 4 checkerboard; every batch is fresh."""

    name, shape, num_classes, cells = "checkerboard", (2,), 0, checkerboard.CELLS

    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor | None]:
        rows = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
        return checkerboard.sample(stream_seed("checkerboard", seed), rows), None

    def reference(self, count: int | None = None) -> tuple[Tensor, Tensor | None]:
        return checkerboard.sample(stream_seed("checkerboard-reference"), count or 20_000), None


class FixedSet(DataSource):
    """A finite set, reshuffled each epoch. Bytes (uint8) stay bytes in memory and become [-1, 1] when asked for."""

    def __init__(self, name: str, data: Tensor, labels: Tensor | None) -> None:
        self.name, self.shape = name, tuple(data.shape[1:])
        self.num_classes = 0 if labels is None else int(labels.max()) + 1
        self._data, self._labels = data, labels
        self._stream = lru_cache(maxsize=4)(self._make_stream)  # a stream keeps its epochs' orders

    def _make_stream(self, batch_size: int, seed: int) -> BatchStream:
        return BatchStream(np.arange(len(self._data), dtype=np.int64), batch_size, seed)

    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor | None]:
        rows = self._stream(batch_size, seed).indices(step)
        return scaled(self._data[rows]), None if self._labels is None else self._labels[rows]

    def reference(self, count: int | None = None) -> tuple[Tensor, Tensor | None]:
        return scaled(self._data[:count]), None if self._labels is None else self._labels[:count]

    def sha256(self) -> str:
        return sha256_bytes(self._data.contiguous().numpy().tobytes())


class _InRange(DataSource):
    """Images of another source, which are in [-1, 1], in another range."""

    def __init__(self, source: DataSource, data_range: DataRange) -> None:
        self.name, self.shape, self.num_classes, self.cells = (
            source.name,
            source.shape,
            source.num_classes,
            source.cells,
        )
        self._source, self._range = source, data_range

    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor | None]:
        data, labels = self._source.batch(seed, step, batch_size)
        return from_plain_range(data, self._range), labels

    def reference(self, count: int | None = None) -> tuple[Tensor, Tensor | None]:
        data, labels = self._source.reference(count)
        return from_plain_range(data, self._range), labels

    def sha256(self) -> str:
        return self._source.sha256()


def in_range(source: DataSource, data_range: DataRange | None) -> DataSource:
    """The source in a teacher's units: images, which every source has in [-1, 1], in ``data_range``; other data as it is."""
    if data_range is None or data_range == PLAIN or len(source.shape) != 3:
        return source
    return _InRange(source, data_range)


def scaled(data: Tensor) -> Tensor:
    """Bytes as float32 in [-1, 1] (byte / 127.5 - 1); floats as they are."""
    return from_bytes(data) if data.dtype == torch.uint8 else data


def _digits() -> DataSource:
    loaded = digits.load()
    return FixedSet("digits", loaded.images, loaded.labels)


def _standard(name: str, loaded: standard.LabelledBytes) -> DataSource:
    return FixedSet(name, torch.from_numpy(loaded.images), torch.from_numpy(loaded.labels))


SOURCES: dict[str, Callable[[], DataSource]] = {
    "checkerboard": Checkerboard,
    "digits": _digits,
    "mnist": lambda: _standard("mnist", standard.load_mnist("train")),
    "mnist-test": lambda: _standard("mnist-test", standard.load_mnist("test")),
    "cifar10": lambda: _standard("cifar10", standard.load_cifar10("train")),
    "cifar10-test": lambda: _standard("cifar10-test", standard.load_cifar10("test")),
}
"""Name -> how to get it. Training and test images have different names, so that no number mixes them up."""


def load_source(name_or_path: str) -> DataSource:
    """A built-in set by name; a folder or zip of images or an ``.npz`` by path, also below ``$KOOPSTEP_DATA``.

    Raises:
        UsageError: if it is neither, or the files cannot be used.
        DamagedError: if a file is cut off.
    """
    if name_or_path in SOURCES:
        return SOURCES[name_or_path]()
    path = find_path(name_or_path)
    loaded = images.load(path)
    say_changed(path.name, loaded.changed)
    return FixedSet(path.name, loaded.images, loaded.labels)


def find_path(name: str) -> Path:
    """A file or folder, here or below ``$KOOPSTEP_DATA``.

    Raises:
        UsageError: there is none.
    """
    candidates = (Path(name), data_folder() / name)
    path = next((path for path in candidates if path.exists()), None)
    if path is None:
        raise UsageError(
            f"no data {name!r}: neither built in ({', '.join(SOURCES)}) nor a path here or below "
            f"{data_folder().absolute()} (KOOPSTEP_DATA=FOLDER names another)"
        )
    return path


def say_changed(name: str, changed: Iterable[str]) -> None:
    """Warn of what was done to data beyond reading it."""
    for line in changed:
        warnings.warn(f"{name}: {line}", UserWarning, stacklevel=3)
