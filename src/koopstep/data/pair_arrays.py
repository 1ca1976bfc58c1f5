"""Pairs and paths in arrays: of files with named arrays, of FastGen's tars, or given in Python; looked through once."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.files import sha256_file
from koopstep.core.pixels import DataRange, from_bytes
from koopstep.data.reference import numbers
from koopstep.data.statistics import NumberStatistics
from koopstep.formats.arrays import map_npy
from koopstep.formats.tarballs import read_samples
from koopstep.formats.torch_files import load_state_dict, load_tensor

Array = npt.NDArray[Any]
Numbers = Tensor | Array
PairSource = str | os.PathLike[str] | Numbers | Sequence[Numbers] | Mapping[str, Numbers]
"""A path; an array of paths (states, N, *shape); ``(noise, data)`` or ``(noise, data, class_labels)``; or these by name."""

_NAMES = {
    "noise": ("noise", "x_T"),
    "data": ("data", "x_0", "images"),
    "class_labels": ("class_labels", "labels", "label"),
}
_CHECKED_ROWS = 4096
_COLOURS = (1, 3, 4)  # channels that a last axis of pictures may be
_FASTGEN = {"noise": "noise.pth", "data": "latent.pth"}


class PathArrays:
    """States of paths in arrays, noise first and data last; all are looked through once.

    Args:
        where: what messages call them.
        layout: how they were laid out, for reports.
        states: at least two arrays (N, *shape) of floats; the last may be bytes (uint8) of pictures. Channels may be last.
        labels: whole numbers (N,), or one-hot (N, classes).
        sha256: of the file; made of the numbers where None.
        data_range: what the bytes of pictures become.

    Attributes:
        count, shape, num_classes: of the rows.
        noise, data: moments of the two ends.

    Raises:
        UsageError: shapes that contradict each other, NaN, ends that look swapped or are the same.

    Warns:
        UserWarning: for what was done to the arrays, and where the noise is not as paths usually begin.
    """

    def __init__(
        self,
        where: str,
        layout: str,
        states: Sequence[Array],
        labels: Array | None = None,
        sha256: str | None = None,
        data_range: DataRange | None = None,
    ) -> None:
        self._where, self.layout = where, layout
        self._check_shapes(states)
        self.sha256 = sha256 or _digest([*states, *([labels] if labels is not None else [])])
        self._states = self._floats([*states], data_range)
        self.count, self.shape = len(self._states[0]), self._states[0].shape[1:]
        self._labels, self.num_classes = self._classes(labels)
        self.noise, self.data = NumberStatistics(), NumberStatistics()
        self._look_through()

    def read(self, start: int, stop: int) -> tuple[Array, npt.NDArray[np.int64] | None]:
        """The states (K, B, *shape) of rows [start, stop), and class labels (B,) or None."""
        return np.stack([state[start:stop] for state in self._states]), (
            None if self._labels is None else self._labels[start:stop]
        )

    def _check_shapes(self, states: Sequence[Array]) -> None:
        shapes = [state.shape for state in states]
        if len(states) < 2 or len(shapes[0]) < 2 or 0 in shapes[0]:
            wanted = (
                "an array of shape (states, rows, *shape) with at least 2 states, or noise and data of (rows, *shape)"
            )
            raise UsageError(
                f"{self._where}: expected {wanted}, got {(len(states), *shapes[0]) if shapes else 'nothing'}"
            )
        if len(set(shapes)) > 1:
            raise UsageError(f"{self._where}: noise and data must have one shape, got {shapes[0]} and {shapes[-1]}")
        for state in states[:-1]:
            if state.dtype.kind != "f":
                raise UsageError(f"{self._where}: the noise must be floats, got {state.dtype}")
        if states[-1].dtype.kind != "f" and states[-1].dtype != np.uint8:
            raise UsageError(
                f"{self._where}: the data must be floats, or bytes (uint8) of pictures, got {states[-1].dtype}"
            )

    def _floats(self, states: list[Array], data_range: DataRange | None) -> list[Array]:
        shape = states[0].shape
        if states[-1].dtype == np.uint8:
            if data_range is None:
                raise UsageError(
                    f"{self._where}: the data are bytes (uint8), and data_range=None says that they are no pictures"
                )
            self._say(f"the data are bytes; 0 to 255 become {data_range[0]:g} to {data_range[1]:g}")
            states[-1] = from_bytes(torch.from_numpy(np.array(states[-1])), data_range).numpy()
        if len(shape) == 4 and shape[3] in _COLOURS and shape[1] not in _COLOURS and shape[1] == shape[2]:
            self._say(f"{shape} is taken as (N, H, W, C), channels last")
            states = [np.moveaxis(state, -1, 1) for state in states]
        return states

    def _classes(self, labels: Array | None) -> tuple[npt.NDArray[np.int64] | None, int]:
        if labels is None:
            return None, 0
        if labels.ndim == 2 and len(labels) == self.count and labels.shape[1] > 1:
            one_hot = np.asarray(labels, dtype=np.float64)
            if not (np.count_nonzero(one_hot, axis=1) == 1).all() or not (one_hot.sum(axis=1) == 1).all():
                raise UsageError(f"{self._where}: class labels of shape {labels.shape} must be one-hot")
            return np.argmax(one_hot, axis=1), labels.shape[1]
        if (
            labels.shape != (self.count,)
            or labels.dtype.kind not in "iu"
            or labels.min() < 0
            or labels.max() >= 1 << 31
        ):
            raise UsageError(
                f"{self._where}: class labels must be {self.count} whole numbers >= 0, or one-hot, got {labels.dtype} "
                f"{labels.shape}"
            )
        return labels.astype(np.int64), int(labels.max()) + 1

    def _look_through(self) -> None:
        for start in range(0, self.count, _CHECKED_ROWS):
            for state in self._states:
                if not np.isfinite(state[start : start + _CHECKED_ROWS]).all():
                    raise UsageError(f"{self._where}: holds NaN or infinity within {_CHECKED_ROWS} rows from {start}")
            self.noise.add(self._states[0][start : start + _CHECKED_ROWS])
            self.data.add(self._states[-1][start : start + _CHECKED_ROWS])
        if self.data.looks_like_noise() and not self.noise.looks_like_noise():
            raise UsageError(
                f"{self._where}: the last state looks like noise; swap them (reverse the first axis): state 0 is noise, the "
                "last one data"
            )
        if self.noise.std > 0 and np.array_equal(self._states[0], self._states[-1]):
            raise UsageError(
                f"{self._where}: the first and the last state are the same numbers; state 0 is noise, the last one data"
            )
        if len(self._states) > self.count:
            self._say(
                f"{len(self._states)} states of {self.count} rows; if it is the other way round, swap the first two axes"
            )

    def _say(self, line: str) -> None:
        warnings.warn(f"{self._where}: {line}", UserWarning, stacklevel=6)


def _digest(arrays: Iterable[Array]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def open_npy(path: Path) -> PathArrays:
    """An array of paths (states, N, *shape), which stays on the disk."""
    array = map_npy(path)
    return PathArrays(str(path), "npy", list(array) if array.ndim else [], sha256=sha256_file(path))


def open_named(path: Path, data_range: DataRange | None) -> PathArrays:
    """Arrays ``noise`` and ``data`` (N, *shape), and perhaps ``class_labels``, of an ``.npz``, safetensors or torch file."""
    return _named(str(path), load_state_dict(path), sha256_file(path), data_range)


def of_python(source: Numbers | Sequence[Numbers] | Mapping[str, Numbers], data_range: DataRange | None) -> PathArrays:
    """What was given in Python; see `PairSource`."""
    if isinstance(source, Mapping):
        return _named("the pairs", source, None, data_range)
    if isinstance(source, Tensor | np.ndarray):
        return PathArrays("the paths", "paths", list(numbers(source)) if source.ndim else [], data_range=data_range)
    parts = [*source]
    if len(parts) not in (2, 3) or not all(isinstance(part, Tensor | np.ndarray) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts[:4])
        raise UsageError(
            f"give pairs as (noise, data) or (noise, data, class_labels), arrays of one length; got ({kinds})"
        )
    noise, data, *labels = (numbers(part) for part in parts)
    return PathArrays("the pairs", "pairs", [noise, data], labels[0] if labels else None, data_range=data_range)


def _named(where: str, arrays: Mapping[str, Numbers], sha256: str | None, data_range: DataRange | None) -> PathArrays:
    found = {part: next((name for name in names if name in arrays), None) for part, names in _NAMES.items()}
    noise, data, labels = found["noise"], found["data"], found["class_labels"]
    if noise is None or data is None:
        have = ", ".join(map(str, arrays)) or "nothing"
        raise UsageError(
            f"{where}: wanted arrays 'noise' and 'data' of shape (N, *shape), and perhaps 'class_labels'; found {have}"
        )
    ends = [numbers(arrays[noise]), numbers(arrays[data])]
    return PathArrays(where, "pairs", ends, None if labels is None else numbers(arrays[labels]), sha256, data_range)


def open_fastgen(paths: Sequence[Path]) -> PathArrays:
    """Pairs of FastGen's WebDataset tars: members ``KEY.latent.pth`` (data) and ``KEY.noise.pth``; nothing is unpickled."""
    ends: dict[str, list[Array]] = {"noise": [], "data": []}
    digest, where = hashlib.sha256(), str(paths[0] if len(paths) == 1 else paths[0].parent)
    for path in paths:
        digest.update(sha256_file(path).encode())
        for key, members in read_samples(path, tuple(_FASTGEN.values())):
            for part, suffix in _FASTGEN.items():
                if suffix not in members:
                    raise UsageError(
                        f"{path}: {key!r} has no {suffix}; wanted pairs, KEY.noise.pth and KEY.latent.pth (whole paths in "
                        "KEY.path.pth are not read)"
                    )
                ends[part].append(numbers(load_tensor(members[suffix], f"{path} ({key}.{suffix})").float()))
    if len({array.shape for arrays in ends.values() for array in arrays}) != 1:
        raise UsageError(f"{where}: wanted pairs of one shape, KEY.noise.pth and KEY.latent.pth; found others, or none")
    return PathArrays(where, "fastgen", [np.stack(ends["noise"]), np.stack(ends["data"])], sha256=digest.hexdigest())
