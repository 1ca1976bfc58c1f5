"""Solvers of the path equation as generators: each yields every state, so path and end point are the same function."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from koopstep.core.errors import NumericsError, UsageError

Field = Callable[[Tensor, float], Tensor]
"""``f(x, level)``: a denoiser (level sigma) or a velocity (level t); (B, *shape) float64 -> (B, *shape)."""


def edm_heun(denoiser: Field, x: Tensor, sigmas: list[float]) -> Iterator[Tensor]:
    """EDM's deterministic sampler (EDM Alg. 1): Heun's method in sigma, the last step (to 0) by Euler.

    ``2 N - 1`` calls for N steps. ``x`` is noise already scaled by ``sigmas[0]``; yields N + 1 states.
    """
    yield x
    for sigma, following in itertools.pairwise(sigmas):
        slope = (x - denoiser(x, sigma)) / sigma
        proposal = x + (following - sigma) * slope
        if following > 0:
            corrected = (proposal - denoiser(proposal, following)) / following
            proposal = x + (following - sigma) * 0.5 * (slope + corrected)
        x = proposal
        yield x


def edm_euler(denoiser: Field, x: Tensor, sigmas: list[float]) -> Iterator[Tensor]:
    """Euler's method in sigma (DDIM); N calls for N steps."""
    yield x
    for sigma, following in itertools.pairwise(sigmas):
        x = x + (following - sigma) * (x - denoiser(x, sigma)) / sigma
        yield x


def flow_euler(velocity: Field, x: Tensor, times: list[float]) -> Iterator[Tensor]:
    """Euler's method in t; N calls for N steps."""
    yield x
    for t, following in itertools.pairwise(times):
        x = x + (following - t) * velocity(x, t)
        yield x


def flow_midpoint(velocity: Field, x: Tensor, times: list[float]) -> Iterator[Tensor]:
    """The midpoint method in t; 2 N calls for N steps."""
    yield x
    for t, following in itertools.pairwise(times):
        half = 0.5 * (following - t)
        x = x + 2 * half * velocity(x + half * velocity(x, t), t + half)
        yield x


def flow_heun(velocity: Field, x: Tensor, times: list[float]) -> Iterator[Tensor]:
    """Heun's method in t; 2 N calls for N steps."""
    yield x
    for t, following in itertools.pairwise(times):
        step = following - t
        slope = velocity(x, t)
        x = x + 0.5 * step * (slope + velocity(x + step * slope, following))
        yield x


def flow_dopri5(
    velocity: Field, x: Tensor, times: list[float], *, rtol: float = 1e-5, atol: float = 1e-5
) -> Iterator[Tensor]:
    """Dormand and Prince's adaptive method of order 5 in t, by SciPy.

    The batch is one vector: all rows share their steps, which go by the root mean square of the error over all of them.
    States at ``times`` are read off the method's own interpolant (order 4), the last is the end of a step. How often it
    calls ``velocity`` depends on the batch and the tolerances, not on ``times``.

    Raises:
        UsageError: if SciPy is not installed, or a tolerance is not above 0.
        NumericsError: if the velocity holds NaN or infinity, or no step is small enough.
    """
    if not (rtol > 0 and atol > 0):
        raise UsageError(f"the solver dopri5 needs rtol and atol above 0, got {rtol} and {atol}")
    method = _runge_kutta()

    def slope(t: float, flat: Any) -> Any:
        value = velocity(torch.from_numpy(flat).to(x.device).view(x.shape), float(t))
        if not bool(torch.isfinite(value).all()):
            raise NumericsError(f"the velocity holds NaN or infinity at t = {float(t):.6g}")
        return value.reshape(-1).cpu().numpy()

    yield x
    solver = method(slope, times[0], x.reshape(-1).cpu().numpy(), times[-1], rtol=rtol, atol=atol)
    for t in times[1:]:
        while solver.t < t:
            failed = solver.step()
            if failed:
                raise NumericsError(f"the solver dopri5 got stuck at t = {solver.t:.6g}: {failed}")
        reached = solver.y if solver.t == t else solver.dense_output()(t)
        yield torch.from_numpy(reached.copy()).to(x.device).view(x.shape)


def _runge_kutta() -> Any:
    try:
        from scipy.integrate import RK45
    except ImportError as error:
        raise UsageError("the solver dopri5 needs SciPy: pip install koopstep[analysis]") from error
    return RK45


Solver = Callable[[Field, Tensor, list[float]], Iterator[Tensor]]
Count = Callable[[int], int]

DENOISER_SOLVERS: dict[str, tuple[Solver, Count]] = {
    "heun": (edm_heun, lambda steps: 2 * steps - 1),
    "euler": (edm_euler, lambda steps: steps),
}
"""Name -> (solver, number of network calls for so many steps)."""

VELOCITY_SOLVERS: dict[str, tuple[Callable[..., Iterator[Tensor]], Count | None]] = {
    "euler": (flow_euler, lambda steps: steps),
    "midpoint": (flow_midpoint, lambda steps: 2 * steps),
    "heun": (flow_heun, lambda steps: 2 * steps),
    "dopri5": (flow_dopri5, None),
}
"""The same for velocities; None where the solver is adaptive: it takes ``rtol`` and ``atol``, and its calls are measured."""
