"""Modes of the noise alone are verified in the state that they add up to."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from koopstep.analysis.verify import judge_student, verify_student
from koopstep.analysis.verify_criterion import Judged, said
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.nets.mlp import MLPConfig
from koopstep.operators.modes import ModesOperator, ModesOperatorConfig
from koopstep.students.modes import ModesConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

STEPS = tuple(index / 6 for index in range(7))
RATES = ModesOperatorConfig(modes=2, real=1, growth_rates=(-1.0, -3.0, -6.0), rotation_rates=(2.0,))


def student_of(rates: ModesOperatorConfig = RATES, **changes: object) -> KoopmanStudent:
    torch.manual_seed(0)
    facts = DataFacts(shape=(3,), noise_scale=2.0, data_scale=1.0, progress=STEPS, levels=STEPS)
    network = MLPConfig(width=16, depth=2)
    student = build_student(
        ModesConfig(network=network, operator=rates, **{"within": False, **changes}),  # type: ignore[arg-type]
        facts,
    )
    with torch.no_grad():
        for name, parameter in student.codec.named_parameters():
            if not name.startswith("operator"):
                parameter.add_(0.5 * torch.randn(parameter.shape))
    return student.eval().requires_grad_(False)


def paths_of(student: KoopmanStudent, rows: int = 60) -> Batch:
    noise = torch.randn(rows, 3, generator=torch.Generator().manual_seed(1))
    progress = torch.tensor(STEPS)
    return Batch(noise, student.path(noise, progress), progress, None)


def judged(student: KoopmanStudent, batch: Batch) -> Judged:
    _, (found,) = judge_student(student, batch)
    assert found is not None
    return found


@pytest.mark.parametrize("shared_by", ["all", "noise"])
def test_modes_that_make_the_path_pass(shared_by: str) -> None:
    student = student_of(RATES.model_copy(update={"shared_by": shared_by}))
    found = judged(student, paths_of(student))
    mine = found.energy > 0
    assert found.moves[mine].all() and int(found.moves.sum()) == 3
    assert int(found.constant.sum()) == 1 and not found.control.any()
    assert float(found.residual.max()) < 1e-4
    assert said([found]).startswith("All 4 modes pass")
    rates = found.sums.functions.rates
    torch.testing.assert_close(found.sums.refit[0], rates, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.sums.refit[1], rates, rtol=0, atol=1e-3)


def test_wrong_rates_do_not_pass_and_the_right_ones_are_found() -> None:
    student = student_of()
    batch, wrong = paths_of(student), copy.deepcopy(student)
    operator = wrong.operators[0]
    assert isinstance(operator, ModesOperator)
    operator.growth[0] += 0.5  # the mode that turns decays more slowly
    found = judged(wrong, batch)
    turning = int((found.sums.functions.rates.imag > 0).nonzero()[0, 0])
    assert not found.passed[turning]
    assert said([found]).startswith("None of 4 modes passes;")
    true = judged(student, batch).sums.functions.rates[turning]
    assert 0.4 < abs(complex(found.sums.functions.rates[turning] - true)) < 0.6
    assert float((found.sums.refit[:, turning] - true).abs().max()) < 0.02
    for parameter in (operator.growth, operator.rotation):
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)).sign())
    assert not judged(wrong, batch).moves.any()


def test_modes_pass_by_name() -> None:
    found = judged(student_of(), paths_of(student_of()))
    some = replace(found, moves=torch.tensor([False, False, False, True]))
    assert said([some]).startswith("2 of 4 modes pass: constant, remainder; mode 1, mode 2 fail;")
    assert some.count(some.passed) == 2 * 2 * 3  # eigenvalues: own and partner, of three numbers


def test_forecasts_are_of_states_and_there_is_no_learned_step() -> None:
    student = student_of()
    found = verify_student(student, paths_of(student), {})
    assert found.refits[0].operator_distance is None
    assert max(found.latent()["the operator"]) < 1e-5 and max(found.states.errors["student"]) < 1e-5
    assert found.values()["levels"][0]["edmd"]["operator_distance"] is None


def test_modes_of_states_within_the_path_are_followed_in_the_latent() -> None:
    student = student_of(within=True)
    found = verify_student(student, paths_of(student), {})
    assert found.refits[0].operator_distance is not None


def test_a_sum_of_modes_is_needed() -> None:
    student = student_of()
    student.operators.append(copy.deepcopy(student.operators[0]))
    with pytest.raises(UsageError, match="no sum of modes"):
        judge_student(student, paths_of(student_of()))
