"""The path of a Gaussian in closed form, and its Koopman modes where they are finitely many.

Data ``N(mean, S)`` with principal axes ``v_i`` of variance ``lambda_i`` have a linear path: along axis i the state scales by
``g_i(u)`` alone (:func:`gaussian_path_factors`). Its Koopman modes in u are finitely many only where every ``g_i`` is a sum
of exponentials of u. On noise levels sigma that takes one or two different variances, and levels that suit them
(:func:`exponential_sigmas`); docs/concepts.md has the proof.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from koopstep.core.errors import UsageError

_SAME = 1e-9  # variances that differ by less, relative to the largest, are one


def gaussian_path_factors(variances: Tensor, levels: Tensor) -> Tensor:
    """How a Gaussian's principal axes scale along the exact path.

    On noise levels, which fall, the path equation ``dx/dsigma = sigma x / (v + sigma^2)`` integrates to
    ``sqrt((v + sigma^2) / (v + sigma_0^2))``; on the times of a flow, which rise, to ``sqrt((1 - t)^2 + t^2 v)``.

    Args:
        variances: (D,) v of the data.
        levels: (N + 1,) sigma or t of the states, noise first.

    Returns:
        float64 (N + 1, D); the first row is 1, the last holds the eigenvalues of the whole path's linear map.
    """
    variances, levels = variances.to(torch.float64), levels.to(torch.float64)[:, None]
    if levels[0] > levels[-1]:
        return ((variances + levels**2) / (variances + levels[0] ** 2)).sqrt()
    return ((1 - levels) ** 2 + levels**2 * variances).sqrt()


def gaussian_path(mean: Tensor, covariance: Tensor, levels: Tensor, start: Tensor) -> Tensor:
    """The exact states of a Gaussian's path.

    Args:
        mean: (D,) of the data.
        covariance: (D, D) of the data.
        levels: (N + 1,) sigma or t of the states, noise first.
        start: (B, D) first states: noise times its standard deviation.

    Returns:
        float64 (N + 1, B, D): ``m(u) + sum_i g_i(u) v_i v_i^T (start - m(0))``, where m is the mean of the states: that of
        the data on noise levels, ``t`` times it in a flow.
    """
    variances, axes = torch.linalg.eigh(covariance.to(torch.float64))
    factors = gaussian_path_factors(variances, levels)
    weight = torch.ones_like(levels) if levels[0] > levels[-1] else levels
    means = weight.to(torch.float64)[:, None, None] * mean.to(torch.float64)
    moved: Tensor = means + ((start.to(torch.float64) - means[0]) @ axes * factors[:, None]) @ axes.T
    return moved


@dataclass(frozen=True)
class GaussianModes:
    """The Koopman modes of a Gaussian's path: ``x_u = mean + sum_k exp(rates_k u) maps_k (x_0 - mean)``.

    Attributes:
        mean: (D,): the constant mode, of rate 0.
        rates: (K,), each real.
        maps: (K, D, D): what takes a state at u = 0, less the mean, to its mode. They sum to the identity.
    """

    mean: Tensor
    rates: Tensor
    maps: Tensor

    def images(self, start: Tensor) -> Tensor:
        """The modes (K, B, D) of the paths that begin at ``start`` (B, D)."""
        return torch.einsum("kde,be->kbd", self.maps, start.to(torch.float64) - self.mean)

    def states(self, start: Tensor, progress: Tensor) -> Tensor:
        """The states (N + 1, B, D) at ``progress`` (N + 1,)."""
        sizes = (progress.to(torch.float64)[:, None] * self.rates).exp()
        return self.mean + torch.einsum("nk,kbd->nbd", sizes, self.images(start))


def gaussian_modes(mean: Tensor, covariance: Tensor, sigma_max: float) -> GaussianModes:
    """The modes of a path whose levels are :func:`exponential_sigmas` of the covariance's variances.

    With one variance v the rate is ``ln(v / (v + sigma_max^2)) / 2``, and the mode is the state less the mean. With two,
    a > b, the axes scale as ``cosh`` and ``sinh`` of one straight line in u: the rates are its slope and minus that.

    Raises:
        UsageError: if the covariance has more than two different variances, or only the variance 0.
    """
    variances, axes = torch.linalg.eigh(covariance.to(torch.float64))
    low, high = _two(variances)
    mean, everywhere = mean.to(torch.float64), torch.eye(len(variances), dtype=torch.float64)
    if low == high:
        rate = 0.5 * math.log(low / (low + sigma_max**2))
        return GaussianModes(mean, torch.tensor([rate], dtype=torch.float64), everywhere[None])
    start, slope = _line(low, high, sigma_max)
    wide = axes[:, variances > (low + high) / 2]
    along_wide = wide @ wide.T / math.cosh(start)
    along_narrow = (everywhere - wide @ wide.T) / math.sinh(start)
    rising = 0.5 * math.exp(start) * (along_wide + along_narrow)
    falling = 0.5 * math.exp(-start) * (along_wide - along_narrow)
    rates = torch.tensor([slope, -slope], dtype=torch.float64)
    return GaussianModes(mean, rates, torch.stack([rising, falling]))


def exponential_sigmas(variances: Tensor, sigma_max: float, steps: int) -> Tensor:
    """The ``steps + 1`` noise levels, float64, falling to 0, on which a Gaussian's path is a sum of exponentials of u.

    Raises:
        UsageError: as :func:`gaussian_modes`.
    """
    low, high = _two(variances.to(torch.float64))
    u = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    if low == high:
        squares = (low + sigma_max**2) * (low / (low + sigma_max**2)) ** u - low
    else:
        start, slope = _line(low, high, sigma_max)
        squares = (high - low) * (start + slope * u).sinh() ** 2 - low
    levels = squares.clamp(min=0).sqrt()
    levels[0], levels[-1] = sigma_max, 0.0  # exactly, not after rounding
    return levels


def _line(low: float, high: float, sigma_max: float) -> tuple[float, float]:
    """Start and slope of the line in u whose cosh and sinh are the standard deviations along the axes, over a common one."""
    apart = high - low
    start = math.asinh(math.sqrt((low + sigma_max**2) / apart))
    return start, math.asinh(math.sqrt(low / apart)) - start


def _two(variances: Tensor) -> tuple[float, float]:
    """The smaller and the larger of at most two different variances."""
    low, high = float(variances.min().clamp(min=0)), float(variances.max())
    if high <= 0:
        raise UsageError(
            "a Gaussian whose variances are all 0 is a point: its path has no levels down to 0 of this kind"
        )
    if high - low <= _SAME * high:
        return high, high
    nearest = torch.minimum((variances - low).abs(), (variances - high).abs())
    if float(nearest.max()) > _SAME * high:
        raise UsageError(
            "only a covariance of one or two different variances has finitely many Koopman modes in the raw state; this one "
            f"has the variances {', '.join(f'{value:.4g}' for value in sorted(set(variances.tolist())))}: use spacing='edm'"
        )
    return low, high
