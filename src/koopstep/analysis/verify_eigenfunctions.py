"""The eigenfunctions of a learned operator: what a level's eigenvalues claim of the latents along a path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from koopstep.analysis.modes import once
from koopstep.operators.base import Operator

LARGEST = 1024
"""Numbers of a level whose operator is a full matrix: of larger ones no eigenvectors are worked out."""


@dataclass(frozen=True)
class Eigenfunctions:
    """Functions ``phi = w* z`` of a level's latent ``z`` that the operator says obey ``phi(later by du) = lambda^du phi``.

    Functions of one eigenvalue span its eigenspace and are looked at together. Of conjugate pairs one is kept.

    Attributes:
        rates: complex128 (P,), logarithms of the eigenvalues over du = 1, with imaginary part >= 0.
        multiplicity: int64 (P,), eigenvalues of the real map that each stands for.
        space: int64 (n,), which eigenvalue each of the n functions belongs to.
        weights: complex (d, n), the functions by column, scaled by the size of what they stand for in the latent; None where
            they are ``z_k - i z_(k + C/2)`` of pairs of channels.
        conjugate: bool (n,), whose functions are the conjugates; None where there are weights.
        modes: int64 (M,), the eigenvalue of each mode where several functions are one mode; None where they are not.
    """

    rates: Tensor
    multiplicity: Tensor
    space: Tensor
    weights: Tensor | None = None
    conjugate: Tensor | None = None
    modes: Tensor | None = None

    def __call__(self, latent: Tensor) -> Tensor:
        """The functions (B, n) of a latent (B, *shape), complex."""
        flat = latent.flatten(1)
        flat = flat if flat.dtype == torch.float64 else flat.float()
        if self.weights is not None:
            return flat.to(self.weights.dtype) @ self.weights
        own, partner = flat.chunk(2, dim=1)
        # the pair turns as exp(alpha - i beta); where beta < 0 the conjugate has the eigenvalue in the upper half
        turned = torch.complex(own, -partner)
        return turned if self.conjugate is None else torch.where(self.conjugate, turned.conj(), turned)

    def pooled(self, values: Tensor) -> Tensor:
        """Sums (P,) over the eigenspaces of ``values`` (n,)."""
        if len(self.rates) == len(self.space):
            return values
        return values.new_zeros(len(self.rates)).index_add_(0, self.space, values)


def eigenfunctions(operator: Operator, latent: Tensor) -> Eigenfunctions | None:
    """The eigenfunctions of an operator; None where its matrix is too large to take apart.

    Args:
        operator: of a level.
        latent: (B, *shape), states whose mean rates are taken where rates depend on the state.
    """
    rates = operator.rates(latent)
    if rates is not None:
        alpha, beta = (part.mean(dim=0) if part.ndim == 4 else part for part in (rates.alpha, rates.beta))
        size = (operator.shape[0] // 2, *(operator.shape[1:] or (1, 1)))
        each = torch.complex(alpha.double(), beta.double()).expand(size).flatten()
        upper = torch.complex(each.real, each.imag.abs())
        values, space = _distinct(upper)
        multiplicity = 2 * torch.bincount(space, minlength=len(values))
        modes = None if rates.mode is None else once(space.view(size), rates).flatten()
        return Eigenfunctions(values, multiplicity, space, conjugate=each.imag < 0, modes=modes)
    if operator.dimension > LARGEST:
        return None
    return _of_matrix(operator.matrix().detach().double(), latent.dtype)


def _of_matrix(matrix: Tensor, dtype: torch.dtype) -> Eigenfunctions:
    """``w`` with ``w^T M = lambda w^T``, each times the length of its right eigenvector, which is what it stands for."""
    eigenvalues, left = torch.linalg.eig(matrix.T)
    right = torch.linalg.pinv(left)
    weights = left * right.norm(dim=1)
    kept = eigenvalues.imag >= 0
    values, space = _distinct(eigenvalues[kept].log())
    counts = torch.where(eigenvalues[kept].imag > 0, 2, 1)
    multiplicity = torch.zeros(len(values), dtype=torch.int64, device=counts.device).index_add_(0, space, counts)
    kind = torch.complex128 if dtype == torch.float64 else torch.complex64
    return Eigenfunctions(values, multiplicity, space, weights=weights[:, kept].to(kind))


def _distinct(values: Tensor) -> tuple[Tensor, Tensor]:
    """The values that differ, in the order in which they come, and the place of each value among them."""
    _, first, inverse = np.unique(values.cpu().numpy(), return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    device = values.device
    return values[torch.from_numpy(first[order]).to(device)], torch.from_numpy(place[inverse.ravel()]).to(device)
