"""Noise levels, time grids, and the data that a network of each kind predicts.

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
    if bool((alphas.diff() >= 0).any()):
        raise UsageError(
            "alphas_cumprod must fall with every timestep from 0 (data) on; where these rise, are they betas, or reversed?"
        )
    return ((1 - alphas) / alphas).sqrt()


VP_SLOPE, VP_START = 19.9, 0.1
"""The variance-preserving schedule of Song et al.: beta rises from 0.1 by 19.9 over time 0 to 1 (EDM Table 1)."""


def vp_sigma(t: Tensor) -> Tensor:
    """Sigma of the variance-preserving schedule at time ``t`` from 0 (data) to 1 (EDM Table 1, column VP)."""
    return (VP_SLOPE / 2 * t**2 + VP_START * t).expm1().sqrt()


def vp_time(sigma: Tensor) -> Tensor:
    """The inverse of :func:`vp_sigma`."""
    return ((VP_START**2 + 2 * VP_SLOPE * (sigma**2).log1p()).sqrt() - VP_START) / VP_SLOPE


def iddpm_sigmas() -> Tensor:
    """The 1001 falling sigmas of improved DDPM's cosine schedule, the last one 0; float64, on the CPU.

    EDM Table 1, column iDDPM + DDIM, with C_1 = 0.001, C_2 = 0.008 and M = 1000.
    """
    kept = [math.sin(math.pi / 2 * step / 1000 / 1.008) ** 2 for step in range(1001)]
    sigmas = [0.0]
    for step in range(1000, 0, -1):
        ratio = max(kept[step - 1] / kept[step], 0.001)
        sigmas.append(math.sqrt((sigmas[-1] ** 2 + 1) / ratio - 1))
    return torch.tensor(sigmas[::-1], dtype=torch.float64, device="cpu")


def nearest_levels(sigmas: Tensor, table: Tensor) -> Tensor:
    """The levels of a falling ``table`` nearest to falling ``sigmas``, each a different one; both (n,).

    Where the table is sparser than the wanted levels, these move down to the next free ones (EDM's sampler would take
    one twice: a step of length 0).

    Raises:
        UsageError: if the table has fewer levels between the first and the last sigma than are wanted.
    """
    nearest = (sigmas[:, None] - table).abs().argmin(dim=1)
    first, last, order = int(nearest[0]), int(nearest[-1]), torch.arange(len(sigmas))
    if last - first + 1 < len(sigmas):
        raise UsageError(
            f"steps must be at most {last - first + 1}, the noise levels this network knows in its range; got {len(sigmas)}"
        )
    rising = (nearest - order).cummax(dim=0).values + order
    return table[torch.minimum(rising, last - len(sigmas) + 1 + order)]


def denoised_from_epsilon(x: Tensor, epsilon: Tensor, sigma: Tensor | float) -> Tensor:
    """``x = data + sigma * epsilon`` solved for data."""
    return x - sigma * epsilon


def denoised_from_v(x: Tensor, v: Tensor, sigma: Tensor | float) -> Tensor:
    """Data from a v-prediction (Salimans and Ho), for a state in sigma scaling.

    With ``alpha = 1 / sqrt(1 + sigma^2)`` the network saw ``alpha * x`` and predicts
    ``alpha * epsilon - sigma * alpha * data``.
    """
    square = sigma * sigma
    root = (square + 1) ** 0.5
    return x / (square + 1) - v * sigma / root
