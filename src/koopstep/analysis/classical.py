"""Koopman spectra straight from data: exact DMD, EDMD, and the residuals (ResDMD) that tell which eigenvalues are true.

Snapshots are rows: ``x`` (N, D) holds observables of states, ``y`` (N, D) the same observables one step later. A map acts from
the right, ``y = x K``, so that an eigenvector ``K v = z v`` is an eigenfunction ``phi = psi v`` with ``phi(later) = z phi``.
Everything is float64 or complex128.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from koopstep.core.errors import UsageError

_NEGLIGIBLE = 1e-6  # of the largest singular value: directions below it are rounding, not data


@dataclass(frozen=True)
class Principal:
    """The directions in which data differ most.

    Attributes:
        directions: (D, r), orthonormal columns.
        sizes: all singular values found, largest first; their squares sum to the spread.
    """

    directions: Tensor
    sizes: Tensor

    @property
    def condition(self) -> float:
        """Largest singular value over the smallest that is no rounding."""
        kept = self.sizes[self.sizes > _NEGLIGIBLE * self.sizes[0]]
        return float(kept[0] / kept[-1]) if len(kept) else float("inf")

    @property
    def rank(self) -> int:
        """Directions that together hold 99 % of the spread."""
        share = self.sizes.square().cumsum(0) / self.sizes.square().sum().clamp(min=1e-300)
        return int((share < 0.99).sum()) + 1


def principal(data: Tensor, most: int) -> Principal:
    """The principal directions of centred rows (N, D), at most ``most``."""
    values = data.double()
    if values.shape[0] >= values.shape[1]:
        found, vectors = torch.linalg.eigh(values.T @ values)
        directions = vectors
    else:  # the same from the smaller of the two Gram matrices
        found, vectors = torch.linalg.eigh(values @ values.T)
        directions = values.T @ (vectors / found.clamp(min=1e-300).sqrt())
    sizes = found.clamp(min=0).sqrt().flip(0)
    rank = int((sizes > _NEGLIGIBLE * sizes[0]).sum())
    return Principal(directions.flip(1)[:, : max(1, min(most, rank))].contiguous(), sizes)


def edmd(x: Tensor, y: Tensor) -> Tensor:
    """The matrix (D, D) of least squares ``y = x K`` (Williams et al. 2015), of least norm where it is not unique."""
    matrix: Tensor = torch.linalg.pinv(x, rtol=_NEGLIGIBLE) @ y
    return matrix


@dataclass(frozen=True)
class Modes:
    """A linear model of states as a sum of modes (Tu et al. 2014).

    Attributes:
        eigenvalues: (r,), of one step.
        modes: (r, D): what each adds to a state.
    """

    eigenvalues: Tensor
    modes: Tensor

    def forecast(self, start: Tensor, steps: float) -> Tensor:
        """States (N, D) so many steps after ``start``."""
        amplitudes = start.to(self.modes) @ torch.linalg.pinv(self.modes)
        states: Tensor = (amplitudes * self.eigenvalues**steps @ self.modes).real
        return states


def exact_dmd(x: Tensor, y: Tensor, rank: int) -> Modes:
    """Exact DMD (Tu et al. 2014, Algorithm 2) on at most ``rank`` directions."""
    left, sizes, right = torch.linalg.svd(x.T, full_matrices=False)
    kept = max(1, min(rank, int((sizes > _NEGLIGIBLE * sizes[0]).sum())))
    left, inverse = left[:, :kept], right[:kept].T / sizes[:kept]
    eigenvalues, vectors = torch.linalg.eig(left.T @ y.T @ inverse)
    modes = (y.T @ inverse).to(vectors) @ vectors
    return Modes(eigenvalues, modes.T)


def residuals(x: Tensor, y: Tensor, eigenvalues: Tensor, vectors: Tensor) -> Tensor:
    """ResDMD's residual ``|(y - z x) v| / |x v|`` (R,) of candidates (Colbrook and Townsend, Sec. 3, at equal weights).

    Args:
        x: (N, D).
        y: (N, D).
        eigenvalues: (R,), the candidates' z.
        vectors: (D, R), their v.
    """
    vectors = vectors.to(torch.complex128)
    now, later = x.to(vectors) @ vectors, y.to(vectors) @ vectors
    missed, size = (torch.linalg.vector_norm(one, dim=0) for one in (later - eigenvalues * now, now))
    relative: Tensor = missed / size.clamp(min=1e-300)
    return relative


def pseudospectrum(x: Tensor, y: Tensor, grid: Tensor) -> Tensor:
    """The smallest residual (M,) that any combination of the observables has at each ``grid`` point (M,).

    It is the square root of the smallest eigenvalue of ``L - conj(z) A - z A* + |z|^2 G`` against ``G``, with ``G = x* x``,
    ``A = x* y`` and ``L = y* y`` (Colbrook and Townsend, Sec. 3). Points below epsilon form the epsilon-pseudospectrum.
    """
    left, sizes, right = torch.linalg.svd(x, full_matrices=False)
    kept = sizes > _NEGLIGIBLE * sizes[0]
    moved = y @ (right[kept].T / sizes[kept])  # observables that are orthonormal on x
    across, later = (left[:, kept].T @ moved).to(torch.complex128), (moved.T @ moved).to(torch.complex128)
    one, found = torch.eye(int(kept.sum()), dtype=torch.complex128, device=x.device), []
    for some in torch.split(grid.to(torch.complex128), 512):
        z = some[:, None, None]
        squares = torch.linalg.eigvalsh(later - z.conj() * across - z * across.mH + z.abs().square() * one)
        found.append(squares[:, 0].clamp(min=0).sqrt())
    return torch.cat(found)


def hausdorff(one: Tensor, other: Tensor) -> float:
    """The Hausdorff distance of two sets of numbers: how far the loneliest of either is from the other set."""
    apart = (one[:, None] - other[None]).abs()
    return float(torch.maximum(apart.min(dim=1).values.max(), apart.min(dim=0).values.max()))


def matched(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the numbers that belong together: the pairing with the least total distance.

    Raises:
        UsageError: SciPy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise UsageError("verify needs SciPy: pip install koopstep[analysis]") from error
    rows, columns = linear_sum_assignment((one[:, None] - other[None]).abs().cpu().numpy())
    return torch.from_numpy(rows), torch.from_numpy(columns)


def wasserstein(one: Tensor, other: Tensor) -> float:
    """The mean distance of numbers that belong together; of sets of two sizes those left over are not counted."""
    rows, columns = matched(one, other)
    return float((one[rows] - other[columns]).abs().mean())
