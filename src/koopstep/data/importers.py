"""Paths made by other programs, brought into a store. No pickle is opened: arrays are plain numbers.

Read are folders of KDM pairs (`koopstep.data.pairs` lists the layouts), of which the two ends are kept, and
bare `.npy` arrays of shape (states, rows, *shape) with state 0 = noise, of which all states are kept and
taken as evenly spaced in progress.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from koopstep.core.errors import UsageError
from koopstep.core.files import sha256_file
from koopstep.core.pixels import PLAIN, DataRange
from koopstep.data.manifest import Manifest, default_unit_size
from koopstep.data.pairs import Array, LayoutName, PairFolder
from koopstep.data.probe import wrong_facts
from koopstep.data.statistics import NumberStatistics
from koopstep.data.writer import StoreWriter
from koopstep.formats.arrays import map_npy
from koopstep.teachers.base import TeacherIdentity

_CHECKED_ROWS = 4096
_LOOKED_AT = 512  # rows of which the range is compared with what is said of it


@dataclass(frozen=True)
class ImportReport:
    """What was imported: the layout that was chosen, the rows, the measured scales, and the store's root."""

    layout: str
    count: int
    noise_scale: float
    data_scale: float
    root: str


class _Source(Protocol):
    """Paths that have been checked: see `PairFolder`."""

    layout: str
    sha256: str
    count: int
    shape: tuple[int, ...]
    num_classes: int
    noise: NumberStatistics
    data: NumberStatistics

    def read(self, start: int, stop: int) -> tuple[Array, npt.NDArray[np.int64] | None]: ...


class _PathArray:
    """A `.npy` array of shape (states, rows, *shape), read and checked once."""

    layout = "npy"
    num_classes = 0

    def __init__(self, path: Path) -> None:
        self._array = array = map_npy(path)
        if array.ndim < 3 or array.shape[0] < 2 or 0 in array.shape:
            wanted = "shape (states, rows, *shape) with at least 2 states"
            raise UsageError(f"{path}: expected an array of {wanted}, got {array.shape}")
        self.count = array.shape[1]
        self.shape = tuple(array.shape[2:])
        self.noise, self.data = NumberStatistics(), NumberStatistics()
        for start in range(0, self.count, _CHECKED_ROWS):
            block = np.asarray(array[:, start : start + _CHECKED_ROWS], dtype=np.float64)
            if not np.isfinite(block).all():
                raise UsageError(f"{path}: holds NaN or infinity within {_CHECKED_ROWS} rows from {start}")
            self.noise.add(block[0])
            self.data.add(block[-1])
        if self.data.looks_like_noise() and not self.noise.looks_like_noise():
            raise UsageError(f"{path}: the last state looks like noise; reverse the first axis, state 0 is noise")
        if self.noise.std > 0 and np.array_equal(array[0], array[-1]):
            raise UsageError(
                f"{path}: the first and the last state are the same numbers; state 0 is noise, the last one data"
            )
        if array.shape[0] > self.count:
            warnings.warn(
                f"{path}: {array.shape[0]} states of {self.count} rows; if it is the other way round, swap the first two axes",
                UserWarning,
                stacklevel=4,
            )
        self.sha256 = sha256_file(path)

    def read(self, start: int, stop: int) -> tuple[Array, None]:
        return self._array[:, start:stop], None


def import_source(
    source: Path,
    out: Path,
    hold_out: int | None = None,
    layout: LayoutName = "auto",
    data_range: DataRange | None = PLAIN,
) -> ImportReport:
    """Import a folder of KDM pairs or an array of paths into a new store.

    Everything is read and checked once before anything is written. Where the noise has a standard deviation
    of 80 (EDM) or 1 (flow matching) within its statistical error, exactly that is taken as `noise_scale`.

    Args:
        source: a folder of `.npz` pairs, or a `.npy` of shape (states, rows, *shape).
        out: folder of the store; new, empty, or an interrupted import of the same source.
        hold_out: rows kept from training; None: a tenth, at most 10,000.
        layout: layout of the pairs; `auto` finds it out.
        data_range: what black and white are, of images; None of data that are no images.

    Raises:
        UsageError: not something that can be imported, contradicting shapes, NaN, or an unclear layout.
        DamagedError: an array file is damaged.
        StorageError: the store cannot be written.

    Warns:
        UserWarning: the data contradict `data_range`.
    """
    paths = _open(source, layout)
    states_of_first, _ = paths.read(0, 1)
    hold_out = min(paths.count // 10, 10_000) if hold_out is None else hold_out
    if not 0 <= hold_out < paths.count:
        raise UsageError(f"hold_out must be from 0 to {paths.count - 1} (below the rows), got {hold_out}")
    for end, moments in (("noise", paths.noise), ("data", paths.data)):
        if not 0.0 < moments.std < math.inf:
            raise UsageError(f"{source}: the {end} has standard deviation {moments.std}, so it is no {end}")
    manifest = _manifest(paths, len(states_of_first), hold_out, data_range)
    some, _ = paths.read(0, min(paths.count, _LOOKED_AT))
    for line in wrong_facts(manifest.teacher, torch.from_numpy(np.array(some[-1], dtype=np.float32))):
        warnings.warn(line, UserWarning, stacklevel=2)
    writer = StoreWriter(out, manifest)
    for unit in writer.pending_units():
        rows = manifest.rows_of(unit)
        states, labels = paths.read(rows.start, rows.stop)
        tensor = torch.from_numpy(np.array(states, dtype=np.float32))
        writer.commit(unit, tensor, None if labels is None else torch.from_numpy(labels))
    teacher = manifest.teacher
    return ImportReport(paths.layout, paths.count, teacher.noise_scale, teacher.data_scale, writer.seal())


def _manifest(paths: _Source, states: int, hold_out: int, data_range: DataRange | None) -> Manifest:
    kept = tuple(range(states))
    row_bytes = 4 * states * int(np.prod(paths.shape))
    unit_size = min(default_unit_size(row_bytes), paths.count)
    return Manifest(
        teacher=TeacherIdentity(
            kind="imported",
            name=paths.layout,
            sha256=paths.sha256,
            solver="unknown",
            num_function_evaluations=0,
            noise_scale=paths.noise.nominal_scale(),
            data_scale=paths.data.std,
            num_classes=paths.num_classes,
            shape=paths.shape,
            data_range=data_range,
        ),
        steps=states - 1,
        kept=kept,
        levels=tuple(i / (states - 1) for i in kept),
        shape=paths.shape,
        count=paths.count,
        seed=0,
        noise_scheme="stored",
        unit_size=unit_size,
        micro_batch=unit_size,
        hold_out=hold_out,
        source=f"imported, layout {paths.layout}; levels are progress, evaluations are unknown (0)",
    )


def _open(source: Path, layout: LayoutName) -> _Source:
    if source.is_dir():
        return PairFolder(source, layout)
    if not source.is_file():
        raise UsageError(f"{source} does not exist; give a folder of .npz pairs or a .npy file")
    if source.suffix == ".npy":
        if layout != "auto":
            raise UsageError(f"{source}: layout '{layout}' is for folders of .npz pairs, not for a .npy file")
        return _PathArray(source)
    if source.suffix in (".tar", ".pth", ".pt", ".pkl", ".pickle"):
        raise UsageError(
            f"{source}: its tensors are pickles, which can run code and are never opened here; where they "
            "were made, save them with numpy.save('pairs.npy', numpy.stack([noise, data])) and import that"
        )
    raise UsageError(f"{source} is neither a folder of .npz pairs nor a .npy file; only these are read")
