"""Student and teacher on the same held-out noise, and the real data they may be compared with."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from koopstep.core.errors import KoopstepError, UsageError
from koopstep.core.job import Job
from koopstep.core.records import Batch, Found
from koopstep.data.cells import Cells
from koopstep.data.manifest import PHILOX, Manifest
from koopstep.data.reference import RealData, load_reference
from koopstep.data.sources import DataSource, in_range
from koopstep.data.store import Store
from koopstep.runs.folder import OpenRun, open_run, own_store
from koopstep.runs.origin import find_data, training_data
from koopstep.runs.references import remembered_reference
from koopstep.sampling.fewstep import ONE_STEP, Stepping
from koopstep.sampling.onestep import generate_in_batches


@dataclass(frozen=True)
class Comparison:
    """Student and teacher on the same held-out noise.

    Attributes:
        run: the opened run.
        store: where the noise and the teacher's data come from.
        batch: the held-out rows.
        student: (N, *shape) one-step samples from ``batch.noise``.
        named: the real data that the user named, or None.
    """

    run: OpenRun
    store: Store
    batch: Batch
    student: Tensor
    named: DataSource | None = None

    @cached_property
    def reference(self) -> Found[DataSource]:
        """Real data to compare with, in the student's units: what was named, else what the run was given or its teacher saw."""
        found = self._reference()
        return found if found.value is None else Found(in_range(found.value, self.run.student.facts.data_range))

    def _reference(self) -> Found[DataSource]:
        if self.named is not None:
            return Found(self.named)
        remembered = remembered_reference(self.run.folder, self.run.student.facts)
        if remembered is not None:
            return remembered
        recipe = None if self.run.config is None else self.run.config.recipe
        identity = self.store.manifest.teacher
        learned = training_data(identity.name if recipe is None else recipe.teacher.file, identity)
        if learned.value is None:
            return Found(None, UsageError(f"{learned.reason}: name real data with --reference (reference= in Python)"))
        return find_data(learned.value, () if recipe is None else (recipe.data,))

    @property
    def cells(self) -> Cells | None:
        """The parts of the plane that the real data fills, where it has any."""
        return None if self.reference.value is None else self.reference.value.cells


def compare_on_held_out(
    run: Path,
    data: Path | None,
    count: int | None,
    job: Job,
    stepping: Stepping = ONE_STEP,
    reference: RealData | None = None,
) -> Comparison:
    """Open a run and let its student generate from the held-out rows of a store.

    Args:
        run: run or student folder.
        data: the store; the run's own when absent.
        count: how many rows; all held-out ones when absent.
        job: where it runs, where it speaks and when it stops.
        stepping: how the student samples.
        reference: real data to compare with; what the run was given, else what the teacher learned from, when absent.

    Raises:
        UsageError: if there is no store, it holds nothing out, fewer rows than asked, or data of another kind or teacher.
    """
    opened = open_run(run, job.place.device)
    store = _store_of(opened, data)
    data, facts = store.folder, opened.student.facts
    learned = store.manifest.teacher.training_data
    classes = 0 if learned is None else learned.num_classes or 0
    named = None if reference is None else load_reference(reference, facts, classes)
    rows = _unseen_rows(opened, store)
    if count is not None and not 1 <= count <= len(rows):
        raise UsageError(f"count must be from 1 to the {len(rows)} held-out rows of {data}, got {count}")
    # an even choice among the held-out rows, as they themselves are an even choice among all
    chosen = rows if count is None else rows[even_choice(count, len(rows))]
    batch = store.batch(chosen)
    noise = batch.states[0] / facts.noise_scale
    student = torch.cat(list(generate_in_batches(opened.student, noise, batch.class_labels, stepping=stepping)))
    return Comparison(opened, store, batch, student, named)


def held_out_batch(opened: OpenRun, data: Path | None, count: int) -> Batch:
    """The first held-out paths of a store, at most ``count``: those that `compare_on_held_out` begins with.

    Raises:
        UsageError: as there.
    """
    store = _store_of(opened, data)
    return store.batch(_unseen_rows(opened, store)[:count])


def _store_of(opened: OpenRun, data: Path | None) -> Store:
    """The store that was named, else the run's own; of the student's teacher."""
    store = own_store(opened.folder, opened.recipe("name a store with --data")) if data is None else Store.open(data)
    check_same_teacher(opened, store.manifest, store.folder)
    return store


def _unseen_rows(opened: OpenRun, store: Store) -> npt.NDArray[np.int64]:
    """The held-out rows of a store, none of which the student was trained on."""
    _check_unseen(opened, store, store.folder)
    rows = store.held_out_rows()
    if not len(rows):
        raise UsageError(f"{store.folder} holds no rows out of training; collect or import with --hold-out")
    return rows


def even_choice(count: int, rows: int) -> npt.NDArray[np.int64]:
    """``count`` of ``rows`` row numbers, evenly spaced."""
    return np.arange(count, dtype=np.int64) * rows // count


def check_same_teacher(opened: OpenRun, manifest: Manifest, data: Path) -> None:
    """Refuse a store that another teacher made than the one the student learned from.

    Raises:
        UsageError: it is not of that teacher.
    """
    facts, teacher = opened.student.facts, manifest.teacher
    if (manifest.shape, teacher.num_classes) != (facts.shape, facts.num_classes):
        raise UsageError(
            f"{data} holds shape {manifest.shape} with {teacher.num_classes} classes, the student makes {facts.shape} "
            f"with {facts.num_classes}; use the store of its teacher"
        )
    learned_from = opened.file.provenance.get("teacher_sha256")  # "" of a function; missing in converted students
    if learned_from is not None and learned_from != teacher.sha256:
        raise UsageError(f"{data} holds paths of another teacher than the one this student learned from; use its store")
    if not teacher.sha256 and opened.file.provenance.get("teacher", teacher.name) != teacher.name:
        raise UsageError(
            f"{data} holds paths of {teacher.name!r}, the student learned from {opened.file.provenance['teacher']!r}; "
            "use its store"
        )
    if learned_from is not None and teacher.data_scale != facts.data_scale:
        raise UsageError(
            f"{data} holds paths to data of size {teacher.data_scale:g}, the student learned from data of size "
            f"{facts.data_scale:g}; use the store of its teacher"
        )
    if teacher.data_range != facts.data_range:
        raise UsageError(
            f"{data} holds images in the range {teacher.data_range}, the student makes them in {facts.data_range}; use the "
            "store of its teacher"
        )
    if teacher.noise_scale != facts.noise_scale:
        raise UsageError(
            f"{data} holds paths from noise of size {teacher.noise_scale:g}, the student starts from noise of size "
            f"{facts.noise_scale:g}; use the store of its teacher"
        )


def _check_unseen(opened: OpenRun, store: Store, data: Path) -> None:
    """Refuse held-out rows that the student was trained on: another store of the same seed holds the same noise.

    Of functions, which have no digest, only a name says that two stores have one teacher: that is said aloud.
    """
    config, manifest = opened.config, store.manifest
    if config is None or config.data_root in store.history():  # its own store, which may have grown since
        return
    if not manifest.teacher.sha256:
        warnings.warn(
            f"{data} is not the store this student learned from, and nothing but the name {manifest.teacher.name!r} says that "
            "one teacher made both",
            UserWarning,
            stacklevel=3,
        )
    try:
        learned = own_store(opened.folder, config)
    except KoopstepError:
        return  # its rows are not known any more
    theirs = learned.history()[config.data_root]
    if not theirs.noise_scheme == manifest.noise_scheme == PHILOX or theirs.seed != manifest.seed:
        return
    seen = len(np.intersect1d(theirs.training_rows(), manifest.held_out_rows()))
    if seen:
        raise UsageError(
            f"{seen} of the {manifest.hold_out} held-out rows of {data} were trained on: it has the seed {manifest.seed} of "
            "the student's own store; collect with another --seed"
        )
