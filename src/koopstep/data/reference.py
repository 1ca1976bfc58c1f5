"""Real data that a user gives to compare samples with: read, brought to the teacher's shape, checked; what is done is said."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.pixels import DataRange, in_plain_range
from koopstep.data.sources import SOURCES, DataSource, FixedSet, find_path, say_changed
from koopstep.formats import images
from koopstep.formats.arrays import map_npy, read_npz

RealData = str | os.PathLike[str] | Tensor | npt.NDArray[Any]
"""A built-in set's name, a path (folder or ``.zip`` of pictures, ``.npz``, ``.npy``), or the numbers themselves."""

_DATA_NAMES, _LABEL_NAMES = ("images", "data", "samples", "arr_0"), ("labels", "class_labels", "label")
# shares of the range: how far beyond it numbers may go, how far noise may carry them, how much of it they should fill
_BEYOND, _TAILS, _FILLED = 0.05, 0.5, 0.6


class Kind(Protocol):
    """What the data of a teacher or student are; teachers, their identities and students' facts all say it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def data_range(self) -> DataRange | None: ...


class _Found(NamedTuple):
    """Rows as they were found: bytes or floats (N, ...), and classes int64 (N,) or None.

    ``channels_last`` tells that they may be, as of the ``images`` of an ``.npz``: then it need not be said.
    """

    name: str
    rows: npt.NDArray[Any]
    labels: npt.NDArray[np.int64] | None = None
    channels_last: bool = False


def load_reference(given: RealData, kind: Kind, num_classes: int = 0) -> DataSource:
    """Real data to compare a teacher's and its students' samples with.

    Pictures of a folder or zip that have another size are cut to their middle and resized. Bytes (uint8) are pictures from
    black to white; floats are taken to be in the teacher's own units. Arrays of pictures may have their channels last.
    Whatever is done to the data is said in a warning.

    Args:
        given: what the user gave.
        kind: of the teacher's data, or the student's.
        num_classes: of the data that the teacher learned from, where it has none itself.

    Raises:
        UsageError: it cannot be read, or is of another shape, range or number of classes.
        DamagedError: a file is damaged.

    Warns:
        UserWarning: for everything that was done to the data, and for numbers that fill little of the teacher's range.
    """
    try:
        source = _load(given, kind)
    except OSError as error:  # a file went away, or may not be read
        raise UsageError(f"the reference {given} cannot be read: {error}") from error
    if source.shape != tuple(kind.shape):
        raise UsageError(
            f"the reference {source.name!r} has shape {source.shape}, the samples have {tuple(kind.shape)}; name data of the "
            "same shape"
        )
    classes = kind.num_classes or num_classes
    if classes and source.num_classes not in (0, classes):
        raise UsageError(
            f"the reference {source.name!r} has {source.num_classes} classes, the student's data {classes}; name other "
            "data with --reference"
        )
    return source


def _load(given: RealData, kind: Kind) -> DataSource:
    if isinstance(given, Tensor | np.ndarray):
        return _as_source(_Found("tensor" if isinstance(given, Tensor) else "array", numbers(given)), kind)
    name = os.fspath(given)
    if name in SOURCES:
        return _not_latents(SOURCES[name](), kind)
    path = find_path(name)
    if path.is_dir() or path.suffix.lower() == ".zip":
        wanted = (kind.shape[1], kind.shape[2]) if len(kind.shape) == 3 else None
        loaded = images.load(path, wanted)
        say_changed(path.name, loaded.changed)
        return _not_latents(FixedSet(path.name, loaded.images, loaded.labels), kind)
    if path.suffix.lower() == ".npy":
        return _as_source(_Found(path.name, map_npy(path, bytes_too=True)), kind)
    if path.suffix.lower() == ".npz":
        return _as_source(_of_npz(path.name, read_npz(path)[0]), kind)
    raise UsageError(f"{path}: give a folder or .zip of PNG/JPEG pictures, an .npz or a .npy file")


def numbers(given: Tensor | npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A tensor or an array as an array; numpy knows no bfloat16, which becomes float32."""
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        return (given.float() if given.dtype == torch.bfloat16 else given).numpy()
    return given


def _not_latents(source: DataSource, kind: Kind) -> DataSource:
    if len(kind.shape) == 3 and kind.data_range is None and len(source.shape) == 3:
        raise UsageError(
            f"the reference {source.name!r} holds images and the student makes none (its data_range is None); give its "
            "own kind of numbers as an array of floats"
        )
    return source


def _of_npz(name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> _Found:
    labelled = next((key for key in _LABEL_NAMES if key in arrays), None)
    others = [key for key in arrays if key != labelled]
    key = next((key for key in _DATA_NAMES if key in arrays), others[0] if len(others) == 1 else None)
    if key is None:
        found = ", ".join(arrays) or "nothing"
        raise UsageError(
            f"{name}: no array 'images' or 'data' inside (found {found}); save it as np.savez(f, data=...)"
        )
    labels = None if labelled is None else _labels(name, arrays[labelled], len(arrays[key]))
    return _Found(name, arrays[key], labels, key == "images")


def _labels(name: str, labels: npt.NDArray[Any], rows: int) -> npt.NDArray[np.int64]:
    whole = labels.dtype.kind in "iu" and labels.shape == (rows,) and rows > 0
    if not whole or labels.min() < 0 or labels.max() >= 1 << 31:
        raise UsageError(f"{name}: labels must be {rows} whole numbers >= 0, got {labels.dtype} {labels.shape}")
    return labels.astype(np.int64)


def _as_source(found: _Found, kind: Kind) -> DataSource:
    rows, said = _arranged(found, tuple(kind.shape))
    data = torch.from_numpy(np.array(rows, order="C", dtype=None if rows.dtype == np.uint8 else np.float32))
    if len(data) < 2:
        raise UsageError(f"the reference {found.name!r} has {len(data)} row(s); at least 2 are compared with")
    is_image = len(kind.shape) == 3 and kind.data_range is not None
    if data.dtype == torch.uint8 and not is_image:
        raise UsageError(f"the reference {found.name!r} holds bytes, and the samples are no pictures; give floats")
    if data.is_floating_point():
        if not bool(torch.isfinite(data).all()):
            raise UsageError(f"the reference {found.name!r} holds NaN or infinity")
        if is_image and kind.data_range is not None:
            said += _check_range(found.name, data, kind.data_range)
            data = in_plain_range(data, kind.data_range)  # as every source has images
    say_changed(found.name, said)
    return FixedSet(found.name, data, None if found.labels is None else torch.from_numpy(found.labels))


def _arranged(found: _Found, shape: tuple[int, ...]) -> tuple[npt.NDArray[Any], list[str]]:
    """The rows as (N, *shape), and what was done for that."""
    rows, each = found.rows, found.rows.shape[1:]
    if rows.dtype.kind != "f" and rows.dtype != np.uint8:
        raise UsageError(f"the reference {found.name!r} holds {rows.dtype}; give floats, or bytes (uint8) of pictures")
    if each == shape:
        return rows, []
    if len(shape) == 3 and each == (*shape[1:], shape[0]):
        said = [] if found.channels_last or shape[0] == 1 else [f"{rows.shape} is taken as (N, H, W, C), channels last"]
        return np.moveaxis(rows, -1, 1), said
    if shape[0] == 1 and each == shape[1:]:
        return rows[:, None], []
    wanted = f"(N, {', '.join(map(str, shape))})"
    last = f" or, channels last, (N, {', '.join(map(str, (*shape[1:], shape[0])))})" if len(shape) == 3 else ""
    raise UsageError(f"the reference {found.name!r} has shape {rows.shape}, wanted {wanted}{last}")


def _check_range(name: str, data: Tensor, data_range: DataRange) -> list[str]:
    (low, high), least, most = data_range, float(data.min()), float(data.max())
    size = high - low
    if least < low - _BEYOND * size or most > high + _BEYOND * size:
        tails = least > low - _TAILS * size and most < high + _TAILS * size
        way = (
            f"if those are the tails of noise in it, cut them off with x.clip({low:g}, {high:g}); else "
            if tails
            else ""
        )
        raise UsageError(
            f"the reference {name!r} has numbers from {least:.3g} to {most:.3g}, the teacher's images go from {low:g} to "
            f"{high:g}; {way}bring them to that range, give bytes (uint8), or make the teacher with the data_range that its "
            "images have"
        )
    if most - least >= _FILLED * size:
        return []
    return [
        f"its numbers go from {least:.3g} to {most:.3g}, the teacher's images from {low:g} to {high:g}; are they in another "
        "range?"
    ]
