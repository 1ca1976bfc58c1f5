"""Paths made by other programs, brought into a store. Nothing in their files is executed.

Read are folders of KDM pairs (`koopstep.data.pairs` lists the layouts), of which the two ends are kept; files with arrays
``noise`` and ``data``; FastGen's tars of pairs; and `.npy` arrays of shape (states, rows, *shape) with state 0 = noise, of
which all states are kept and taken as evenly spaced in progress.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from koopstep.core.errors import UsageError
from koopstep.core.pixels import PLAIN, DataRange
from koopstep.data.manifest import Manifest, default_hold_out, default_unit_size
from koopstep.data.pair_arrays import PairSource, of_python, open_fastgen, open_named, open_npy
from koopstep.data.pairs import Array, LayoutName, PairFolder
from koopstep.data.probe import wrong_facts
from koopstep.data.statistics import NumberStatistics
from koopstep.data.writer import StoreWriter
from koopstep.teachers.base import TeacherIdentity

_READ = (
    "a folder of .npz pairs, an .npz or .safetensors with arrays 'noise' and 'data', a .npy of shape (states, N, *shape), or "
    "FastGen's tars"
)
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


def import_source(
    source: PairSource,
    out: Path,
    hold_out: int | None = None,
    layout: LayoutName = "auto",
    data_range: DataRange | None = PLAIN,
    name: str | None = None,
    num_classes: int | None = None,
) -> ImportReport:
    """Import pairs or paths into a new store.

    Everything is read and checked once before anything is written. Where the noise has a standard deviation
    of 80 (EDM) or 1 (flow matching) within its statistical error, exactly that is taken as `noise_scale`.

    Args:
        source: a folder of `.npz` pairs, a file with arrays `noise` and `data`, a `.npy` of shape (states, rows, *shape),
            a FastGen tar or a folder of them, or arrays; see `PairSource`.
        out: folder of the store; new, empty, or an interrupted import of the same source.
        hold_out: rows kept from training; None: a tenth, at most 10,000.
        layout: layout of the pairs; `auto` finds it out.
        data_range: what black and white are, of images; None of data that are no images.
        name: what the teacher that made them is called; the layout's when absent.
        num_classes: of the teacher, where not all of its classes need be among the labels.

    Raises:
        UsageError: not something that can be imported, contradicting shapes, NaN, or an unclear layout.
        DamagedError: an array file is damaged.
        StorageError: the store cannot be written.

    Warns:
        UserWarning: the data contradict `data_range`, arrays were rearranged, or the noise is of an unusual size.
    """
    where = source if isinstance(source, str | os.PathLike) else "the pairs"
    paths = (
        _open(Path(source), layout, data_range)
        if isinstance(source, str | os.PathLike)
        else of_python(source, data_range)
    )
    states_of_first, _ = paths.read(0, 1)
    hold_out = default_hold_out(paths.count) if hold_out is None else hold_out
    if not 0 <= hold_out < paths.count:
        raise UsageError(f"hold_out must be from 0 to {paths.count - 1} (below the rows), got {hold_out}")
    for end, moments in (("noise", paths.noise), ("data", paths.data)):
        if not 0.0 < moments.std < math.inf:
            raise UsageError(f"{where}: the {end} has standard deviation {moments.std}, so it is no {end}")
    if paths.num_classes:
        paths.num_classes = max(paths.num_classes, num_classes or 0)
    manifest = _manifest(paths, len(states_of_first), hold_out, data_range, name)
    for line in _doubts(paths, manifest.teacher):
        warnings.warn(f"{where}: {line}", UserWarning, stacklevel=2)
    writer = StoreWriter(out, manifest)
    for unit in writer.pending_units():
        rows = manifest.rows_of(unit)
        states, labels = paths.read(rows.start, rows.stop)
        tensor = torch.from_numpy(np.array(states, dtype=np.float32))
        writer.commit(unit, tensor, None if labels is None else torch.from_numpy(labels))
    teacher = manifest.teacher
    return ImportReport(paths.layout, paths.count, teacher.noise_scale, teacher.data_scale, writer.seal())


def _doubts(paths: _Source, teacher: TeacherIdentity) -> list[str]:
    """What speaks against the noise being noise, and the data being what is said of them."""
    found = []
    if not paths.noise.looks_like_noise():
        found.append(
            f"the noise is not Gaussian of size 1 (flow matching) or 80 (EDM): its mean is {paths.noise.mean:.3g}, its "
            f"standard deviation {paths.noise.std:.4g}, which is taken as the size of the noise"
        )
    some, _ = paths.read(0, min(paths.count, _LOOKED_AT))
    return found + wrong_facts(teacher, torch.from_numpy(np.array(some[-1], dtype=np.float32)))


def _manifest(paths: _Source, states: int, hold_out: int, data_range: DataRange | None, name: str | None) -> Manifest:
    kept = tuple(range(states))
    row_bytes = 4 * states * int(np.prod(paths.shape))
    unit_size = min(default_unit_size(row_bytes), paths.count)
    return Manifest(
        teacher=TeacherIdentity(
            kind="imported",
            name=name or paths.layout,
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


def _open(source: Path, layout: LayoutName, data_range: DataRange | None) -> _Source:
    tars = sorted(source.glob("*.tar")) if source.is_dir() else []
    if source.is_dir() and not tars:
        return PairFolder(source, layout)
    if not source.exists():
        raise UsageError(f"{source} does not exist; give {_READ}")
    if layout != "auto":
        raise UsageError(f"{source}: layout '{layout}' is for folders of .npz pairs; leave it away")
    suffix = source.suffix.lower()
    if tars or suffix == ".tar":
        if any(source.glob("*.npz")):
            raise UsageError(f"{source} holds .npz files and tars side by side; import one kind")
        return open_fastgen(tars or [source])
    if suffix == ".npy":
        return open_npy(source)
    if suffix in (".npz", ".safetensors", ".pt", ".pth"):
        return open_named(source, data_range)
    raise UsageError(f"{source} is nothing that is read here; give {_READ}")
