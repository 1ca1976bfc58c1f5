"""``koopstep collect`` and ``koopstep data``: stores made, described, checked, mended."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any, Literal

from koopstep.core.arguments import AnyDevice, AnyPath, checked_but
from koopstep.core.config import dump
from koopstep.core.devices import barrier
from koopstep.core.errors import KoopstepError, UsageError
from koopstep.core.job import Job, working
from koopstep.data.collect import CollectSettings
from koopstep.data.collect import collect as fill
from koopstep.data.commits import read_complete
from koopstep.data.manifest import Autocast
from koopstep.data.repair import repair as mend
from koopstep.data.store import Store
from koopstep.teachers.base import Teacher
from koopstep.teachers.files import goes_by
from koopstep.teachers.packaged import packaged_teachers
from koopstep.workflows.load_teacher import load_teacher


@checked_but("teacher")
def collect(
    teacher: AnyPath | Teacher,
    out: AnyPath,
    *,
    count: int,
    steps: int = 12,
    keep: Literal["ends", "all"] | int = "ends",
    seed: int = 0,
    hold_out: int | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    autocast: Autocast = "none",
    unit_size: int | None = None,
    micro_batch: int | None = None,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Store:
    """Send noise through a teacher once and store the paths; the same call goes on after an interruption.

    Args:
        teacher: one, or what `load_teacher` opens.
        out: the store's folder. One that holds fewer paths of the same teacher grows.
        count: paths.
        steps: of the teacher's grid.
        keep: states kept of each path: ``ends`` (noise and data), ``all``, or so many, evenly spaced. HKD needs more than ends.
        seed: of noise and class labels.
        hold_out: paths kept from training, for evaluation; a tenth, at most 10,000, when absent.
        dtype: how states are stored.
        autocast: ``bfloat16`` runs the teacher's network in it: faster where the hardware has it, and a little another teacher.
        unit_size: paths of a file; 16 MiB of them when absent.
        micro_batch: paths that pass the teacher at a time; at most 512 when absent.
        device: where a teacher computes that is opened here; CUDA where present, else the CPU, when absent. A teacher that
            was made before computes where it was put.
        quiet: no words and no progress bars on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Raises:
        UsageError: settings that contradict each other, another store in ``out``, or a teacher whose samples from the same
            noise differ.
        NumericsError: the teacher made NaN.
        StorageError: the disk is full.

    Example:
        >>> store = koopstep.collect("digits-edm", "paths", count=20_000)
    """
    settings = CollectSettings(
        count=count,
        steps=steps,
        keep=keep,
        seed=seed,
        hold_out=hold_out,
        dtype=dtype,
        autocast=autocast,
        unit_size=unit_size,
        micro_batch=micro_batch,
    )
    with working(job, device, quiet) as job:
        collect_store(teacher, Path(out), settings, rank=job.place.rank, world=job.place.world, job=job)
        barrier(job.place)  # each process makes its share
        return Store.open(out)


def collect_store(
    teacher: AnyPath | Teacher,
    out: Path,
    settings: CollectSettings,
    *,
    rank: int,
    world: int,
    job: Job,
) -> dict[str, Any]:
    """Send noise through ``teacher`` and store the paths in ``out``; run again after any interruption to go on.

    With a larger count a store that is complete grows by the rows it lacks; runs that learned from it may go on with it.

    Args:
        teacher: one, or what :func:`~koopstep.load_teacher` opens.
        out: the store's folder.
        settings: what to collect.
        rank: which of ``world`` workers this is; each makes its own units, all write to one folder.
        world: number of workers.
        job: where it runs, where it speaks and when it stops.

    Raises:
        UsageError: on contradicting settings, or a store of something else in ``out``.
        Interrupted: after ``job.stop`` said so; everything committed stays.
    """
    if not 0 <= rank < world:
        raise UsageError(f"--rank must be from 0 to --world - 1 = {world - 1}, got {rank}")
    loaded = load_teacher(teacher, device=job.place.device)
    began_with = _rows_in(out)
    started = time.perf_counter()
    if 0 < began_with < settings.count:
        job.console.say(f"{out} holds {began_with:,} paths and is to grow to {settings.count:,}")
    with job.console.bar("collecting paths", settings.count, "path") as bar:
        for report in fill(
            loaded,
            out,
            settings,
            rank=rank,
            world=world,
            device=loaded.device or job.place.device,
            should_stop=job.stop,
        ):
            bar.update(report.made, f"{report.bytes / 2**20:,.1f} MiB")
    return {
        "count": report.done,
        "bytes": report.bytes,
        "seconds": round(time.perf_counter() - started, 3),
        "complete": report.complete,
        "grown_from": began_with if began_with < report.total else 0,
        "teacher": loaded.name,
        "nfe": loaded.evaluations(settings.steps),
    }


def _rows_in(folder: Path) -> int:
    """How many rows a complete store has; 0 where there is none."""
    try:
        found = read_complete(folder)
    except KoopstepError:  # no store, or one that is mended as it is filled
        return 0
    return 0 if found is None else found[0].count


def store_info(folder: Path) -> dict[str, Any]:
    """What a store holds."""
    store = Store.open(folder)
    manifest = dump(store.manifest)
    return {
        "count": store.count,
        "held_out": store.manifest.hold_out,
        "bytes": store.nbytes,
        "root": store.root,
        "shape": list(store.manifest.shape),
        "states": len(store.manifest.kept),
        "teacher": store.manifest.teacher.name,
        "manifest": manifest,
        "damaged": [],
    }


def verify_store(folder: Path, job: Job) -> dict[str, Any]:
    """Read every byte of a store and compare it with what was committed."""
    store = Store.open(folder)
    damaged = store.verify()
    for unit in damaged:
        job.console.say(f"unit {unit.unit} (rows {unit.start} to {unit.stop - 1}): {unit.reason}")
    return {
        "count": store.count,
        "damaged": [
            {"unit": unit.unit, "start": unit.start, "stop": unit.stop, "reason": unit.reason} for unit in damaged
        ],
        "root": store.root,
    }


@checked_but("teacher")
def repair(
    store: AnyPath,
    teacher: AnyPath | Teacher | None = None,
    *,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Store:
    """Make the damaged units of a store again, with the teacher that made them.

    Args:
        store: a store, or its folder.
        teacher: the one that made it, or what `load_teacher` opens; the one that the store names when absent.
        device: where a teacher computes that is opened here; CUDA where present, else the CPU, when absent.
        quiet: no words on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Raises:
        UsageError: if the store was imported, or the teacher is another.
    """
    with working(job, device, quiet) as job:
        repair_store(Path(store), teacher, job=job)
    return Store.open(store)


def _maker(store: Store, teacher: AnyPath | Teacher | None, job: Job) -> Teacher:
    """The teacher that is to make rows of ``store`` again: the one that is named, else the one that the store names.

    Raises:
        UsageError: if none is named, and that is not at hand.
    """
    identity = store.manifest.teacher
    if teacher is None and identity.name not in packaged_teachers() and not Path(identity.name).exists():
        raise UsageError(
            f"{store.folder} was made by {'the teacher' if identity.sha256 else 'the function'} {identity.name!r}, which is "
            "not at hand; name it with --teacher FILE, or --teacher package.module:function"
        )
    found = load_teacher(identity.name if teacher is None else teacher, device=job.place.device)
    if identity.sha256 and goes_by(found, identity.sha256):
        found = copy.copy(found)  # it may be a conversion of what the store was made from
        found.sha256 = identity.sha256
    return found


def repair_store(folder: Path, teacher: AnyPath | Teacher | None, *, job: Job) -> dict[str, Any]:
    """Make the damaged units of a store again.

    Args:
        folder: the store.
        teacher: its teacher; the one the store names when absent.
        job: where it runs, where it speaks and when it stops.

    Raises:
        UsageError: if the store was imported, or the teacher is another.
    """
    store = Store.open(folder)
    if store.manifest.teacher.kind == "imported":
        damaged = store.verify()
        if damaged:
            units = ", ".join(str(unit.unit) for unit in damaged)
            raise UsageError(
                f"{folder} was imported, its damaged units ({units}) cannot be made again; import it again"
            )
        return {"count": store.count, "damaged": [], "repaired": [], "root": store.root}
    loaded = _maker(store, teacher, job)
    repaired: list[int] = []
    identical = True
    for report in mend(folder, loaded, device=loaded.device or job.place.device):
        repaired.append(report.damage.unit)
        identical = identical and report.identical
        job.console.say(f"unit {report.damage.unit} made again ({report.damage.reason})")
    again = Store.open(folder)
    return {
        "count": again.count,
        "damaged": [unit.unit for unit in again.verify()],
        "repaired": repaired,
        "identical": identical,
        "root": again.root,
    }
