"""The Fréchet distance of two Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.evaluation.moments import Moments


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared 2-Wasserstein distance of the Gaussians with the moments `a` and `b` (Dowson and Landau, 1982).

    ``|mean_a - mean_b|^2 + tr(S_a) + tr(S_b) - 2 tr((S_a^1/2 S_b S_a^1/2)^1/2)``. The last trace is the sum
    of the singular values of ``S_a^1/2 S_b^1/2``; both roots come from symmetric eigendecompositions in
    float64. Nothing is inverted and no general matrix root is taken, so singular covariances (fewer samples
    than dimensions) are as good as others.

    Args:
        a: Moments of one set, mean (d,).
        b: Moments of the other, mean (d,).

    Returns:
        The distance, >= 0, in squared data units; symmetric in its arguments.

    Raises:
        UsageError: The two have different dimensions.
    """
    if a.mean.shape != b.mean.shape:
        raise UsageError(f"frechet_distance: dimensions differ, {len(a.mean)} and {len(b.mean)}")
    shift = (a.mean - b.mean).square().sum()
    overlap = torch.linalg.svdvals(_root(a.covariance) @ _root(b.covariance)).sum()
    return max(0.0, float(shift + a.covariance.trace() + b.covariance.trace() - 2 * overlap))


def _root(covariance: Tensor) -> Tensor:
    """Symmetric root (d, d); eigenvalues below rounding error, negative ones with them, count as zero."""
    values, vectors = torch.linalg.eigh(covariance)
    floor = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    roots = torch.where(values > floor, values, torch.zeros_like(values)).sqrt()
    root: Tensor = (vectors * roots) @ vectors.T
    return root
