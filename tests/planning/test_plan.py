"""The arithmetic of a plan: budgets, lengths, words."""

from __future__ import annotations

import pytest

from koopstep.core.errors import UsageError
from koopstep.planning.plan import (
    LEAST_COUNT,
    LEAST_STEPS,
    MARGIN,
    MOST_COUNT,
    MOST_STEPS,
    Costs,
    Full,
    Wish,
    in_bytes,
    in_words,
    lengths,
    read_budget,
    stage_seconds,
)

COSTS = Costs(start=5.0, path=0.005, step=0.15, row=0.0005, evaluate=3.0, report=5.0)
FULL = Full(28_000, 2000, 128)


def total(costs: Costs, count: int, steps: int, **more: int) -> float:
    return sum(stage_seconds(costs, count, steps, **more).values())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("8h", 28_800), ("1h30m", 5400), ("0.5m", 30), ("2D", 172_800)]
)
def test_a_budget_is_read(text: str, seconds: float) -> None:
    assert read_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "3", "m", "3 m", "-3m", "3m!", "0s", "3x", "m3"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        read_budget(text)


@pytest.mark.parametrize("budget", [60.0, 180.0, 600.0, 3600.0, 28_800.0])
@pytest.mark.parametrize("path", [1e-5, 0.005, 0.05])
def test_a_budget_is_used_and_kept(budget: float, path: float) -> None:
    costs = COSTS.model_copy(update={"path": path})
    count, steps = lengths(FULL, Wish(budget), costs)
    spent = total(costs, count, steps)
    assert spent <= budget * (1 - MARGIN)
    assert spent >= budget * (1 - MARGIN) * 0.97 or (count, steps) == (MOST_COUNT, MOST_STEPS)


def test_paths_and_steps_shrink_in_one_proportion() -> None:
    count, steps = lengths(FULL, Wish(180.0), COSTS)
    assert count / FULL.count == pytest.approx(steps / FULL.steps, rel=0.01)


def test_cheap_paths_are_more() -> None:
    count, steps = lengths(FULL, Wish(60.0), COSTS.model_copy(update={"path": 1e-6}))
    assert count == steps * FULL.batch_size // 2  # each is seen twice
    assert count > 4 * FULL.count * steps / FULL.steps


def test_what_was_named_stays() -> None:
    assert lengths(FULL, Wish(), COSTS) == (28_000, 2000)
    assert lengths(FULL, Wish(count=600, steps=70), COSTS) == (600, 70)
    assert lengths(FULL, Wish(quick=True), COSTS)[1] == 300
    count, steps = lengths(FULL, Wish(180.0, count=3000), COSTS)
    assert count == 3000 and steps > 800
    count, steps = lengths(FULL, Wish(180.0, steps=300), COSTS)
    assert steps == 300 and count > 15_000
    count, steps = lengths(FULL, Wish(180.0), COSTS, existing=500, rows=100)
    assert count == 500 and total(COSTS, 500, steps, collects=0, rows=100) <= 162


def test_a_budget_that_nothing_fits_into_names_one_that_does() -> None:
    with pytest.raises(UsageError, match=r"a budget of 10 s is too short.*give --budget (2[0-9])s or more"):
        lengths(FULL, Wish(10.0), COSTS)
    assert lengths(FULL, Wish(30.0), COSTS) >= (LEAST_COUNT, LEAST_STEPS)


def test_contradicting_wishes_are_refused() -> None:
    with pytest.raises(UsageError, match="quick"):
        Wish(60.0, quick=True)
    with pytest.raises(UsageError, match="leave one of the three out"):
        Wish(60.0, 100, 100)
    with pytest.raises(UsageError, match="steps must be at least 1"):
        Wish(steps=0)
    assert Wish().empty and str(Wish()) == "full quality"
    assert str(Wish(180.0)) == "--budget 3 min" and str(Wish(count=50, steps=6)) == "--count 50 --steps 6"


def test_stages_add_up() -> None:
    stages = stage_seconds(COSTS, 1000, 100)
    assert list(stages) == ["plan", "collect", "train", "evaluate", "report"]
    assert (stages["plan"], stages["collect"], stages["train"]) == pytest.approx((5, 5, 15))
    assert "collect" not in stage_seconds(COSTS, 1000, 100, collects=False)


def test_times_and_sizes_in_words() -> None:
    words = [in_words(seconds) for seconds in (0.2, 48, 180, 161, 754, 7800, 28_800, 260_000)]
    assert words == ["less than 1 s", "48 s", "3 min", "2.7 min", "13 min", "2 h 10 min", "8 h", "3.0 days"]
    assert [in_bytes(size) for size in (12, 2300, 2_026_752, 12e9)] == ["12 bytes", "2.3 kB", "2.0 MB", "12 GB"]  # type: ignore[arg-type]
