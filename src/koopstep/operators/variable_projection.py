"""The best sum of exponentials for states along u, with rates that all paths share and images that are each path's own.

No student of the method ``modes`` with as many modes can come closer, as its images are functions of the noise alone and
these are not bound to anything: the floor of what K modes can say. Variable projection (Golub and Pereyra 1973; of
dynamic modes: Askham and Kutz, arXiv 1704.02343): for given rates the images are a linear least squares problem, so only
the rates are searched for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from koopstep.core.errors import UsageError

_RIDGE = 1e-7  # of unit columns: two modes of one rate still have a solution, and one gradient
_STARTS, _ITERATIONS = 16, 60
_NUDGE = 1e-6  # of a rate, for derivatives by differences
_LONGEST = 3.0  # change of a rate in one step
_FASTEST = 8.0  # growth rates are first looked for down to minus this, as a path's sizes span some e^-8


@dataclass(frozen=True)
class Exponentials:
    """``x_u = sum_m e^(alpha_m u) (cos(beta_m u) a_m + sin(beta_m u) b_m)`` over M = K + 2 images: constant, modes, remainder.

    Attributes:
        alpha: (M,) growth, of the constant 0.
        beta: (M,) rotation in radians, of the constant and the remainder 0.
        images: (2, M, *shape): the a's and the b's, that sum to the first state.
        unexplained: (N + 1,): root mean square of what is missing at each state over that of the state less the mean of the
            rows (the first dimension of shape).
    """

    alpha: Tensor
    beta: Tensor
    images: Tensor
    unexplained: Tensor

    def states(self, progress: Tensor) -> Tensor:
        """The sums (N + 1, *shape) at ``progress`` (N + 1,)."""
        waves = _waves(self.alpha, self.beta, progress.to(torch.float64))
        return torch.einsum("pnm,pm...->n...", waves, self.images)


def fit_exponentials(
    states: Tensor,
    progress: Tensor,
    modes: int,
    *,
    real: int = 0,
    weights: Tensor | None = None,
    seed: int = 0,
) -> Exponentials:
    """Fit K modes, a constant and a remainder that makes u = 0 exact, as students of the method ``modes`` have them.

    Args:
        states: (N + 1, B, ...) along u.
        progress: (N + 1,) from 0 upwards.
        modes: K.
        real: how many of them do not turn.
        weights: (N + 1,) of the squared errors; absent, one over the states' mean square. That of the first does not matter.
        seed: of the rates that the search starts from.

    Raises:
        UsageError: on fewer states than rates, or ``real`` above ``modes``.
    """
    states, progress = states.detach().to("cpu", torch.float64), progress.detach().to("cpu", torch.float64)
    if not 0 <= real <= modes:
        raise UsageError(f"real modes are some of the {modes} modes, got {real}")
    free = 2 * modes - real + 1
    if states.ndim < 2 or len(states) != len(progress) or len(progress) < 2 or float(progress[0]) != 0:
        raise UsageError(
            f"states (N + 1, B, ...) need their progress from 0 on, got {tuple(states.shape)} at {progress}"
        )
    if len(progress) - 1 < free:
        raise UsageError(
            f"{free} rates cannot be found from {len(progress) - 1} states after the first; keep more states"
        )
    flat = states.flatten(1)
    if weights is None:
        weights = 1 / flat.square().mean(dim=1).clamp_min(1e-30)
    problem = _Problem(_compressed(flat), progress, weights.to("cpu", torch.float64).sqrt(), modes, real)
    alpha, beta = problem.expanded(_best(problem, seed))
    images = _Problem(flat, progress, problem.root, modes, real).images(alpha, beta)
    images = images.view(2, modes + 2, *states.shape[1:])
    told = torch.einsum("pnm,pm...->n...", _waves(alpha, beta, progress), images)
    missing, moving = told - states, states - states.mean(dim=1, keepdim=True)
    share = missing.flatten(1).square().sum(dim=1) / moving.flatten(1).square().sum(dim=1).clamp_min(1e-300)
    return Exponentials(alpha, beta, images, share.sqrt())


@dataclass(frozen=True)
class _Problem:
    """Linear least squares at given rates: states (N + 1, C), roots of the weights (N + 1,)."""

    states: Tensor
    progress: Tensor
    root: Tensor
    modes: int
    real: int

    def expanded(self, rates: Tensor) -> tuple[Tensor, Tensor]:
        """The searched numbers (..., P), K + 1 growths and K - real rotations, as (..., M) each."""
        alpha, beta = rates[..., : self.modes + 1], rates[..., self.modes + 1 :]
        still = torch.zeros_like(alpha[..., :1])
        turning = torch.cat([beta, still.expand(*still.shape[:-1], self.real)], dim=-1)
        return torch.cat([still, alpha], dim=-1), torch.cat([still, turning, still], dim=-1)

    def solved(self, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted errors (..., N, C), and the images' numbers (..., columns, C): a's but the remainder's, b's that turn."""
        waves = _waves(alpha, beta, self.progress[1:])
        cosine, sine = waves[0], waves[1]
        rest, turning = cosine[..., -1:], 1 + self.modes - self.real
        weight = self.root[1:, None]
        columns = torch.cat([cosine[..., :-1] - rest, sine[..., 1:turning]], dim=-1) * weight
        wanted = (self.states[1:] - rest * self.states[:1]) * weight
        length = columns.norm(dim=-2, keepdim=True).clamp_min(1e-30)
        ridge = (_RIDGE * torch.eye(columns.shape[-1], dtype=columns.dtype)).expand(*columns.shape[:-2], -1, -1)
        basis, triangle = torch.linalg.qr(torch.cat([columns / length, ridge], dim=-2))
        along = basis[..., : len(weight), :].mT @ wanted
        found = torch.linalg.solve_triangular(triangle, along, upper=True) / length.mT
        return columns @ found - wanted, found

    def errors(self, rates: Tensor) -> Tensor:
        """Weighted errors (..., N C) at the searched numbers (..., P)."""
        missing, _ = self.solved(*self.expanded(rates))
        return missing.flatten(-2)

    def images(self, alpha: Tensor, beta: Tensor) -> Tensor:
        """(2, M, C)."""
        _, found = self.solved(alpha, beta)
        own, turned = found[: self.modes + 1], found[self.modes + 1 :]
        remainder = self.states[:1] - own.sum(dim=0, keepdim=True)
        nothing = found.new_zeros(1, found.shape[1])
        silent = found.new_zeros(self.real + 1, found.shape[1])
        return torch.stack([torch.cat([own, remainder]), torch.cat([nothing, turned, silent])])


def _waves(alpha: Tensor, beta: Tensor, progress: Tensor) -> Tensor:
    """(2, ..., N, M) for rates (..., M): growth times cosine, and times sine."""
    size = (progress[:, None] * alpha[..., None, :]).exp()
    angle = progress[:, None] * beta[..., None, :]
    return torch.stack([size * angle.cos(), size * angle.sin()])


def _compressed(flat: Tensor) -> Tensor:
    """At most N + 1 columns with the same inner products of states, hence the same errors at any rates."""
    if flat.shape[1] <= flat.shape[0]:
        return flat
    triangle: Tensor = torch.linalg.qr(flat.T, mode="r").R
    return triangle.T


def _best(problem: _Problem, seed: int) -> Tensor:
    """The rates of the least error, by Levenberg and Marquardt's method from several starts at once."""
    generator = torch.Generator().manual_seed(seed)
    growth = -_FASTEST * torch.rand(_STARTS, problem.modes + 1, generator=generator, dtype=torch.float64)
    turns = torch.rand(_STARTS, problem.modes - problem.real, generator=generator, dtype=torch.float64)
    rates = torch.cat([growth, 2 * torch.pi * turns], dim=1)
    nudge = _NUDGE * torch.eye(rates.shape[1], dtype=torch.float64)
    errors = problem.errors(rates)
    damping = torch.full((_STARTS, 1), 1e-2, dtype=torch.float64)
    for _ in range(_ITERATIONS):
        around = rates[:, None]
        slopes = (problem.errors(around + nudge) - problem.errors(around - nudge)) / (2 * _NUDGE)  # (S, P, NC)
        square, pull = slopes @ slopes.mT, slopes @ errors[..., None]
        scale = square.diagonal(dim1=1, dim2=2)
        scale = scale + 1e-12 * scale.amax(dim=1, keepdim=True) + 1e-300
        step = torch.linalg.lstsq(square + torch.diag_embed(damping * scale), pull).solution[..., 0]
        proposed = rates - step.clamp(-_LONGEST, _LONGEST)
        new = problem.errors(proposed)
        better = new.square().sum(dim=1, keepdim=True) < errors.square().sum(dim=1, keepdim=True)
        rates, errors = torch.where(better, proposed, rates), torch.where(better, new, errors)
        damping = (damping * torch.where(better, 0.3, 4.0)).clamp(1e-12, 1e12)
    return rates[errors.square().sum(dim=1).nan_to_num(torch.inf).argmin()]
