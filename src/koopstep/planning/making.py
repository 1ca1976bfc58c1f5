"""From a teacher and a wish to a plan, and from the plan of a run to a longer one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from koopstep.core.config import dump
from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_json, write_json
from koopstep.core.job import Job
from koopstep.data import collect as collecting
from koopstep.data.commits import MANIFEST
from koopstep.data.sources import DataSource
from koopstep.data.store import Store
from koopstep.planning.plan import Costs, Full, Plan, Wish, in_words, lengths, stage_seconds
from koopstep.planning.source import Source, material_of
from koopstep.planning.timing import check_deterministic, measure
from koopstep.recipes.derive import default_method, derive, of_lengths, of_steps
from koopstep.recipes.recipe import Recipe, change_recipe
from koopstep.runs.folder import CONFIG
from koopstep.teachers.files import goes_by
from koopstep.teachers.stoppable import stoppable
from koopstep.training.checkpoint import flat
from koopstep.training.settings import may_change

PLAN = "plan.json"
_STARTING = 3.0  # seconds until Python and PyTorch are loaded, which nobody here sees
_WITHIN = ("trajectory", "intermediate", "linearity", "generator", "adversarial_within")
_PLANNED = {"training.steps": "--steps", "collect.count": "--count", "collect.hold_out": "--count"}
_DECIDES = ("initialise", "paths", "student", "objective", "training")


def read_plan(out: Path) -> Plan | None:
    """The plan of the run in ``out``; None where there is none.

    Raises:
        DamagedError: if it cannot be read.
    """
    if not (out / PLAN).is_file():
        return None
    try:
        return Plan.parse(read_json(out / PLAN), str(out / PLAN))
    except UsageError as error:
        trained = (out / CONFIG).is_file()  # by settings that are not known any more
        advice = "put back a copy of it, or choose another --out" if trained else "delete it to plan anew"
        raise DamagedError(f"{error}; {advice}") from error


def write_plan(out: Path, plan: Plan) -> None:
    """Keep ``plan`` in the run's folder."""
    write_json(out / PLAN, dump(plan))


def chosen_recipe(
    source: Source, real: DataSource | None, method: str | None, changes: Iterable[str]
) -> tuple[Recipe, str]:
    """The recipe that a teacher asks for, at full quality, and why it has its method."""
    check_changes(changes)
    material = material_of(source, real)
    best, why = default_method(material)
    recipe = derive(material, method or best)
    where = f"recipe for {source.teacher.name} with method {recipe.method}"
    return change_recipe(recipe, changes, where), why if method in (None, best) else "as asked"


def check_changes(changes: Iterable[str]) -> None:
    """Refuse changes of what the plan decides.

    Raises:
        UsageError: naming what decides it.
    """
    for change in changes:
        name = change.partition("=")[0].strip()
        if name in _PLANNED:
            raise UsageError(f"{change}: {name} is decided by {_PLANNED[name]}; give that")


def make_plan(
    source: Source,
    recipe: Recipe,
    why: str,
    wish: Wish | None,
    *,
    store: Store | None = None,
    reference: str | None = None,
    job: Job,
    started: float,
) -> Plan:
    """Try out what each part takes, and see what fits the wish.

    Args:
        source: the teacher.
        recipe: at full quality.
        why: it has its method.
        wish: what was asked for; None where the recipe's lengths are final.
        store: existing pairs, which are learned from in the place of new ones.
        reference: digest of the real data that was given.
        job: where it runs, where it speaks and when it stops.
        started: when the command began, by ``time.perf_counter``.

    Raises:
        UsageError: if the teacher's paths are not a function of their noise, the store is of something else, or the wish
            cannot be met.
    """
    teacher = stoppable(source.teacher, job.stop)
    if store is None:
        check_deterministic(teacher, job.place)
    else:
        recipe = on_store(recipe, store, source)
    collects = store is None
    job.console.say("timing a few paths and training steps")
    costs, recipe = measure(teacher, recipe, job.place, collects=collects, stop=job.stop)
    costs = costs.model_copy(update={"start": time.perf_counter() - started + _STARTING})
    rows = None if store is None else store.manifest.hold_out
    full = Full(recipe.collect.count, recipe.training.steps, recipe.training.batch_size)
    if wish is not None:
        existing = None if store is None else store.count
        count, steps = lengths(full, wish, costs, existing=existing, rows=rows)
        recipe = of_lengths(recipe, count, steps) if store is None else _of_store(recipe, store, steps)
    manifest = collecting.plan(source.teacher, recipe.collect) if store is None else store.manifest
    return Plan(
        recipe=recipe,
        why=why,
        teacher=source.teacher.name,
        teacher_sha256=source.teacher.sha256,
        data=None if store is None else str(store.folder.resolve()),
        reference=reference,
        asked="" if wish is None else str(wish),
        full=(full.count, full.steps),
        bytes=manifest.count * manifest.row_bytes if store is None else store.nbytes,
        evaluations=manifest.count * manifest.teacher.num_function_evaluations if collects else 0,
        costs=costs,
        stages=stage_seconds(
            costs, recipe.collect.count, recipe.training.steps, collects=collects, rows=recipe.collect.hold_out
        ),
    )


def extended(plan: Plan, wish: Wish, seconds: dict[str, float]) -> Plan:
    """The plan of a run that goes on for longer, by what its stages really took; ``plan`` itself where no more is asked.

    More paths without a word about steps come with as many more steps: what was trained to its end learns from no path.
    """
    if wish.empty or wish.quick or str(wish) == plan.asked:
        return plan
    costs, grows, held = _refined(plan, seconds), plan.data is None, plan.recipe.collect.hold_out
    full = Full(*plan.full, plan.recipe.training.batch_size)
    taken = sum(stage_seconds(costs, plan.count, plan.steps, collects=grows, rows=held).values())
    if wish.budget is None:
        count = max(wish.count or 0, plan.count) if grows else plan.count
        steps = wish.steps or math.ceil(plan.steps * count / plan.count)
    elif wish.budget <= taken:
        return plan
    else:
        count, steps = lengths(full, wish, costs, existing=None if grows else plan.count, rows=held)
        if count < plan.count or (wish.steps is None and steps <= plan.steps):  # more paths alone would teach nothing
            count, steps = lengths(full, Wish(wish.budget, plan.count), costs, rows=held)
    steps = max(steps, plan.steps)
    if (count, steps) == (plan.count, plan.steps):
        return plan
    recipe = plan.recipe
    parts = {
        "collect": recipe.collect.model_copy(update={"count": count}),
        "training": recipe.training.model_copy(update={"steps": steps}),
    }
    update = {
        "recipe": recipe.model_copy(update=parts),
        "asked": str(wish),
        "costs": costs,
        "stages": stage_seconds(costs, count, steps, collects=grows, rows=held),
        "bytes": plan.bytes * count // plan.count,
        "evaluations": plan.evaluations * count // plan.count,
    }
    return plan.model_copy(update=update)


def check_same(
    plan: Plan, source: Source, method: str | None, changes: Iterable[str], data: Path | None, out: Path
) -> Plan:
    """The plan with what may change of it, if the run in ``out`` is the one that is asked for.

    Raises:
        UsageError: if it was begun with another teacher, method, setting or store.
    """
    other = "; choose another --out"
    teacher = source.teacher
    if (plan.teacher_sha256, plan.teacher_sha256 or plan.teacher) != (teacher.sha256, teacher.sha256 or teacher.name):
        raise UsageError(f"{out} was begun with the teacher {plan.teacher!r}, not with this {teacher.name!r}{other}")
    if method not in (None, plan.recipe.method):
        raise UsageError(f"{out} was begun with --method {plan.recipe.method}, not {method}{other}")
    if data is not None and plan.data is None:
        raise UsageError(f"{out} was begun with paths of its own, not with --data {data}{other}")
    if data is not None and plan.data is not None and (data / MANIFEST).is_file() and not data.samefile(plan.data):
        raise UsageError(f"{out} was begun with --data {plan.data}, not {data}{other}")
    check_changes(changes)
    recipe = change_recipe(plan.recipe, changes, str(out / PLAN))
    before, now = flat(dump(plan.recipe, complete=True)), flat(dump(recipe, complete=True))
    for name in before:
        if (
            name.split(".")[0] in _DECIDES
            and before[name] != now.get(name)
            and not may_change(name, before[name], now[name])
        ):
            raise UsageError(f"{out} was begun with {name}={before[name]}, not {now.get(name)}{other}")
    return plan.model_copy(update={"recipe": recipe})


def on_store(recipe: Recipe, store: Store, source: Source) -> Recipe:
    """``recipe`` for pairs that exist: without states within the path where the store has none of them.

    Raises:
        UsageError: if the store is another teacher's, holds nothing out, or lacks what the method learns from.
    """
    manifest, teacher = store.manifest, source.teacher
    made_by = manifest.teacher
    if manifest.shape != tuple(teacher.shape) or made_by.num_classes != teacher.num_classes:
        raise UsageError(
            f"{store.folder} holds shape {manifest.shape} with {made_by.num_classes} classes, the teacher makes "
            f"{tuple(teacher.shape)} with {teacher.num_classes}; name pairs of this teacher with --data"
        )
    own = goes_by(teacher, made_by.sha256) if made_by.sha256 else (teacher.name, teacher.sha256) == (made_by.name, "")
    if not own and made_by.kind != "imported":
        raise UsageError(f"{store.folder} holds paths of the teacher {made_by.name!r}, not of this {teacher.name!r}")
    if not manifest.hold_out:
        raise UsageError(f"{store.folder} holds no rows out of training; collect or import with --hold-out")
    update: dict[str, Any] = {"collect": collecting.settings_of(manifest)}
    if not (own and teacher.sha256):
        update["initialise"] = "fresh"
    if len(manifest.kept) == 2:
        objective = recipe.objective
        if objective.linearity or objective.intermediate or objective.generator:
            raise UsageError(
                f"{recipe.method} learns from states within the path, and {store.folder} holds the two ends only; collect "
                "with --keep 5, or take --method kdm"
            )
        silent = {name: 0.0 for name in _WITHIN if getattr(objective, name)}
        update["objective"] = objective.model_copy(update=silent | ({"prediction": 1.0} if silent else {}))
    return recipe.model_copy(update=update)


def _of_store(recipe: Recipe, store: Store, steps: int) -> Recipe:
    return of_steps(recipe, steps, len(store.training_rows()))


def _refined(plan: Plan, seconds: dict[str, float]) -> Costs:
    """What one of each really took, where a stage is through."""
    measured: dict[str, float] = {}
    if plan.data is None and seconds.get("collect"):
        measured["path"] = seconds["collect"] / plan.count
    if seconds.get("train") and seconds.get("report"):  # what comes after it is there: it is through
        measured["step"] = seconds["train"] / plan.steps
    return plan.costs.model_copy(update=measured)


def plan_note(plan: Plan, before: Plan) -> str:
    """What is said of a run that is made longer."""
    more = sum(
        max(plan.stages[name] - before.stages[name], 0.0) for name in ("collect", "train") if name in plan.stages
    )
    return (
        f"going on from {before.count:,} paths and {before.steps:,} steps to {plan.count:,} and {plan.steps:,}: about "
        f"{in_words(more + plan.stages['evaluate'] + plan.stages['report'])} more"
    )
