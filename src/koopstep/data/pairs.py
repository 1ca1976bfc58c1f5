"""The pairs that the published KDM code reads: a folder with one `.npz` for each pair.

| layout | key | noise | data | labels |
|---|---|---|---|---|
| `kdm-cifar10` | `arr_0` | first | last | |
| `kdm-cifar10-fm` | `arr1` | last | first | |
| `kdm-cifar10-cond` | `endpoints` | last | first | `label`, one-hot |
| `kdm-ffhq` | `arr_0` | last | first | |

The first axis of an array runs along the path; source: azencot-group/KDM at fe1c515.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from koopstep.core.errors import UsageError
from koopstep.data.statistics import NumberStatistics
from koopstep.formats.arrays import read_npz

LayoutName = Literal["auto", "kdm-cifar10", "kdm-cifar10-fm", "kdm-cifar10-cond", "kdm-ffhq"]
Array = npt.NDArray[np.floating]
_PROBED_FILES = 64


@dataclass(frozen=True)
class _Layout:
    key: str
    noise_first: bool
    labelled: bool = False


_LAYOUTS: dict[str, _Layout] = {
    "kdm-cifar10": _Layout("arr_0", noise_first=True),
    "kdm-cifar10-fm": _Layout("arr1", noise_first=False),
    "kdm-cifar10-cond": _Layout("endpoints", noise_first=False, labelled=True),
    "kdm-ffhq": _Layout("arr_0", noise_first=False),
}


@dataclass(frozen=True)
class _Pair:
    ends: Array  # (2, *shape): noise, data
    label: Array | None  # one-hot
    sha256: str


class PairFolder:
    """A folder of pairs, all of which have been read and checked once.

    Args:
        folder: holds the `.npz` files; sorted by name they are the rows.
        layout: one of the layouts above; `auto` goes by key, and where two layouts share a key by which end
            looks like noise.

    Attributes:
        layout: the layout that was chosen.
        sha256: digest of all names and contents.
        count: number of pairs.
        shape: shape of one sample.
        num_classes: 0 without labels.
        noise, data: moments of the two ends.

    Raises:
        UsageError: no pairs, a missing key, contradicting shapes, NaN, or an unclear layout.
        DamagedError: a file is damaged.
    """

    def __init__(self, folder: Path, layout: LayoutName) -> None:
        if layout != "auto" and layout not in _LAYOUTS:
            raise UsageError(f"unknown layout '{layout}'; allowed: auto, {', '.join(_LAYOUTS)}")
        self._files = sorted(folder.glob("*.npz"))
        if not self._files:
            raise UsageError(f"{folder}: no .npz files inside; give a folder with one .npz for each pair")
        self.layout: str = _detect(self._files) if layout == "auto" else layout
        self._layout = _LAYOUTS[self.layout]
        self.count = len(self._files)
        first = _read(self._files[0], self._layout)
        self.shape = first.ends.shape[1:]
        self.num_classes = 0 if first.label is None else len(first.label)
        self.noise, self.data = NumberStatistics(), NumberStatistics()
        self.sha256 = self._read_all()
        if self.data.looks_like_noise() and not self.noise.looks_like_noise():
            raise UsageError(f"{folder}: with layout '{self.layout}' the data end looks like noise; name another")

    def _read_all(self) -> str:
        digest = hashlib.sha256()
        for file in self._files:
            pair = _read(file, self._layout)
            if pair.ends.shape[1:] != self.shape:
                raise UsageError(f"{file}: shape {pair.ends.shape[1:]} differs from {self.shape} of the first pair")
            if pair.label is not None and len(pair.label) != self.num_classes:
                raise UsageError(f"{file}: {len(pair.label)} classes, but {self.num_classes} in the first pair")
            digest.update(f"{file.name!r}: {pair.sha256}\n".encode())
            self.noise.add(pair.ends[0])
            self.data.add(pair.ends[1])
        return digest.hexdigest()

    def read(self, start: int, stop: int) -> tuple[Array, npt.NDArray[np.int64] | None]:
        """The pairs of rows [start, stop): states (2, B, *shape), and class labels (B,) or None."""
        pairs = [_read(file, self._layout) for file in self._files[start:stop]]
        states = np.stack([pair.ends for pair in pairs], axis=1)
        labels = [int(np.argmax(pair.label)) for pair in pairs if pair.label is not None]
        return states, np.asarray(labels, dtype=np.int64) if labels else None


def _read(file: Path, layout: _Layout) -> _Pair:
    arrays, digest = read_npz(file)
    if layout.key not in arrays:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise UsageError(f"{file}: no array '{layout.key}' inside (found {found})")
    path = arrays[layout.key]
    if path.ndim == 5 and path.shape[1] == 1:
        path = path[:, 0]  # saved with a batch of one
    if path.ndim < 2 or len(path) < 2 or 0 in path.shape or path.dtype.kind != "f":
        wanted = "floats of shape (states, *shape) with at least 2 states"
        raise UsageError(f"{file}: '{layout.key}' must be {wanted}, got {path.dtype} {path.shape}")
    ends = np.asarray(path[[0, -1]] if layout.noise_first else path[[-1, 0]], dtype=np.float64)
    if not np.isfinite(ends).all():
        raise UsageError(f"{file}: '{layout.key}' holds NaN or infinity")
    return _Pair(ends, _one_hot(file, arrays) if layout.labelled else None, digest)


def _one_hot(file: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Array:
    label = arrays.get("label", np.zeros(0)).reshape(-1)
    if label.dtype.kind in "fiub" and len(label) >= 2:
        values = np.asarray(label, dtype=np.float64)
        if np.count_nonzero(values) == 1 and values.sum() == 1.0:
            return values
    raise UsageError(f"{file}: 'label' must be a one-hot vector of at least 2 classes")


def _detect(files: list[Path]) -> str:
    keys = set(read_npz(files[0])[0])
    possible = [name for name, layout in _LAYOUTS.items() if layout.key in keys]
    if not possible:
        known = ", ".join(sorted({layout.key for layout in _LAYOUTS.values()}))
        raise UsageError(f"{files[0]}: holds {', '.join(sorted(keys)) or 'nothing'}; wanted one of {known}")
    if len(possible) == 1:
        return possible[0]
    fitting = [name for name in possible if _noise_fits(files[:_PROBED_FILES], _LAYOUTS[name])]
    if len(fitting) != 1:
        choice = " or ".join(possible)
        raise UsageError(f"{files[0].parent}: cannot tell which end is the noise; name the layout: {choice}")
    return fitting[0]


def _noise_fits(files: list[Path], layout: _Layout) -> bool:
    noise, data = NumberStatistics(), NumberStatistics()
    for file in files:
        pair = _read(file, layout)
        noise.add(pair.ends[0])
        data.add(pair.ends[1])
    return noise.looks_like_noise() and not data.looks_like_noise()
