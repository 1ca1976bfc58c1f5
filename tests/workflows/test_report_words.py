"""The sentences and headline numbers of a report: no more is said than was measured."""

from __future__ import annotations

from typing import Any

import pytest

from koopstep.runs.speed import Speed
from koopstep.workflows.report_words import measured_on, quality_fact, speed_fact, title


@pytest.mark.parametrize(
    ("teacher", "value", "label"),
    [
        (0.5, "5.00×", "faster than the teacher"),
        (0.025, "4.00×", "slower than the teacher"),
        (0.095, "1×", "about as fast as the teacher"),
    ],
)
def test_a_slower_student_is_not_called_faster(teacher: float, value: str, label: str) -> None:
    speed = Speed(
        machine="m",
        batch=1,
        repeats=3,
        student_seconds=0.1,
        teacher_seconds=teacher,
        teacher_from="measured",
        teacher_evaluations=5,
        reason="",
        student_sha256="",
    )
    fact = speed_fact(speed)
    assert (fact.value, fact.label) == (value, label)


def test_the_heading_says_the_steps_also_where_the_teachers_are_unknown() -> None:
    assert title(None, 1) == "From noise to data in one step"
    assert title(None, 4) == "From noise to data in 4 steps"


def measured(count: int, **values: tuple[float, float]) -> dict[str, Any]:
    """An evaluation with the student's value and the teacher's of some metrics."""
    student, teacher = ({name: pair[side] for name, pair in values.items()} for side in (0, 1))
    return {"metrics": student, "teacher": teacher, "protocol": {"count": count, "metrics": list(values)}, "spread": {}}


def test_a_ratio_is_given_only_where_so_many_samples_tell_one() -> None:
    fact = quality_fact(measured(10_000, frechet_pixel=(0.3, 0.1)), 64)
    assert fact is not None and fact.value == "3.00×" and fact.label.startswith("the teacher's")
    few = quality_fact(measured(125, frechet_pixel=(10.0, 12.0)), 784)
    assert few is not None and few.value == "10.0" and "125 samples are too few" in few.note
    other = quality_fact(measured(125, frechet_pixel=(10.0, 12.0), sliced_wasserstein=(0.16, 0.05)), 784)
    assert other is not None and "sliced Wasserstein" in other.label
    assert quality_fact(measured(125, pair_mse=(1.0, 1.0)), 784) is None


def test_a_student_is_not_called_better_than_chance_makes_it() -> None:
    found = measured(400, sliced_wasserstein=(0.045, 0.05)) | {"spread": {"sliced_wasserstein": 0.004}}
    fact = quality_fact(found, 2)
    assert fact is not None and fact.value == "≈ 1×" and "equal within what 400 samples can tell" in fact.note
    assert "By sliced_wasserstein they cannot tell student and teacher apart." in measured_on(found, 2)
    assert "and their ratio too near 1" in measured_on(measured(125, frechet_pixel=(10.0, 12.0)), 784)
