"""Scores of two sets of feature vectors: kernel distance, precision and recall, density and coverage, and their kin."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from koopstep.core.errors import UsageError

_ROWS = 1024  # of a distance matrix at a time


class Manifold(NamedTuple):
    """Improved precision and recall (Kynkäänniemi et al., 2019), density and coverage (Naeem et al., 2020)."""

    precision: float
    recall: float
    density: float
    coverage: float


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """KID (Bińkowski et al., 2018): unbiased squared MMD with the kernel ``(x.y / d + 1)^3``, over all rows at once.

    Args:
        a: (N, d), N >= 2.
        b: (M, d), M >= 2.

    Returns:
        The distance; around 0 (also below) for two sets of one distribution.

    Raises:
        UsageError: Fewer than two rows, or another d.
    """
    _check(a, b, 2)
    a, b = a.double(), b.double()
    within = [(_kernel_sum(x, x) - _kernel_diagonal(x)) / (len(x) * (len(x) - 1)) for x in (a, b)]
    return float(within[0] + within[1] - 2 * _kernel_sum(a, b) / (len(a) * len(b)))


def manifold(real: Tensor, fake: Tensor, k: int) -> Manifold:
    """All four scores with balls that reach to the k-th nearest neighbour in their own set.

    Precision: share of fake in some real ball. Recall: share of real in some fake ball. Density: how many real balls a
    fake lies in, over k. Coverage: share of real balls with a fake in them.

    Raises:
        UsageError: At most k rows, or another d.
    """
    _check(real, fake, k + 1)
    real, fake = real.double(), fake.double()
    real_radius, fake_radius = nearest(real, real, k, skip_self=True), nearest(fake, fake, k, skip_self=True)
    in_real, in_fake = torch.zeros(len(fake), dtype=torch.int64), torch.zeros(len(real), dtype=torch.bool)
    covered = torch.zeros(len(real), dtype=torch.bool)
    for start in range(0, len(real), _ROWS):
        rows = slice(start, start + _ROWS)
        distance = torch.cdist(real[rows], fake)
        inside = distance <= real_radius[rows, None]
        in_real += inside.sum(dim=0)
        covered[rows] = inside.any(dim=1)
        in_fake[rows] = (distance <= fake_radius[None]).any(dim=1)
    precision = float((in_real > 0).double().mean())
    density = float(in_real.double().mean() / k)
    return Manifold(precision, float(in_fake.double().mean()), density, float(covered.double().mean()))


def nearest(rows: Tensor, others: Tensor, k: int = 1, *, skip_self: bool = False) -> Tensor:
    """Distance (N,) of each row to its k-th nearest of ``others``; ``skip_self`` when both are one set."""
    wanted = k + 1 if skip_self else k
    parts = [
        torch.cdist(rows[start : start + _ROWS], others).kthvalue(wanted, dim=1).values
        for start in range(0, len(rows), _ROWS)
    ]
    return torch.cat(parts)


def nearness(fake: Tensor, real: Tensor) -> float:
    """Median distance of fake rows to their nearest real one, over the same of real rows to their nearest other.

    About 1 for fresh samples of the same distribution; far below 1 where real rows were learned by heart.

    Raises:
        UsageError: Fewer than two rows, or another d.
    """
    _check(real, fake, 2)
    among_real = nearest(real.double(), real.double(), skip_self=True).median()
    return float(nearest(fake.double(), real.double()).median() / among_real.clamp_min(1e-12))


def inception_score(logits: Tensor) -> float:
    """``exp(mean KL(p(y|x) || p(y)))`` over all rows at once (Salimans et al., 2016); 1 at least, at most the classes."""
    log_shares = logits.double().log_softmax(dim=1)
    mean = log_shares.exp().mean(dim=0)
    divergence = (log_shares.exp() * (log_shares - mean.log())).sum(dim=1).mean()
    return float(divergence.exp())


def _kernel_sum(a: Tensor, b: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(a), _ROWS):
        total += ((a[start : start + _ROWS] @ b.T) / a.shape[1] + 1).pow(3).sum()
    return total


def _kernel_diagonal(a: Tensor) -> Tensor:
    return (a.square().sum(dim=1) / a.shape[1] + 1).pow(3).sum()


def _check(a: Tensor, b: Tensor, least: int) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise UsageError(f"two sets of vectors of one length are needed, got {tuple(a.shape)} and {tuple(b.shape)}")
    if min(len(a), len(b)) < least:
        raise UsageError(f"at least {least} rows of each set are needed, got {len(a)} and {len(b)}")
