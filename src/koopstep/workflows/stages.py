"""What a plan says, done stage by stage in a run's folder: collect, train, evaluate, report, each where it stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from koopstep.core.errors import DamagedError, Interrupted
from koopstep.core.files import write_json
from koopstep.core.job import Job
from koopstep.data.commits import MANIFEST, read_complete
from koopstep.data.store import Store
from koopstep.figures.html import Chapter, write_report
from koopstep.planning.making import plan_note, write_plan
from koopstep.planning.plan import Plan
from koopstep.planning.source import Source
from koopstep.runs.clock import Clock
from koopstep.training.checkpoint import checkpoints
from koopstep.workflows.checks import RESULT, finished, is_whole, key_of, store_of
from koopstep.workflows.collect import collect_store
from koopstep.workflows.evaluate import evaluate
from koopstep.workflows.report import tell
from koopstep.workflows.train import train_student


@dataclass(frozen=True)
class Outcome:
    """What a run ended with.

    Attributes:
        result: the command's JSON.
        chapter: of its page; None where that was there already.
    """

    result: dict[str, Any]
    chapter: Chapter | None = None


def carry_out(plan: Plan, before: Plan | None, source: Source, out: Path, clock: Clock, *, job: Job) -> Outcome:
    """Do what ``plan`` says in the run's folder ``out``, all that is not done yet.

    Args:
        plan: what to do.
        before: the plan that the run followed until now; None where it begins.
        source: the teacher.
        out: the run's folder, which was checked (:func:`~koopstep.workflows.checks.check_run`) and holds a plan.
        clock: of the run.
        job: where it runs, where it speaks and when it stops.
    """
    done = finished(out, plan)
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
    store = store_of(plan, out)
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
        content = tell(out, store, job, teacher=source.teacher)
    chapter = replace(content.chapter, seconds=clock.seconds)
    write_report(page, content.title, content.lead, [chapter])
    identity = Store.open(store).manifest.teacher
    result = {
        "run": str(out),
        "report": str(page),
        "plan": plan.summary(),
        "metrics": measured["metrics"],
        "teacher": {"name": identity.name, "nfe": identity.num_function_evaluations or None, **measured["teacher"]},
        "student": {"nfe": 1, "steps": plan.steps},
        "left_out": measured["left_out"],
        "protocol": measured["protocol"],
        "seconds": clock.seconds,
    }
    write_json(out / "report" / RESULT, {"key": key_of(out, plan), "result": result})
    return Outcome(result, chapter)


def _collected(store: Path, plan: Plan) -> bool:
    """Whether all paths of the plan are there; a store may have been made larger since."""
    try:
        found = read_complete(store) if (store / MANIFEST).is_file() else None
    except DamagedError:  # what says that it is complete is written anew
        return False
    return found is not None and found[0].count >= plan.count


def _trained(out: Path, plan: Plan) -> bool:
    """Whether training is through, and what it wrote is as it was written."""
    found = checkpoints(out / "checkpoints")
    return bool(found) and found[-1][0] >= plan.steps and is_whole(out)
