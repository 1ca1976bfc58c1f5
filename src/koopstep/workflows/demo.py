"""``koopstep demo``: distilling packaged teachers with their presets, into one page that one looks at."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.core.files import make_folder
from koopstep.core.job import Job
from koopstep.figures.html import Chapter, write_report
from koopstep.planning.making import PLAN, check_same, extended, make_plan, read_plan, write_plan
from koopstep.planning.plan import Plan, Wish
from koopstep.planning.source import Source
from koopstep.recipes.recipe import Recipe, load_recipe
from koopstep.runs.clock import Clock
from koopstep.runs.folder import STORE
from koopstep.workflows.checks import check_folder, check_run
from koopstep.workflows.find_source import find_source
from koopstep.workflows.report import tell
from koopstep.workflows.stages import carry_out

DEMO_PRESETS = ("checkerboard", "digits")
DEMO_FOLDER = Path("runs/demo")
_RUN = "run"
_TITLE = "One step instead of many"
_LEAD = (
    "A teacher carried noise to data in many network evaluations. Its student lifts the same noise, applies one linear "
    "(Koopman) operator and decodes: one evaluation. Everything below was measured on noise that training never saw."
)


@dataclass(frozen=True)
class _Shown:
    """A finished run of a demo, and its chapter where that was just made."""

    result: dict[str, Any]
    chapter: Chapter | None


def run_demo(
    preset: str | None, method: str, out: Path | None = None, *, quick: bool = False, job: Job
) -> dict[str, Any]:
    """Distil a preset's teacher, or briefly two; run again after an interruption to go on where it stopped.

    Args:
        preset: one preset; the checkerboard and the digits, ``quick``, when absent.
        method: one of the methods.
        out: folder for everything; when absent ``runs/demo``, and in it the preset's.
        quick: the preset's shorter version.
        job: where it runs, where it speaks and when it stops.

    Raises:
        UsageError: on unknown names, other settings than the ones ``out`` was started with, or a folder of something else.
        Interrupted: after ``job.stop`` said so; everything finished stays.
    """
    if preset is not None:
        recipe = load_recipe(preset, method, budget="quick" if quick else "demo")
        folder = DEMO_FOLDER / preset if out is None else out
        _check_folder(folder)
        shown = _one(recipe, folder, job)
        page = _page(folder, {preset: shown}, job)
        return shown.result | {"report": str(page), "files": [str(page), *shown.result["files"]]}
    folder = DEMO_FOLDER if out is None else out
    _check_folder(folder)
    done: dict[str, _Shown] = {}
    for name in DEMO_PRESETS:
        done[name] = _one(load_recipe(name, method, budget="quick"), folder / name, job)
    page = _page(folder, done, job)
    runs = {name: shown.result | {"report": str(page)} for name, shown in done.items()}
    seconds = {name: round(sum(run["seconds"].values()), 1) for name, run in runs.items()}
    return {"report": str(page), "runs": runs, "seconds": seconds, "files": [str(page)]}


def _check_folder(out: Path) -> None:
    """Refuse a folder that holds something, but no run of a demo."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder; name a folder")
    holds_demo = any((out / part / _RUN).is_dir() for part in ("", *DEMO_PRESETS)) or out == DEMO_FOLDER
    if out.is_dir() and any(out.iterdir()) and not holds_demo:
        raise UsageError(f"{out} is not empty and holds no demo; choose another --out")


def _one(recipe: Recipe, folder: Path, job: Job) -> _Shown:
    started, out = time.perf_counter(), folder / _RUN
    check_folder(out)
    job.console.say(f"{recipe.preset}: {recipe.about}")
    source, clock, before = find_source(recipe.teacher.file, out, job), Clock(out), read_plan(out)
    if before is None:
        plan = make_plan(source, recipe, "the preset's settings", None, job=job, started=started)
        check_run(plan, None, source, out, job)
        make_folder(out)
        write_plan(out, plan)
        clock.note("plan", time.perf_counter() - started)
    else:
        plan = _longer(before, recipe, source, clock, out)
        check_run(plan, before, source, out, job)
    outcome = carry_out(plan, before, source, out, clock, job=job)
    pictures = [str(path) for path in sorted((out / "report").rglob("*.png"))]
    named = {"preset": recipe.preset, "method": recipe.method, "files": pictures}
    return _Shown(outcome.result | named, outcome.chapter)


def _longer(before: Plan, recipe: Recipe, source: Source, clock: Clock, out: Path) -> Plan:
    """The plan of a run that is there: as it is, or as long as ``recipe`` is where that is longer."""
    same = check_same(before, source, recipe.method, (), None, out)
    mine, theirs = dump(recipe), dump(before.recipe)
    for part in ("student", "objective", "paths"):
        if mine[part] != theirs[part]:
            raise UsageError(f"{out} was begun with other settings under {part!r} ({out / PLAN}); choose another --out")
    wish = Wish(count=max(recipe.collect.count, before.count), steps=max(recipe.training.steps, before.steps))
    return extended(same, wish, clock.seconds)


def _page(folder: Path, shown: dict[str, _Shown], job: Job) -> Path:
    """The page about all of them, made again where something new is to be shown."""
    page = folder / "report" / "index.html"
    if page.is_file() and all(one.chapter is None for one in shown.values()):
        return page
    chapters = []
    for one in shown.values():
        run = Path(one.result["run"])
        chapters.append(one.chapter or tell(run, run / STORE, job).chapter)
    return write_report(page, _TITLE, _LEAD, chapters)
