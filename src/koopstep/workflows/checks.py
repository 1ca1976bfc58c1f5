"""What is checked of a run of distil before anything is said or written: a call that is refused leaves it as it was."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from koopstep.core.errors import DamagedError, KoopstepError, UsageError
from koopstep.core.files import is_temporary, read_json, sha256_file
from koopstep.core.job import Job
from koopstep.data.collect import check_store
from koopstep.data.commits import MANIFEST, read_complete
from koopstep.data.store import Store
from koopstep.planning.making import PLAN
from koopstep.planning.plan import Plan
from koopstep.planning.source import Source
from koopstep.runs.clock import SECONDS
from koopstep.runs.folder import CONFIG, STORE, TEACHER, read_config
from koopstep.students.files import read_student_file
from koopstep.teachers.stoppable import stoppable
from koopstep.training.checkpoint import checkpoints

RESULT = "result.json"  # of a report
_OURS = (PLAN, SECONDS, STORE, TEACHER)  # what a run begins with
_SOON_READ = 1 << 28  # bytes of a store that are read in a second


def check_folder(out: Path) -> None:
    """Refuse a folder that holds something, but nothing that a run of ours begins with.

    Raises:
        UsageError: if it does.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder; name a folder with --out")
    there = [path.name for path in out.iterdir() if not is_temporary(path.name)] if out.is_dir() else []
    if (out / CONFIG).is_file() and not (out / PLAN).is_file():
        if (out / SECONDS).is_file():
            raise UsageError(f"{out} holds a run of distil without its {PLAN}; put it back, or choose another --out")
        raise UsageError(
            f"{out} holds a run of `koopstep train`; go on with `koopstep train {out} --resume`, or choose another --out"
        )
    if there and not any((out / name).exists() for name in _OURS):
        raise UsageError(f"{out} is not empty and holds no run of distil (found {there[0]}); choose another --out")


def check_run(plan: Plan, before: Plan | None, source: Source, out: Path, job: Job) -> None:
    """Refuse to follow ``plan`` in ``out`` where something there does not belong to it, or is damaged.

    Args:
        plan: what is to be done.
        before: the plan that the run followed until now; None where it begins.
        source: the teacher.
        out: the run's folder.
        job: where it runs, where it speaks and when it stops.

    Raises:
        UsageError: the paths are another teacher's, or the run cannot go on.
        DamagedError: the store is damaged.
    """
    store = store_of(plan, out)
    if (store / MANIFEST).is_file():
        _check_shards(store, plan, source)
        settings = plan.recipe.collect if plan.data is None else None
        check_store(
            stoppable(source.teacher, job.stop), store, settings, device=source.teacher.device or job.place.device
        )
    found = checkpoints(out / "checkpoints")
    if before is not None and plan.count > before.count and found and found[-1][0] >= plan.steps:
        raise UsageError(
            f"{out} is trained to its {plan.steps:,} steps: no step is left to learn from more paths; ask for more than "
            f"{plan.steps:,} steps, or for none, and they grow with the paths"
        )
    if not found and (out / "student").is_dir() and (plan != before or finished(out, plan) is None):
        raise UsageError(
            f"{out} has a student and no checkpoints, without which its training cannot go on; put them back, or choose "
            "another --out"
        )


def finished(out: Path, plan: Plan) -> dict[str, Any] | None:
    """The result of the whole plan, if it is there and of this very student."""
    try:
        kept = read_json(out / "report" / RESULT)
        there = kept["key"] == key_of(out, plan) and (out / "report" / "index.html").is_file()
    except (KoopstepError, KeyError, TypeError):
        return None
    if not there or not is_whole(out):
        return None
    result: dict[str, Any] = kept["result"]
    result["metrics"] = {
        name: result["metrics"][name] for name in plan.recipe.evaluation.metrics if name in result["metrics"]
    }
    return result | {"run": str(out), "report": str(out / "report" / "index.html")}  # the folder may have been moved


def key_of(out: Path, plan: Plan) -> dict[str, Any]:
    """What the result of a run is of: a student, and what it was judged by."""
    return {
        "student": read_student_file(out / "student").sha256,
        "steps": plan.steps,
        "count": plan.count,
        "reference": plan.reference,
    }


def store_of(plan: Plan, out: Path) -> Path:
    """Where the paths of a run are."""
    return out / STORE if plan.data is None else Path(plan.data)


def is_whole(out: Path) -> bool:
    """Whether ``config.yaml`` and the student are there, and its weights are those that were written."""
    try:
        read_config(out)
        return sha256_file(out / "student" / "model.safetensors") == read_student_file(out / "student").sha256
    except KoopstepError:
        return False


def _check_shards(folder: Path, plan: Plan, source: Source) -> None:
    try:
        if read_complete(folder) is None:
            return
    except DamagedError:
        if plan.data is None:  # what says that it is complete is written anew
            return
        raise
    store = Store.open(folder)
    damaged = store.verify(sizes_only=store.nbytes > _SOON_READ)
    if damaged:
        first = damaged[0]
        teacher = "" if plan.data is not None else f" --teacher {shlex.quote(source.file)}"
        raise DamagedError(
            f"{folder} is damaged in {len(damaged)} of {store.manifest.units} units (unit {first.unit}: {first.reason}); run "
            f"`koopstep data repair {shlex.quote(str(folder))}{teacher}`"
        )
