"""``koopstep demo``: the whole way on built-in data, from a packaged teacher to a page one looks at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from koopstep.core.errors import KoopstepError, UsageError
from koopstep.core.files import make_folder, read_json, write_json
from koopstep.core.job import Job
from koopstep.figures.html import Chapter, seconds_text, write_report
from koopstep.recipes.recipe import Recipe, load_recipe
from koopstep.workflows.collect import collect_store
from koopstep.workflows.evaluate import evaluate
from koopstep.workflows.report import chapter_of
from koopstep.workflows.train import train_student

DEMO_PRESETS = ("checkerboard", "digits")

_TITLE = "One step instead of many"
_LEAD = (
    "A diffusion teacher carried noise to data in many network evaluations. Its student lifts the same noise, applies one "
    "linear (Koopman) operator and decodes: one evaluation. Everything below was measured on noise that training never saw."
)


def run_demo(preset: str | None, method: str, out: Path, *, job: Job) -> dict[str, Any]:
    """Collect, train, evaluate and report; run again after an interruption to go on where it stopped.

    Args:
        preset: one preset; the checkerboard and (briefly) the digits when absent.
        method: one of the methods.
        out: folder for everything.
        job: where it runs, where it speaks and when it stops.

    Raises:
        UsageError: on unknown names, other settings than the ones ``out`` was started with, or a folder of something else.
        Interrupted: after ``job.stop`` said so; everything finished stays.
    """
    _check_folder(out)
    if preset is not None:
        recipe = load_recipe(preset, method, budget="demo")
        result, chapter = _one(recipe, out, job=job)
        page = write_report(out / "report" / "index.html", _TITLE, _LEAD, [chapter])
        return result | {"report": str(page), "files": [str(page), *result["files"]]}
    runs: dict[str, Any] = {}
    chapters: list[Chapter] = []
    page = out / "report" / "index.html"
    for name in DEMO_PRESETS:
        recipe = load_recipe(name, method, budget="quick")
        runs[name], chapter = _one(recipe, out / name, job=job)
        runs[name]["report"] = str(page)
        chapters.append(chapter)
        write_report(page, _TITLE, _LEAD, chapters)
    seconds = {name: round(sum(result["seconds"].values()), 1) for name, result in runs.items()}
    return {"report": str(page), "runs": runs, "seconds": seconds, "files": [str(page)]}


def _check_folder(out: Path) -> None:
    """Refuse a folder that holds something, but none of a demo's stores."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder; name a folder")
    holds_demo = any((out / part / "store").is_dir() for part in ("", *DEMO_PRESETS))
    if out.is_dir() and any(out.iterdir()) and not holds_demo:
        raise UsageError(f"{out} is not empty and holds no demo; choose another --out")


def _one(recipe: Recipe, folder: Path, *, job: Job) -> tuple[dict[str, Any], Chapter]:
    store, run = folder / "store", folder / "run"
    job.console.say(f"{recipe.preset}: {recipe.about}")
    clock = _Clock(folder / "seconds.json")
    with clock.stage("collect", finished=(store / "complete.json").is_file()):
        collected = collect_store(
            recipe.teacher.file,
            store,
            recipe.collect,
            rank=0,
            world=1,
            job=job,
        )
    with clock.stage("train", finished=(run / "student" / "config.json").is_file()):
        trained = train_student(recipe, store, run, resume=True, job=job)
    with clock.stage("evaluate"):
        measured = evaluate(run, data=store, job=job).plain()
    with clock.stage("report"):
        chapter = chapter_of(run, store, measured, job)
    seconds = clock.seconds
    chapter.details["seconds"] = seconds_text(seconds)
    result = {
        "preset": recipe.preset,
        "method": recipe.method,
        "run": str(run),
        "teacher": {"nfe": collected["nfe"], "name": collected["teacher"], **measured["teacher"]},
        "student": {"nfe": 1, "steps": trained.step, "images_per_second": trained.images_per_second or None},
        "metrics": measured["metrics"],
        "protocol": measured["protocol"],
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "files": [str(picture.path) for picture in chapter.pictures],
    }
    return result, chapter


class _Clock:
    """What each stage took, kept in a file: a stage that goes on adds to it, one that was finished before adds nothing.

    Attributes:
        seconds: by stage; a stage that was finished by a version that kept no file is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            kept = read_json(path)
            self.seconds = {str(name): float(value) for name, value in kept.items()}
        except (KoopstepError, AttributeError, TypeError, ValueError):
            self.seconds = {}

    @contextmanager
    def stage(self, name: str, *, finished: bool | None = None) -> Iterator[None]:
        """Time a stage; ``finished`` says of a stage that goes on where it stopped whether there is nothing left of it."""
        started = time.perf_counter()
        try:
            yield
        finally:
            if not finished:
                before = self.seconds.get(name, 0.0) if finished is not None else 0.0
                self.seconds[name] = before + time.perf_counter() - started
                make_folder(self._path.parent)
                write_json(self._path, self.seconds)
