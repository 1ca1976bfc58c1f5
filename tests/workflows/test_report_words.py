"""The sentences and headline numbers of a report: no more is said than was measured."""

from __future__ import annotations

import pytest

from koopstep.runs.speed import Speed
from koopstep.workflows.report_words import speed_fact, title


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
