"""What a plan says, done stage by stage in a run's folder: collect, train, evaluate, report, each where it stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from koopstep.core.errors import Interrupted, KoopstepError, UsageError
from koopstep.core.files import is_temporary, read_json, write_json
from koopstep.core.job import Job
from koopstep.data.commits import MANIFEST, read_complete
from koopstep.data.store import Store
from koopstep.figures.html import Chapter, write_report
from koopstep.planning.making import PLAN, plan_note, write_plan
from koopstep.planning.plan import Plan
from koopstep.planning.source import Source
from koopstep.runs.clock import SECONDS, Clock
from koopstep.runs.folder import CONFIG, STORE, TEACHER
from koopstep.students.files import read_student_file
from koopstep.training.checkpoint import checkpoints
from koopstep.workflows.collect import collect_store
from koopstep.workflows.evaluate import evaluate
from koopstep.workflows.report import tell
from koopstep.workflows.train import train_student

RESULT = "result.json"
_OURS = (PLAN, SECONDS, STORE, TEACHER)  # what a run begins with


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
    write_json(out / "report" / RESULT, {"key": _key(out, plan), "result": result})
    return Outcome(result, chapter)


def _collected(store: Path, plan: Plan) -> bool:
    """Whether all paths of the plan are there; a store may have been made larger since."""
    found = read_complete(store) if (store / MANIFEST).is_file() else None
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


def check_folder(out: Path) -> None:
    """Refuse a folder that holds something, but nothing that a run of ours begins with.

    Raises:
        UsageError: if it does.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder; name a folder with --out")
    there = [path.name for path in out.iterdir() if not is_temporary(path.name)] if out.is_dir() else []
    if (out / CONFIG).is_file() and not (out / PLAN).is_file():
        raise UsageError(
            f"{out} holds a run of `koopstep train`; go on with `koopstep train {out} --resume`, or choose another --out"
        )
    if there and not any((out / name).exists() for name in _OURS):
        raise UsageError(f"{out} is not empty and holds no run of distil (found {there[0]}); choose another --out")
