"""Solvers of the path equation as generators: each yields every state, so path and end point are the same function."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from torch import Tensor

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


Solver = Callable[[Field, Tensor, list[float]], Iterator[Tensor]]

DENOISER_SOLVERS: dict[str, tuple[Solver, Callable[[int], int]]] = {
    "heun": (edm_heun, lambda steps: 2 * steps - 1),
    "euler": (edm_euler, lambda steps: steps),
}
"""Name -> (solver, number of network calls for so many steps)."""

VELOCITY_SOLVERS: dict[str, tuple[Solver, Callable[[int], int]]] = {
    "euler": (flow_euler, lambda steps: steps),
    "midpoint": (flow_midpoint, lambda steps: 2 * steps),
    "heun": (flow_heun, lambda steps: 2 * steps),
}
