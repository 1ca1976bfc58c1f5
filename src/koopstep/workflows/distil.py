"""``koopstep distil``: one way from any teacher to a judged student and its report, that goes on wherever it stopped."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from koopstep.core.errors import Interrupted, KoopstepError, UsageError
from koopstep.core.files import is_temporary, make_folder, read_json, write_json
from koopstep.core.job import Job
from koopstep.data.commits import read_complete
from koopstep.data.reference import RealData
from koopstep.data.store import TrajectoryStore
from koopstep.figures.html import Chapter, write_report
from koopstep.students.files import read_student_file
from koopstep.teachers.base import Teacher
from koopstep.training.checkpoint import checkpoints
from koopstep.workflows.clock import Clock
from koopstep.workflows.collect import collect_store
from koopstep.workflows.evaluate import evaluate
from koopstep.workflows.import_pairs import import_store
from koopstep.workflows.plan import Plan, Wish, read_budget
from koopstep.workflows.planning import (
    PLAN,
    check_same,
    chosen_recipe,
    extended,
    make_plan,
    plan_note,
    read_plan,
    write_plan,
)
from koopstep.workflows.references import remember_reference
from koopstep.workflows.report import tell
from koopstep.workflows.source import TEACHER, Source, find_source, is_foreign, real_data
from koopstep.workflows.train import train_student

STORE, SECONDS, RESULT = "store", "seconds.json", "result.json"
_OURS = (PLAN, SECONDS, STORE, TEACHER)  # what a run begins with
TITLE = "One step instead of many"
LEAD = (
    "A teacher carried noise to data in many network evaluations. Its student lifts the same noise, applies one linear "
    "(Koopman) operator and decodes: one evaluation. Everything below was measured on noise that training never saw."
)


@dataclass(frozen=True)
class Outcome:
    """What a run ended with.

    Attributes:
        result: the command's JSON.
        chapter: of its page; None where that was there already.
    """

    result: dict[str, Any]
    chapter: Chapter | None = None


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
    clock, changes = Clock(out / SECONDS), tuple(changes)
    with clock.stage("convert", finished=not is_foreign(teacher) or (out / TEACHER).is_file()):
        source = find_source(teacher, out, job)
    before = read_plan(out)
    real = None if reference is None and before is not None else real_data(source, reference)
    given = None if reference is None or real is None else real.sha256()
    if before is None:
        recipe, why = chosen_recipe(source, real, method, changes)
        with clock.stage("plan", again=True):
            store = None if data is None else _existing(data, out, source.teacher)
            plan = make_plan(source, recipe, why, wish, store=store, reference=given, job=job, started=started)
        make_folder(out)
        write_plan(out, plan)
    else:
        plan = extended(check_same(before, source, method, changes, data, out), wish, clock.seconds)
        plan = plan if given is None else plan.model_copy(update={"reference": given})
    if reference is not None and real is not None:
        remember_reference(out, reference, real)
    return carry_out(plan, before, source, out, clock, job=job).result


def carry_out(plan: Plan, before: Plan | None, source: Source, out: Path, clock: Clock, *, job: Job) -> Outcome:
    """Do what ``plan`` says in the run's folder ``out``, all that is not done yet.

    Args:
        plan: what to do.
        before: the plan that the run followed until now; None where it begins.
        source: the teacher.
        out: the run's folder, which holds a plan.
        clock: of the run.
        job: where it runs, where it speaks and when it stops.
    """
    done = _finished(out, plan)
    if done is not None and plan == before:
        job.console.say(f"already finished: {out} ({plan.count:,} paths, {plan.steps:,} steps); nothing is left to do")
        return Outcome(done)
    if before is not None and plan != before:
        write_plan(out, plan)
    if before is not None and (plan.count, plan.steps) != (before.count, before.steps):
        job.console.say(plan_note(plan, before))
    else:
        for line in [*(["going on with this plan:"] if before is not None else []), *plan.lines()]:
            job.console.say(line)
    store = out / STORE if plan.data is None else Path(plan.data)
    try:
        return _stages(plan, source, store, out, clock, job)
    except Interrupted as error:
        reason = str(error).split(";")[0].removesuffix(", saved")
        raise Interrupted(f"{reason}; everything so far is kept: run the same command again to go on") from error


def _stages(plan: Plan, source: Source, store: Path, out: Path, clock: Clock, job: Job) -> Outcome:
    recipe = plan.recipe
    if plan.data is None:
        with clock.stage("collect", finished=_collected(store, plan)):
            if not _collected(store, plan):
                collect_store(source.teacher, store, recipe.collect, rank=0, world=1, job=job)
    with clock.stage("train", finished=_trained(out, plan)):
        train_student(recipe, store, out, resume=True, job=job)
    with clock.stage("evaluate", again=True):
        measured = evaluate(out, data=store, job=job).plain()
    page = out / "report" / "index.html"
    with clock.stage("report", again=True):
        told = tell(out, store, job, teacher=source.teacher)
    chapter = replace(told.chapter, seconds=clock.seconds)
    write_report(page, told.title, told.lead, [chapter])
    identity = TrajectoryStore.open(store).manifest.teacher
    result = {
        "run": str(out),
        "report": str(page),
        "plan": plan.summary(),
        "metrics": measured["metrics"],
        "teacher": {"name": identity.name, "nfe": identity.num_function_evaluations, **measured["teacher"]},
        "student": {"nfe": 1, "steps": plan.steps},
        "left_out": measured["left_out"],
        "protocol": measured["protocol"],
        "seconds": clock.seconds,
    }
    write_json(out / "report" / RESULT, {"key": _key(out, plan), "result": result})
    return Outcome(result, chapter)


def _collected(store: Path, plan: Plan) -> bool:
    """Whether all paths of the plan are there; a store may have been made larger since."""
    found = read_complete(store) if (store / "manifest.json").is_file() else None
    return found is not None and found[0].count >= plan.count


def _trained(out: Path, plan: Plan) -> bool:
    """Whether the student of the whole plan is there."""
    found = checkpoints(out / "checkpoints")
    return bool(found) and found[-1][0] >= plan.steps and (out / "student" / "config.json").is_file()


def _finished(out: Path, plan: Plan) -> dict[str, Any] | None:
    """The result of the whole plan, if it is there and of this very student."""
    try:
        kept = read_json(out / "report" / RESULT)
        there = kept["key"] == _key(out, plan) and (out / "report" / "index.html").is_file()
    except (KoopstepError, KeyError, TypeError):
        return None
    if not there or not _trained(out, plan):
        return None
    result: dict[str, Any] = kept["result"]
    result["metrics"] = {
        name: result["metrics"][name] for name in plan.recipe.evaluation.metrics if name in result["metrics"]
    }
    return result | {"run": str(out), "report": str(out / "report" / "index.html")}  # the folder may have been moved


def _key(out: Path, plan: Plan) -> dict[str, Any]:
    """What a result is of."""
    return {
        "student": read_student_file(out / "student").sha256,
        "steps": plan.steps,
        "count": plan.count,
        "reference": plan.reference,
    }


def _existing(data: Path, out: Path, teacher: Teacher) -> TrajectoryStore:
    """The store of existing pairs; those that are no store yet are imported into the run first."""
    if (data / "manifest.json").is_file():
        return TrajectoryStore.open(data)
    if not (out / STORE / "complete.json").is_file():
        import_store(
            data,
            out / STORE,
            hold_out=None,
            layout="auto",
            data_range=teacher.data_range,
            num_classes=teacher.num_classes,
        )
    return TrajectoryStore.open(out / STORE)


def check_folder(out: Path) -> None:
    """Refuse a folder that holds something, but nothing that a run of ours begins with.

    Raises:
        UsageError: if it does.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder; name a folder with --out")
    there = [path.name for path in out.iterdir() if not is_temporary(path.name)] if out.is_dir() else []
    if (out / "config.yaml").is_file() and not (out / PLAN).is_file():
        raise UsageError(
            f"{out} holds a run of `koopstep train`; go on with `koopstep train {out} --resume`, or choose another --out"
        )
    if there and not any((out / name).exists() for name in _OURS):
        raise UsageError(f"{out} is not empty and holds no run of distil (found {there[0]}); choose another --out")
