"""``koopstep distil``: one way from any teacher to a judged student and its report, that goes on wherever it stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from koopstep.core.arguments import AnyDevice, AnyPath, checked_but
from koopstep.core.config import Changes, assignments
from koopstep.core.errors import UsageError
from koopstep.core.files import make_folder
from koopstep.core.job import Job, working
from koopstep.data.commits import COMPLETE, MANIFEST
from koopstep.data.reference import RealData
from koopstep.data.store import Store
from koopstep.planning.making import check_same, chosen_recipe, extended, make_plan, read_plan, write_plan
from koopstep.planning.plan import Plan, Wish, read_budget
from koopstep.planning.source import Source, real_data
from koopstep.runs.clock import Clock
from koopstep.runs.folder import STORE, TEACHER
from koopstep.runs.references import remember_reference
from koopstep.teachers.base import Teacher
from koopstep.workflows.checks import check_folder, check_run
from koopstep.workflows.find_source import find_source, is_foreign
from koopstep.workflows.import_pairs import import_store
from koopstep.workflows.load_teacher import load_teacher
from koopstep.workflows.run import Run
from koopstep.workflows.stages import carry_out


@checked_but("teacher", "changes")
def distil(
    teacher: AnyPath | Teacher,
    out: AnyPath,
    *,
    store: AnyPath | Store | None = None,
    data: AnyPath | None = None,
    reference: RealData | None = None,
    budget: str | float | None = None,
    count: int | None = None,
    steps: int | None = None,
    method: str | None = None,
    quick: bool = False,
    changes: Changes = (),
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Run:
    """Go the whole way from a teacher to a judged one-step student and its report.

    All settings follow from the teacher; a few paths and steps are timed, and the plan is said. The same call goes on where
    it stopped; more budget, paths or steps extend a finished run.

    Args:
        teacher: one, or what `load_teacher` opens.
        out: the run's folder.
        store: paths of this teacher that exist; absent, they are collected into the run.
        data: in place of ``store``: pairs made elsewhere, in any form that `import_pairs` reads.
        reference: real data to compare with; what the teacher learned from, where that is at hand, when absent.
        budget: how long the whole may take: ``"20m"``, ``"8h"``, or seconds. Absent, full quality is aimed at.
        count: paths.
        steps: training steps.
        method: how the student learns; the one that measures best for such data when absent.
        quick: a fraction of the paths and steps.
        changes: single settings: ``{"training.batch_size": 64}``, or texts as in ``["training.batch_size=64"]``.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words and no progress bars on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Raises:
        UsageError: something cannot be, or ``out`` holds another run or something else.

    Example:
        >>> images = koopstep.distil("digits-edm", "run", budget="3m").student.sample(16)
    """
    with working(job, device, quiet) as job:
        run_distil(
            _named(teacher),
            Path(out),
            method=method,
            budget=budget,
            count=count,
            steps=steps,
            data=_one_of(store, data),
            reference=reference,
            quick=quick,
            changes=assignments(changes),
            job=job,
        )
    return Run(out, device=device)


distill = distil


def _named(teacher: AnyPath | Teacher) -> str | Path | Teacher:
    """A teacher, or the name or path of one; anything else is refused as `load_teacher` does."""
    if isinstance(teacher, str):
        return teacher
    return Path(teacher) if isinstance(teacher, os.PathLike) else load_teacher(teacher)


def _one_of(store: AnyPath | Store | None, data: AnyPath | None) -> Path | None:
    """The path of the pairs that exist."""
    if store is not None and data is not None:
        raise UsageError("store= names paths of this teacher and data= pairs made elsewhere; give one of them")
    found = store.folder if isinstance(store, Store) else store or data
    return None if found is None else Path(found)


def run_distil(
    teacher: str | Path | Teacher,
    out: Path,
    *,
    method: str | None = None,
    budget: str | float | None = None,
    count: int | None = None,
    steps: int | None = None,
    data: Path | None = None,
    reference: RealData | None = None,
    quick: bool = False,
    changes: Iterable[str] = (),
    job: Job,
) -> dict[str, Any]:
    """Convert, plan, collect, train, evaluate and report; run again to go on where it stopped, or for longer.

    Args:
        teacher: a packaged name, a teacher file, a checkpoint of another program, or a teacher made in Python.
        out: the run's folder.
        method: how the student learns; the one that measures best for such data when absent.
        budget: how long the whole may take: ``20m``, or seconds. Without it the lengths are those of full quality.
        count: paths.
        steps: training steps.
        data: a store of pairs of this teacher, or pairs to import; absent, paths are collected.
        reference: real data to compare with; what the teacher learned from when absent.
        quick: a fraction of the full lengths.
        changes: ``key=value`` texts for the recipe.
        job: where it runs, where it speaks and when it stops.

    Raises:
        UsageError: if something cannot be, or ``out`` holds another run or something else.
        Interrupted: after ``job.stop`` said so; everything finished stays.
    """
    started = time.perf_counter()
    wish = Wish(read_budget(budget) if isinstance(budget, str) else budget, count, steps, quick)
    check_folder(out)
    if job.place.world > 1:
        raise UsageError("distil works in one process; under torchrun use `koopstep collect` and `koopstep train`")
    clock, changes = Clock(out), tuple(changes)
    before = read_plan(out)
    source = _source(teacher, before, out, clock, job)
    real = None if reference is None and before is not None else real_data(source, reference)
    given = None if reference is None or real is None else real.sha256()
    if before is None:
        recipe, why = chosen_recipe(source, real, method, changes)
        planning = time.perf_counter()
        store = None if data is None else _existing(data, out, source.teacher)
        plan = make_plan(source, recipe, why, wish, store=store, reference=given, job=job, started=started)
        check_run(plan, None, source, out, job)
        make_folder(out)
        write_plan(out, plan)
        clock.note("plan", time.perf_counter() - planning)
    else:
        plan = extended(check_same(before, source, method, changes, data, out), wish, clock.seconds)
        plan = plan if given is None else plan.model_copy(update={"reference": given})
        check_run(plan, before, source, out, job)
    if reference is not None and real is not None:
        remember_reference(out, reference, real)
    return carry_out(plan, before, source, out, clock, job=job).result


def _source(teacher: str | Path | Teacher, before: Plan | None, out: Path, clock: Clock, job: Job) -> Source:
    """The teacher; how long its conversion took is noted once there is one.

    Raises:
        UsageError: there is no such teacher, or the run was begun with another one.
    """
    started, converts = time.perf_counter(), is_foreign(teacher) and not (out / TEACHER).is_file()
    begun = None if before is None else Path(before.recipe.teacher.file).name
    if converts and not isinstance(teacher, Teacher) and begun not in (None, TEACHER):
        raise UsageError(f"{out} was begun with the teacher {begun!r}, not with {teacher}; choose another --out")
    source = find_source(teacher, out, job)
    if converts:
        clock.note("convert", time.perf_counter() - started)
    return source


def _existing(data: Path, out: Path, teacher: Teacher) -> Store:
    """The store of existing pairs; those that are no store yet are imported into the run first."""
    if (data / MANIFEST).is_file():
        return Store.open(data)
    if not (out / STORE / COMPLETE).is_file():
        import_store(
            data,
            out / STORE,
            hold_out=None,
            layout="auto",
            data_range=teacher.data_range,
            num_classes=teacher.num_classes,
        )
    return Store.open(out / STORE)
