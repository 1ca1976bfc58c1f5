"""Where a teacher's training data comes from: built-in sets by name, anything else by path.

To add a built-in one: a function and a line in :data:`SOURCES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.files import sha256_bytes
from koopstep.core.noise import stream_seed
from koopstep.data import checkerboard, digits, images
from koopstep.data.batches import BatchStream


class DataSource(ABC):
    """Data by (seed, step), and as a whole for reference.

    Attributes:
        name: what reports call it.
        shape: of one sample.
        num_classes: 0 without labels.
    """

    name: str
    shape: tuple[int, ...]
    num_classes: int

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


class Checkerboard(DataSource):
    """The 4 x 4 checkerboard; every batch is fresh."""

    name, shape, num_classes = "checkerboard", (2,), 0

    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor | None]:
        rows = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
        return checkerboard.sample(stream_seed("checkerboard", seed), rows), None

    def reference(self, count: int | None = None) -> tuple[Tensor, Tensor | None]:
        return checkerboard.sample(stream_seed("checkerboard-reference"), count or 20_000), None


class FixedSet(DataSource):
    """A finite set, reshuffled each epoch."""

    def __init__(self, name: str, data: Tensor, labels: Tensor | None) -> None:
        self.name, self.shape = name, tuple(data.shape[1:])
        self.num_classes = 0 if labels is None else int(labels.max()) + 1
        self._data, self._labels = data, labels
        self._stream = lru_cache(maxsize=4)(self._make_stream)  # a stream keeps its epochs' orders

    def _make_stream(self, batch_size: int, seed: int) -> BatchStream:
        return BatchStream(np.arange(len(self._data), dtype=np.int64), batch_size, seed)

    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor | None]:
        rows = self._stream(batch_size, seed).indices(step)
        return self._data[rows], None if self._labels is None else self._labels[rows]

    def reference(self, count: int | None = None) -> tuple[Tensor, Tensor | None]:
        return self._data[:count], None if self._labels is None else self._labels[:count]


def _digits() -> DataSource:
    loaded = digits.load()
    return FixedSet("digits", loaded.images, loaded.labels)


SOURCES: dict[str, Callable[[], DataSource]] = {"checkerboard": Checkerboard, "digits": _digits}


def load_source(name_or_path: str) -> DataSource:
    """A built-in set by name, a folder of images or an ``.npz`` by path.

    Raises:
        UsageError: if it is neither, or the files cannot be used.
    """
    if name_or_path in SOURCES:
        return SOURCES[name_or_path]()
    path = Path(name_or_path)
    if not path.exists():
        raise UsageError(f"no data {name_or_path!r}: neither a path nor built in ({', '.join(SOURCES)})")
    loaded = images.load(path)
    return FixedSet(path.name, loaded.images, loaded.labels)
