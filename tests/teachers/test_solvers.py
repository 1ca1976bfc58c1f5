"""Solvers against a flow that is known in closed form: order, number of calls, one path a grid."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import NumericsError, UsageError
from koopstep.core.levels import flow_times
from koopstep.teachers.solvers import DENOISER_SOLVERS, VELOCITY_SOLVERS, Solver, flow_dopri5

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
    assert set(VELOCITY_SOLVERS) == {"heun", "midpoint", "euler", "dopri5"}  # the last by its tolerances, below


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
            assert promised is None or len(calls) == promised(steps)
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


def exact_at(t: float) -> Tensor:
    return t * MEAN + spread_at(t) * START


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7])
def test_dopri5_keeps_its_tolerance_at_every_state(tolerance: float) -> None:
    times = flow_times(7).tolist()
    states = list(flow_dopri5(velocity, START, times, rtol=tolerance, atol=tolerance))
    assert all(state.dtype == torch.float64 and state.shape == START.shape for state in states)
    assert torch.equal(states[0], START)
    errors = [float((state - exact_at(t)).abs().max()) for t, state in zip(times, states, strict=True)]
    assert 0 < max(errors) < 20 * tolerance


def test_dopri5_works_as_hard_as_it_must() -> None:
    def calls(rtol: float, steps: int = 1) -> int:
        seen: list[float] = []

        def counted(x: Tensor, level: float) -> Tensor:
            seen.append(level)
            return velocity(x, level)

        ends.append(last(list(flow_dopri5(counted, START, flow_times(steps).tolist(), rtol=rtol, atol=rtol))))
        return len(seen)

    ends: list[Tensor] = []
    assert calls(1e-9) > calls(1e-3)
    assert calls(1e-5, steps=1) == calls(1e-5, steps=40)  # states on the way are read off, not solved for
    assert torch.equal(ends[-1], ends[-2])  # and do not move the end


def test_dopri5_takes_a_batch_of_images_as_one_vector() -> None:
    x = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    states = list(flow_dopri5(lambda x, t: math.cos(t) * x, x, [0.0, 0.25, 1.0], rtol=1e-8, atol=1e-8))
    for t, state in zip((0.0, 0.25, 1.0), states, strict=True):
        torch.testing.assert_close(state, x * math.exp(math.sin(t)), rtol=1e-6, atol=1e-6)
    states[1].add_(1.0)  # a state is the reader's own
    again = list(flow_dopri5(lambda x, t: math.cos(t) * x, x, [0.0, 0.25, 1.0], rtol=1e-8, atol=1e-8))
    assert torch.equal(again[2], states[2])


def test_what_dopri5_cannot_do_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NumericsError, match="NaN or infinity at t = "):
        list(flow_dopri5(lambda x, t: x / 0 if t > 0.3 else x, START, [0.0, 1.0]))
    with pytest.raises(NumericsError, match=r"got stuck at t = 0.[45]"):
        list(flow_dopri5(lambda x, t: x * (1e12 if t > 0.5 else 1) * abs(t - 0.5) ** -0.9, START, [0.0, 1.0]))
    with pytest.raises(UsageError, match=r"rtol and atol above 0, got 0\.0 and 1e-05"):
        list(flow_dopri5(velocity, START, [0.0, 1.0], rtol=0.0))

    monkeypatch.setitem(sys.modules, "scipy.integrate", None)
    with pytest.raises(UsageError, match=r"needs SciPy: pip install koopstep\[analysis\]"):
        list(flow_dopri5(velocity, START, [0.0, 1.0]))
