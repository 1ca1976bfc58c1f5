"""Mean and covariance of any stream of batches, in float64 and in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from koopstep.core.errors import NumericsError, UsageError


@dataclass(frozen=True)
class Moments:
    """First and second moments of a set of vectors.

    Attributes:
        count: How many vectors went in, at least 2.
        mean: float64 (d,), in data units.
        covariance: float64 (d, d), symmetric, unbiased (divided by count - 1), in squared data units.
    """

    count: int
    mean: Tensor
    covariance: Tensor


def moments(batches: Iterable[Tensor]) -> Moments:
    """Measures a stream; only one batch and one (d, d) matrix are held at a time.

    Batches are joined by the pairwise update of Chan, Golub and LeVeque (1979), which sums squared deviations
    from the running mean, so a large offset of the data costs no digits.

    Args:
        batches: Tensors (B, *shape) of any real type; each row is flattened to d numbers. B may vary.

    Returns:
        The moments, on the device of the batches.

    Raises:
        UsageError: Fewer than two rows in all, or batches that differ in d.
        NumericsError: A batch holds NaN or infinity; it is named by its position.
    """
    count = 0
    mean = scatter = torch.zeros(0, dtype=torch.float64)
    for position, batch in enumerate(batches):
        rows = batch.detach().reshape(batch.shape[0], -1).to(torch.float64) if len(batch) else None
        if rows is None:
            continue
        if not torch.isfinite(rows).all():
            raise NumericsError(f"moments: batch {position} holds NaN or infinity")
        if count == 0:
            mean, scatter = rows.new_zeros(rows.shape[1]), rows.new_zeros(rows.shape[1], rows.shape[1])
        if rows.shape[1] != len(mean):
            raise UsageError(f"moments: batch {position} has {rows.shape[1]} numbers a row, the first {len(mean)}")
        total = count + len(rows)
        rows_mean = rows.mean(dim=0)
        centred = rows - rows_mean
        shift = rows_mean - mean
        scatter = scatter + centred.T @ centred + torch.outer(shift, shift) * (count * len(rows) / total)
        mean = mean + shift * (len(rows) / total)
        count = total
    if count < 2:
        raise UsageError(f"moments: at least 2 rows are needed for a covariance, got {count}")
    return Moments(count, mean, (scatter + scatter.T) / (2 * (count - 1)))
