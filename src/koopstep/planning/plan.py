"""What distilling will take: how many paths and steps fit a budget, and how long each stage lasts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from koopstep.core.config import Config
from koopstep.core.errors import UsageError
from koopstep.recipes.derive import held_out
from koopstep.recipes.recipe import Recipe

QUICK = 0.15  # of the full lengths
MARGIN = 0.1  # of a budget, left free: no machine does everything in the time it was measured at
_CHEAP, _SEEN = 0.25, 2  # paths are made in a quarter of the training's time where few would be seen more than twice
FEWEST = 8  # paths, of which two are held out
LEAST_COUNT, LEAST_STEPS = 400, 50  # below which no student is worth judging
MOST_COUNT, MOST_STEPS = 1_000_000, 800_000  # as published; more was measured by nobody
_EVALUATE_SAMPLES, _REPORT_SAMPLES, _REPORT_ROWS = 1, 3, 10_000  # how often held-out rows go through the student
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TERM = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


class Costs(Config):
    """Seconds, as they were measured on this machine.

    Attributes:
        start: before the first stage, once.
        path: one path.
        step: one training step.
        row: sampling one held-out row.
        evaluate, report: besides the rows.
    """

    start: float = Field(ge=0)
    path: float = Field(ge=0)
    step: float = Field(ge=0)
    row: float = Field(ge=0)
    evaluate: float = Field(ge=0)
    report: float = Field(ge=0)


class Plan(Config):
    """What is done for a run, kept in its ``plan.json``.

    Attributes:
        recipe: every setting, with the numbers of paths and steps.
        why: the reason for the method, in words.
        teacher, teacher_sha256: whose paths; the digest is empty for a function.
        data: the store of existing pairs; None where paths are collected.
        reference: digest of the real data that the user gave.
        asked: the budget, count and steps that were asked for.
        full: paths and steps at full quality.
        bytes: of the store.
        evaluations: of the teacher's network.
        costs: what one of each takes.
        stages: seconds of each stage.
    """

    format: Literal[1] = 1
    recipe: Recipe
    why: str
    teacher: str
    teacher_sha256: str
    data: str | None = None
    reference: str | None = None
    asked: str
    full: tuple[int, int]
    bytes: int
    evaluations: int
    costs: Costs
    stages: dict[str, float]

    @property
    def count(self) -> int:
        """Paths."""
        return self.recipe.collect.count

    @property
    def steps(self) -> int:
        """Training steps."""
        return self.recipe.training.steps

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(self.stages.values())

    def summary(self) -> dict[str, Any]:
        """The plan as the command's JSON has it."""
        return {
            "method": self.recipe.method,
            "why": self.why,
            "count": self.count,
            "steps": self.steps,
            "bytes": self.bytes,
            "evaluations": self.evaluations,
            "seconds": round(self.seconds, 1),
            "stages": {name: round(seconds, 1) for name, seconds in self.stages.items()},
        }

    def lines(self) -> list[str]:
        """The plan for people."""
        recipe, collected = self.recipe, self.data is None
        paths = f"{self.count:,} paths"
        if collected:
            paths += (
                f" of {recipe.collect.steps} steps: {self.evaluations:,} network evaluations, {in_bytes(self.bytes)}"
            )
        else:
            paths += f" that exist, in {self.data}"
        stages = ", ".join(f"{name} {in_words(seconds)}" for name, seconds in self.stages.items())
        return [
            f"method    {recipe.method}: {self.why}",
            f"paths     {paths}",
            f"training  {self.steps:,} steps of {recipe.training.batch_size:,}",
            f"time      about {in_words(self.seconds)} on this machine: {stages}",
        ]


@dataclass(frozen=True)
class Wish:
    """What a user asks for; None and False where nothing is said.

    Attributes:
        budget: seconds for the whole.
        count: paths.
        steps: training steps.
        quick: a fraction of the full lengths.
    """

    budget: float | None = None
    count: int | None = None
    steps: int | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget <= 0:
            raise UsageError(f"a budget must be more than no time, got {self.budget:g}")
        if self.count is not None and 1 <= self.count < FEWEST:
            raise UsageError(
                f"of {self.count} paths too few can be held out to judge a student; ask for {FEWEST} or more"
            )
        if self.budget is not None and self.quick:
            raise UsageError("a budget says how long it may take and quick takes a fixed fraction; give one of them")
        if self.budget is not None and self.count is not None and self.steps is not None:
            raise UsageError("count and steps together leave a budget nothing to decide; leave one of the three out")
        for name, value in (("count", self.count), ("steps", self.steps)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")

    @property
    def empty(self) -> bool:
        """Whether nothing was asked for."""
        return self == Wish()

    def __str__(self) -> str:
        parts = [
            f"--budget {in_words(self.budget)}" if self.budget is not None else "",
            f"--count {self.count}" if self.count is not None else "",
            f"--steps {self.steps}" if self.steps is not None else "",
            "--quick" if self.quick else "",
        ]
        return " ".join(part for part in parts if part) or "full quality"


def read_budget(text: str) -> float:
    """``90s``, ``20m``, ``8h``, ``1h30m`` -> seconds.

    Raises:
        UsageError: on anything else.
    """
    found = _TERM.findall(text.strip().lower())
    if not found or "".join(number + unit for number, unit in found) != text.strip().lower():
        raise UsageError(f"a budget is a time with its unit, as in 90s, 20m, 8h or 1h30m, got {text!r}")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in found)
    if seconds <= 0:
        raise UsageError(f"a budget must be more than no time, got {text!r}")
    return seconds


def stage_seconds(
    costs: Costs, count: int, steps: int, *, collects: bool = True, rows: int | None = None
) -> dict[str, float]:
    """How long each stage lasts.

    Args:
        costs: of one of each.
        count: paths.
        steps: of training.
        collects: whether the paths are made first.
        rows: held out; as many as of ``count`` paths are by default.
    """
    held = held_out(count) if rows is None else rows
    stages = {
        "plan": costs.start,
        "collect": costs.path * count if collects else 0.0,
        "train": costs.step * steps,
        "evaluate": costs.evaluate + costs.row * held * _EVALUATE_SAMPLES,
        "report": costs.report + costs.row * min(held, _REPORT_ROWS) * _REPORT_SAMPLES,
    }
    return stages if collects else {name: seconds for name, seconds in stages.items() if name != "collect"}


@dataclass(frozen=True)
class Full:
    """The lengths at full quality."""

    count: int
    steps: int
    batch_size: int


def lengths(
    full: Full, wish: Wish, costs: Costs, *, existing: int | None = None, rows: int | None = None
) -> tuple[int, int]:
    """How many paths and training steps a wish comes to.

    A budget shortens or lengthens both in one proportion, so that each path is seen as often as at full quality; where paths
    cost little beside the steps there are more of them.

    Args:
        full: the lengths at full quality.
        wish: what was asked for.
        costs: what one of each takes.
        existing: paths that are there already, and are not made.
        rows: held out; as many as of new paths are by default.

    Raises:
        UsageError: if the budget is less than the least takes.
    """

    def at(share: float) -> tuple[int, int]:
        steps = wish.steps or min(max(round(full.steps * share), LEAST_STEPS), MOST_STEPS)
        if existing or wish.count:
            return existing or wish.count or 0, steps
        count = max(round(full.count * share), LEAST_COUNT)
        affordable = _CHEAP * costs.step * steps / max(costs.path, 1e-12)
        cheap = int(min(steps * full.batch_size / _SEEN, affordable, full.count))
        return min(max(count, cheap), MOST_COUNT), steps

    def seconds(share: float) -> float:
        return sum(stage_seconds(costs, *at(share), collects=existing is None, rows=rows).values())

    if wish.budget is None:
        return at(QUICK if wish.quick else 1.0)
    free = wish.budget * (1 - MARGIN)
    if seconds(0.0) > free:
        needed = math.ceil(seconds(0.0) / (1 - MARGIN))
        raise UsageError(
            f"a budget of {in_words(wish.budget)} is too short: the least that gives a student takes {in_words(needed)} on "
            f"this machine; give --budget {needed}s or more"
        )
    low, high = 0.0, 1.0
    while seconds(high) <= free and at(high) != at(2 * high):
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if seconds(middle) <= free else (low, middle)
    return at(low)


def in_words(seconds: float) -> str:
    """``48 s``, ``3 min``, ``2 h 10 min``, ``3 days``."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s" if seconds >= 1 else "less than 1 s"
    minutes = round(seconds / 60, 1) if seconds < 600 else round(seconds / 60)
    if minutes < 100:
        return f"{minutes:g} min"
    hours, rest = divmod(round(minutes), 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours / 24:.1f} days"


def in_bytes(number: int) -> str:
    """``2.3 MB``, ``12 GB``."""
    size, unit = float(number), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"
