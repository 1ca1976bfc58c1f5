"""Solvers against a flow that is known in closed form: order, number of calls, one path a grid."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from koopstep.core.levels import flow_times
from koopstep.teachers.solvers import DENOISER_SOLVERS, VELOCITY_SOLVERS, Solver

MEAN, VARIANCE = 0.3, 0.5
START = torch.tensor([[-2.0], [0.1], [1.7]], dtype=torch.float64)


def denoiser(x: Tensor, sigma: float) -> Tensor:
    return MEAN + VARIANCE / (VARIANCE + sigma**2) * (x - MEAN)


def spread_at(t: float) -> float:
    return math.hypot(1 - t, t * math.sqrt(VARIANCE))


def velocity(x: Tensor, t: float) -> Tensor:
    slope = (t * VARIANCE - (1 - t)) / spread_at(t) ** 2
    return MEAN + slope * (x - t * MEAN)


def last(states: list[Tensor]) -> Tensor:
    return states[-1]


def denoiser_error(solver: Solver, steps: int) -> float:
    sigmas = torch.linspace(2.0, 0.4, steps + 1).tolist()  # ends above 0: there the last step is Euler's
    exact = MEAN + math.sqrt((VARIANCE + 0.16) / (VARIANCE + 4.0)) * (START - MEAN)
    return float((last(list(solver(denoiser, START, sigmas))) - exact).abs().max())


def velocity_error(solver: Solver, steps: int) -> float:
    exact = MEAN + math.sqrt(VARIANCE) * START
    return float((last(list(solver(velocity, START, flow_times(steps).tolist()))) - exact).abs().max())


def generic_error(solver: Solver, steps: int) -> float:
    exact = START * math.exp(math.sin(1.0))
    field = lambda x, t: math.cos(t) * x  # noqa: E731
    return float((last(list(solver(field, START, flow_times(steps).tolist()))) - exact).abs().max())


@pytest.mark.parametrize(("name", "order"), [("heun", 2), ("euler", 1)])
def test_order_of_the_denoiser_solvers(name: str, order: int) -> None:
    solver = DENOISER_SOLVERS[name][0]
    assert math.log2(denoiser_error(solver, 64) / denoiser_error(solver, 128)) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("name", "order"), [("heun", 2), ("midpoint", 2), ("euler", 1)])
def test_order_of_the_velocity_solvers(name: str, order: int) -> None:
    solver = VELOCITY_SOLVERS[name][0]
    assert math.log2(generic_error(solver, 64) / generic_error(solver, 128)) == pytest.approx(order, abs=0.15)
    # on the Gaussian's flow the midpoint method gains an order: the leading error vanishes on it
    gaussian = order + (name == "midpoint")
    assert math.log2(velocity_error(solver, 64) / velocity_error(solver, 128)) == pytest.approx(gaussian, abs=0.15)


def test_every_solver_has_its_order_tested() -> None:
    assert set(DENOISER_SOLVERS) == {"heun", "euler"}
    assert set(VELOCITY_SOLVERS) == {"heun", "midpoint", "euler"}


def test_edm_heun_by_hand() -> None:
    """EDM Alg. 1 on a grid of two steps, written out."""
    sigmas = [3.0, 1.0, 0.0]
    slope = (START - denoiser(START, 3.0)) / 3.0
    guess = START - 2.0 * slope
    middle = START - 2.0 * 0.5 * (slope + (guess - denoiser(guess, 1.0)) / 1.0)
    states = list(DENOISER_SOLVERS["heun"][0](denoiser, START, sigmas))
    torch.testing.assert_close(torch.stack(states), torch.stack([START, middle, denoiser(middle, 1.0)]))


def test_a_step_to_no_noise_is_the_denoiser() -> None:
    for solver, _ in DENOISER_SOLVERS.values():
        *_, end = solver(denoiser, START, [3.0, 0.0])
        torch.testing.assert_close(end, denoiser(START, 3.0))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_calls_are_those_the_table_promises(steps: int) -> None:
    for table, field, grid in (
        (DENOISER_SOLVERS, denoiser, [*torch.linspace(2.0, 0.1, steps).tolist(), 0.0]),
        (VELOCITY_SOLVERS, velocity, flow_times(steps).tolist()),
    ):
        for solver, promised in table.values():
            calls: list[float] = []

            def counted(x: Tensor, level: float, field=field, calls=calls) -> Tensor:  # type: ignore[no-untyped-def]
                calls.append(level)
                return field(x, level)

            assert len(list(solver(counted, START, grid))) == steps + 1
            assert len(calls) == promised(steps)
            assert table is VELOCITY_SOLVERS or min(calls) > 0  # a denoiser is never asked at sigma = 0
    assert DENOISER_SOLVERS["heun"][1](18) == 35  # the paper's numbers
    assert DENOISER_SOLVERS["heun"][1](40) == 79


def test_states_come_one_at_a_time() -> None:
    """A solver is a generator: the first state costs no call, and stopping early saves the rest."""
    calls: list[float] = []

    def counted(x: Tensor, level: float) -> Tensor:
        calls.append(level)
        return denoiser(x, level)

    states = DENOISER_SOLVERS["euler"][0](counted, START, [3.0, 2.0, 1.0, 0.0])
    assert torch.equal(next(states), START)
    assert not calls
    next(states)
    assert calls == [3.0]
