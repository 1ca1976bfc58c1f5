"""A fresh EDMD fit of the same latents: what the best linear map of them is, and how far the learned one is from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.classical import edmd, hausdorff, pseudospectrum, residuals, wasserstein
from koopstep.analysis.verify_criterion import Judged
from koopstep.analysis.verify_latents import LevelSeen

GRID = (48, 25)
"""Real and imaginary parts at which the pseudospectrum is looked at."""
_MARGIN, _NARROWEST = 0.25, 0.1


@dataclass(frozen=True)
class Refit:
    """EDMD on a level's principal directions, fitted on the first half of the rows and tried on the second.

    Attributes:
        gap: du of a step.
        eigenvalues: complex (r,), of a step.
        residual: (r,), ResDMD's, on the second half.
        forecast: (K,), error of the whole latent from the noise to each kept state, relative to its spread there.
        operator_distance: between the learned step and EDMD's on the second half, relative to EDMD's; None where
            there is no learned step.
        hausdorff: distance of the two sets of eigenvalues of a step, and ``wasserstein`` the mean one of matched ones; None
            where the learned ones are not known.
        wasserstein: of both.
        grid: complex (M,), where the pseudospectrum was looked at: in the plane of a step's eigenvalues, at imaginary parts
            from 0 up.
        smallest: (M,), the smallest residual of any combination of the directions there.
        at_learned: (n,), the same at the learned eigenvalues with the most energy, at most `LISTED` in their order.
    """

    gap: float
    eigenvalues: Tensor
    residual: Tensor
    forecast: Tensor
    operator_distance: float | None
    hausdorff: float | None
    wasserstein: float | None
    grid: Tensor
    smallest: Tensor
    at_learned: Tensor

    def summary(self) -> dict[str, Any]:
        """In plain numbers."""
        rates = self.eigenvalues.log() / self.gap
        order = self.residual.argsort().tolist()
        return {
            "du": self.gap,
            "residual_median": float(self.residual.median()),
            "operator_distance": self.operator_distance,
            "hausdorff": self.hausdorff,
            "wasserstein": self.wasserstein,
            "forecast": self.forecast[1:].tolist(),
            "eigenvalues": [
                {
                    "eigenvalue_of_a_step": [float(self.eigenvalues[i].real), float(self.eigenvalues[i].imag)],
                    "rate": [max(-1e3, float(rates[i].real)), float(rates[i].imag)],
                    "residual": float(self.residual[i]),
                }
                for i in order
            ],
        }


def refit(seen: LevelSeen, judged: Judged | None, progress: Tensor) -> Refit:
    """Fit EDMD to a level's latents and compare.

    Args:
        seen: the level.
        judged: its learned eigenvalues, where they are known.
        progress: (K,), of the states.
    """
    gaps = progress.diff().double().cpu()
    gap = float(gaps.sort().values[len(gaps) // 2])
    usual = [index for index, one in enumerate(gaps.tolist()) if math.isclose(one, gap, rel_tol=1e-3)]
    values, half = seen.coordinates.cpu(), seen.coordinates.shape[1] // 2
    first, second = values[:, :half], values[:, half:]
    scale = values.square().sum(dim=(1, 2)).clamp(min=1e-300).rsqrt()  # states of every size count alike
    now, later = (torch.cat([scale[i] * first[i + shift] for i in usual]) for shift in (0, 1))
    matrix = edmd(now, later)
    eigenvalues, vectors = torch.linalg.eig(matrix)
    tried_now, tried_later = (torch.cat([scale[i] * second[i + shift] for i in usual]) for shift in (0, 1))
    told = tried_now @ matrix
    distance = None
    if seen.stepped is not None:
        learned = torch.cat([scale[i] * seen.stepped.cpu()[i, half:] for i in usual])
        distance = float((told - learned).norm() / told.norm().clamp(min=1e-300))
    set_of_learned, learned_ones = None, eigenvalues[:0]
    if judged is not None:
        learned_ones = (judged.sums.functions.rates.cpu()[judged.by_energy] * gap).exp()
        set_of_learned = _with_conjugates(learned_ones)
    grid = _grid(eigenvalues, set_of_learned)
    return Refit(
        gap,
        eigenvalues,
        residuals(tried_now, tried_later, eigenvalues, vectors),
        _forecast(seen, eigenvalues, vectors, progress.double().cpu() / gap, usual),
        distance,
        None if set_of_learned is None else hausdorff(set_of_learned, eigenvalues),
        None if set_of_learned is None else wasserstein(set_of_learned, eigenvalues),
        grid,
        pseudospectrum(tried_now, tried_later, grid),
        pseudospectrum(tried_now, tried_later, learned_ones),
    )


def _forecast(seen: LevelSeen, eigenvalues: Tensor, vectors: Tensor, steps: Tensor, usual: list[int]) -> Tensor:
    """Errors (K,) on the second half of the rows: EDMD moves the directions, and one number all the others together."""
    half = seen.coordinates.shape[1] // 2
    first, rows = seen.coordinates.cpu()[:, :half], seen.coordinates.cpu()[:, half:]
    start, back = rows[0].to(vectors) @ vectors, torch.linalg.pinv(vectors)
    # squares and products of what lies outside the directions: of everything, less those within
    spread = seen.spread.cpu().clamp(min=1e-300)
    size = (spread - rows.square().sum(dim=(1, 2))).clamp(min=0)
    still = (seen.still.cpu() - (rows - rows[0]).square().sum(dim=(1, 2))).clamp(min=0)
    fitted, within = seen.fitted.cpu(), first.square().sum(dim=(1, 2))
    turned = seen.turned.cpu() - (first[1:] * first[:-1]).sum(dim=(1, 2))
    weights = 1 / fitted[usual].clamp(min=1e-300)
    shrinks = (turned[usual] * weights).sum() / ((fitted - within)[usual] * weights).sum().clamp(min=1e-12)
    growth = shrinks.clamp(0, 1) ** steps
    outside = size + growth.square() * size[0] - growth * (size + size[0] - still)
    errors = []
    for count, truth, rest in zip(steps.tolist(), rows, outside.clamp(min=0), strict=True):
        told = (start * eigenvalues**count @ back).real
        errors.append((truth - told).square().sum() + rest)
    return (torch.stack(errors) / spread).sqrt()


def _with_conjugates(values: Tensor) -> Tensor:
    return torch.cat([values, values[values.imag > 0].conj()])


def _grid(fitted: Tensor, learned: Tensor | None) -> Tensor:
    """Points around the eigenvalues of a step, in the upper half of the plane."""
    values = fitted if learned is None else torch.cat([fitted, learned])
    near = values[values.abs() <= 2 * max(1.0, float(fitted.abs().max()))]
    low, high, top = float(near.real.min()), float(near.real.max()), float(near.imag.abs().max())
    margin = _MARGIN * max(high - low, top, _NARROWEST)
    across = torch.linspace(low - margin, high + margin, GRID[0], dtype=torch.float64)
    up = torch.linspace(0, top + margin, GRID[1], dtype=torch.float64)
    return torch.complex(*torch.meshgrid(across, up, indexing="ij")).flatten()
