"""Noise levels, time grids, and every conversion between the things a network may predict.

Two families of levels: ``sigma`` (variance exploding, EDM: ``x = data + sigma * noise``) and ``t`` of the straight flow
(``x = (1 - t) * noise + t * data``). All functions are pure; levels broadcast against the state.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from koopstep.core.errors import UsageError


def karras_sigmas(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
    """Return the ``steps + 1`` noise levels of EDM's sampler, float64, the last one 0 (EDM Eq. 5).

    Raises:
        UsageError: if ``steps`` < 1, ``rho`` <= 0, or the bounds are not ``0 < sigma_min < sigma_max``.
    """
    if steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}")
    if not rho > 0:
        raise UsageError(f"rho bends the noise levels and must be above 0, got {rho}")
    if not 0.0 < sigma_min < sigma_max:
        raise UsageError(f"noise levels need 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
    ramp = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = torch.cat([(high + ramp * (low - high)) ** rho, torch.zeros(1, dtype=torch.float64)])
    levels[0] = sigma_max  # exactly, not after a root and a power
    return levels


def flow_times(steps: int) -> Tensor:
    """Return ``steps + 1`` times from 0 (noise) to 1 (data), float64, evenly spaced."""
    if steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}")
    return torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)


def ddpm_sigmas(alphas_cumprod: Tensor) -> Tensor:
    """Return sigma of every DDPM timestep, ``sqrt((1 - a) / a)``, float64, shape (timesteps,), on the CPU.

    Raises:
        UsageError: if ``alphas_cumprod`` is no falling row of numbers between 0 and 1 (betas, say, rise).
    """
    alphas = alphas_cumprod.to("cpu", torch.float64)
    if alphas.ndim != 1 or not bool(((alphas > 0) & (alphas < 1)).all()):
        raise UsageError("alphas_cumprod must be one row of numbers strictly between 0 and 1")
    if bool((alphas.diff() > 0).any()):
        raise UsageError("alphas_cumprod must fall from timestep 0 (data) on; these rise: are they betas, or reversed?")
    return ((1 - alphas) / alphas).sqrt()


def denoised_from_epsilon(x: Tensor, epsilon: Tensor, sigma: Tensor | float) -> Tensor:
    """``x = data + sigma * epsilon`` solved for data."""
    return x - sigma * epsilon


def epsilon_from_denoised(x: Tensor, denoised: Tensor, sigma: Tensor | float) -> Tensor:
    """``x = data + sigma * epsilon`` solved for epsilon."""
    return (x - denoised) / sigma


def velocity_from_denoised(x: Tensor, denoised: Tensor, t: Tensor | float) -> Tensor:
    """Velocity ``data - noise`` of the straight flow from the expected data at time ``t`` < 1."""
    return (denoised - x) / (1 - t)


def denoised_from_velocity(x: Tensor, velocity: Tensor, t: Tensor | float) -> Tensor:
    """Expected data of the straight flow: ``x + (1 - t) * velocity``."""
    return x + (1 - t) * velocity


def denoised_from_v(x: Tensor, v: Tensor, sigma: Tensor | float) -> Tensor:
    """Data from a v-prediction (Salimans and Ho), for a state in sigma scaling.

    With ``alpha = 1 / sqrt(1 + sigma^2)`` the network saw ``alpha * x`` and predicts
    ``alpha * epsilon - sigma * alpha * data``.
    """
    square = sigma * sigma
    root = (square + 1) ** 0.5
    return x / (square + 1) - v * sigma / root


def v_from_denoised(x: Tensor, denoised: Tensor, sigma: Tensor | float) -> Tensor:
    """The inverse of :func:`denoised_from_v`; ``sigma`` > 0."""
    square = sigma * sigma
    root = (square + 1) ** 0.5
    return (x / (square + 1) - denoised) * root / sigma


def sigma_from_flow_time(t: float) -> float:
    """The sigma that has the flow's signal-to-noise ratio at time ``t``: ``(1 - t) / t`` (infinite at 0)."""
    return math.inf if t <= 0 else (1 - t) / t


def flow_time_from_sigma(sigma: float) -> float:
    """The inverse of :func:`sigma_from_flow_time`: ``1 / (1 + sigma)``."""
    return 1 / (1 + sigma)
