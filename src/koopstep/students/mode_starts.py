"""Where a student of modes starts: rates and shares of the noise that follow from the path's levels alone."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from koopstep.core.schedule import Schedule, schedule_of
from koopstep.operators.modes import ModesOperator
from koopstep.operators.variable_projection import fit_exponentials

_GRID, _RIDGE = 49, 1e-3
_FASTEST_GROWTH = 3.0
_PLAIN = {
    True: (-5.0, 7.0, -7.0),
    False: (0.0, 3.0, -1.0),
}  # growth, rotation and the remainder's growth, by falling levels
_DIRECTIONS = (1.0, 0.5, 0.2, 0.05)  # standard deviations of a Gaussian's directions, over that of the data


@cache
def gaussian_rates(
    progress: tuple[float, ...], levels: tuple[float, ...], noise_scale: float, data_scale: float, modes: int, real: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Growth rates of the modes and the remainder, and rotation rates of those that turn, that fit paths of Gaussian data.

    Along a path of a Gaussian its directions shrink as ``size(u) / size(0)``, each with its own variance. Rates that fit a
    few variances, up to that of the data, are near those of other data, too (``benchmarks/path_rates.py``).
    """
    with torch.device("cpu"):  # files are read by building on no device at all
        path = schedule_of(progress, levels, noise_scale=noise_scale, data_scale=data_scale)
        u = torch.linspace(0, 1, _GRID, dtype=torch.float64)
        sizes = [path.size_with(data_scale * share, u) for share in _DIRECTIONS]
        curves = torch.stack([size / size[0] for size in sizes], dim=1)
        found = fit_exponentials(curves, u, modes, real=real, weights=1 / path.size(u).square())
        growth, rotation = found.alpha[1:].tolist(), found.beta[1 : 1 + modes - real].abs().tolist()
    if max(growth) <= _FASTEST_GROWTH:
        return tuple(growth), tuple(rotation)
    # a growing image is a small difference of large ones: a start that fits a little worse is the better one to learn from
    decay, turn, remainder = _PLAIN[path.falling]
    return (*[decay - place / 2 for place in range(modes)], remainder), tuple(
        turn * (place + 1) for place in range(modes - real)
    )


def first_shares(operator: ModesOperator, path: Schedule) -> Tensor:
    """What part of ``x_T - c_0`` each mode and partner starts with: least squares of the schedule's ``g(u)`` by the rates."""
    u = torch.linspace(0, 1, _GRID, dtype=torch.float64)
    with torch.no_grad():
        alpha, beta = (rate.double() for rate in operator.mode_rates())
    modes, turning = operator.config.modes, operator.config.turning
    growth = (alpha * u[:, None]).exp()
    remainder = growth[:, -1:]
    images = growth[:, 1 : 1 + modes] * (beta[1 : 1 + modes] * u[:, None]).cos() - remainder
    partners = growth[:, 1 : 1 + turning] * (beta[1 : 1 + turning] * u[:, None]).sin()
    columns = torch.cat([images, partners], dim=1)
    target = path.noise_share(u)[:, None] - remainder
    gram = columns.T @ columns + _RIDGE * torch.eye(columns.shape[1], dtype=torch.float64)
    solved: Tensor = torch.linalg.solve(gram, columns.T @ target)
    return solved.float().flatten()
