"""Scores of a set of samples: pure functions of tensors, computed in float64, returning one number."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian, permutation, stream_seed
from koopstep.data.cells import Cells

MMD_MAX_ROWS = 5000
"""`mmd` takes at most this many rows of each side, a seeded choice."""
MMD_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Bandwidths of `mmd` in units of the reference's median distance. Each is twice the one before it."""
_MEDIAN_ROWS = 1000
_BLOCK = 1000
_PROJECTION_BLOCK = 32


def pair_mse(student: Tensor, target: Tensor) -> float:
    """Mean squared error of samples against the teacher's ends for the same noise.

    The mean runs over all elements, rows and dimensions alike, as in ``torch.nn.functional.mse_loss``; the
    published checkerboard model's 3.85e-4 is this quantity.

    Args:
        student: (N, *shape).
        target: (N, *shape).

    Returns:
        The mean, in squared data units.

    Raises:
        UsageError: Different shapes, or no rows.
    """
    if student.shape != target.shape or student.numel() == 0:
        raise UsageError(f"pair_mse: equal shapes are needed, got {tuple(student.shape)} and {tuple(target.shape)}")
    return float((_rows(student) - _rows(target)).square().mean())


def pair_mse_permuted(student: Tensor, target: Tensor, seed: int = 0) -> float:
    """`pair_mse` against wrong partners: the control, what a generator scores that ignores its noise.

    The partners are a seeded derangement: the rows are put on a random circle and each gets its neighbour's
    target, so no row keeps its own.

    Args:
        student: (N, *shape), N >= 2.
        target: (N, *shape).
        seed: Of the derangement.

    Returns:
        The mean, in squared data units.

    Raises:
        UsageError: Different shapes, or fewer than two rows.
    """
    if student.shape != target.shape or len(student) < 2:
        raise UsageError(
            "pair_mse_permuted: equal shapes and at least 2 rows are needed, "
            f"got {tuple(student.shape)} and {tuple(target.shape)}"
        )
    circle = torch.as_tensor(permutation(stream_seed("pair_mse_permuted", seed), len(student)), device=target.device)
    return pair_mse(student[circle], target[circle.roll(1)])


def in_cell(points: Tensor, cells: Cells) -> float:
    """Share of points that lie in a filled cell of their data set.

    Args:
        points: (N, 2), N >= 1, in data units.
        cells: of the data set.

    Returns:
        The share, in [0, 1].

    Raises:
        UsageError: Another shape.
    """
    if points.ndim != 2 or len(points) == 0:
        raise UsageError(f"in_cell: points of shape (N, 2) are needed, got {tuple(points.shape)}")
    return float((cells.filled(points) >= 0).to(torch.float64).mean())


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int = 256, seed: int = 0) -> float:
    """Sliced 2-Wasserstein distance (Rabin et al., 2011; Bonneel et al., 2015).

    Both sets are projected on seeded random unit vectors; in one dimension the optimal transport joins equal
    quantiles, which is computed exactly for any two counts. A shift of the data by a vector v changes it by
    about ``|v| / sqrt(d)``.

    Args:
        x: (N, *shape), N >= 1.
        y: (M, *shape), M >= 1.
        projections: How many directions.
        seed: Of the directions.

    Returns:
        Root of the mean over directions of the squared W2 of the projections, in data units.

    Raises:
        UsageError: Rows of different size, no rows, or no projections.
    """
    x, y = _two_sets("sliced_wasserstein", x, y)
    if projections < 1:
        raise UsageError(f"sliced_wasserstein: at least 1 projection is needed, got {projections}")
    stream = stream_seed("sliced_wasserstein", seed)
    directions = gaussian(stream, range(projections), (x.shape[1],)).to(x)
    directions = directions / directions.norm(dim=1, keepdim=True)
    n, m = len(x), len(y)
    steps = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # quantiles where either steps, times n m
    edges = torch.from_numpy(steps).to(x.device)
    at_x, at_y = edges[:-1] // m, edges[:-1] // n
    weights = edges.diff().to(torch.float64) / (n * m)
    total = 0.0
    for block in directions.split(_PROJECTION_BLOCK):
        sorted_x, sorted_y = (block @ x.T).sort(dim=1).values, (block @ y.T).sort(dim=1).values
        total += float(((sorted_x[:, at_x] - sorted_y[:, at_y]).square() @ weights).sum())
    return float((total / projections) ** 0.5)


def mmd(x: Tensor, y: Tensor, seed: int = 0) -> float:
    """Unbiased squared maximum mean discrepancy (Gretton et al., 2012, Eq. 3).

    The kernel is the mean of Gaussians ``exp(-|a - b|^2 / (2 s^2))`` with s = `MMD_SCALES` times the median
    distance between rows of `y`. The median is taken on `y`, the reference, alone, so that all candidates
    meet the same kernel; hence ``mmd(x, y)`` and ``mmd(y, x)`` differ slightly. At most `MMD_MAX_ROWS` rows
    of each side are used.

    Args:
        x: (N, *shape), N >= 2: the samples.
        y: (M, *shape), M >= 2: the reference.
        seed: Of the choice of rows.

    Returns:
        The estimate, at most 2 and without unit; its mean is 0 when both sets have one distribution, so it
        may be slightly negative.

    Raises:
        UsageError: Rows of different size, or fewer than two rows.
    """
    x, y = _two_sets("mmd", x, y)
    if min(len(x), len(y)) < 2:
        raise UsageError(f"mmd: at least 2 rows a side are needed, got {len(x)} and {len(y)}")
    x, y = _choice(x, MMD_MAX_ROWS, "x", seed), _choice(y, MMD_MAX_ROWS, "y", seed)
    median = _median_distance(_choice(y, _MEDIAN_ROWS, "median", seed))
    within_x = _kernel_sum(x, None, median) / (len(x) * (len(x) - 1))
    within_y = _kernel_sum(y, None, median) / (len(y) * (len(y) - 1))
    between = _kernel_sum(x, y, median) / (len(x) * len(y))
    return within_x + within_y - 2 * between


def class_shares(labels: Tensor, num_classes: int) -> Tensor:
    """Share of each class.

    Args:
        labels: int64 (N,), N >= 1, in 0..num_classes-1.
        num_classes: How many classes there are.

    Returns:
        float64 (num_classes,), summing to 1.

    Raises:
        UsageError: No labels, or a label outside the classes.
    """
    if labels.ndim != 1 or len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise UsageError(f"class_shares: labels (N,) in 0..{num_classes - 1} are needed, got {tuple(labels.shape)}")
    return torch.bincount(labels, minlength=num_classes).to(torch.float64) / len(labels)


def class_balance(labels: Tensor, reference_labels: Tensor, num_classes: int) -> float:
    """Total variation distance between the class shares of two sets.

    Args:
        labels: int64 (N,), classes of the samples.
        reference_labels: int64 (M,), classes of the real data.
        num_classes: How many classes there are.

    Returns:
        Half the sum of absolute differences: 0 for equal shares, 1 for no class in common.

    Raises:
        UsageError: As `class_shares`.
    """
    shares = class_shares(labels, num_classes).cpu()
    return float((shares - class_shares(reference_labels, num_classes).cpu()).abs().sum() / 2)


def class_accuracy(labels: Tensor, class_labels: Tensor) -> float:
    """Share of samples that a classifier takes for the class that was asked for.

    Args:
        labels: int64 (N,), what the classifier says.
        class_labels: int64 (N,), what was asked.

    Returns:
        The share, in [0, 1].

    Raises:
        UsageError: Different shapes, or no labels.
    """
    if labels.shape != class_labels.shape or len(labels) == 0:
        got = f"{tuple(labels.shape)} and {tuple(class_labels.shape)}"
        raise UsageError(f"class_accuracy: as many labels as were asked are needed, got {got}")
    return float((labels.cpu() == class_labels.cpu()).to(torch.float64).mean())


def _rows(samples: Tensor) -> Tensor:
    return samples.detach().reshape(len(samples), -1).to(torch.float64)


def _two_sets(name: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if len(x) == 0 or len(y) == 0 or x.shape[1:] != y.shape[1:]:
        raise UsageError(f"{name}: two sets of equal row shape are needed, got {tuple(x.shape)} and {tuple(y.shape)}")
    return _rows(x), _rows(y)


def _choice(rows: Tensor, count: int, purpose: str, seed: int) -> Tensor:
    """At most `count` rows, chosen by (purpose, seed) and the number of rows."""
    if len(rows) <= count:
        return rows
    chosen = permutation(stream_seed("mmd", purpose, seed), len(rows))[:count]
    return rows[torch.as_tensor(chosen, device=rows.device)]


def _median_distance(rows: Tensor) -> float:
    """Median of the distances that are not zero; 1 when all rows are equal (any bandwidth serves then)."""
    distances = torch.pdist(rows)
    distances = distances[distances > 0]
    return float(distances.median()) if len(distances) else 1.0


def _kernel_sum(a: Tensor, b: Tensor | None, median: float) -> float:
    """Sum of the kernel over all pairs of rows; without `b`, over all pairs of different rows of `a`."""
    total = 0.0
    widest = 2 * (MMD_SCALES[-1] * median) ** 2
    for start in range(0, len(a), _BLOCK):
        block = a[start : start + _BLOCK]
        kernel = torch.cdist(block, a[start:] if b is None else b).square_().div_(-widest).exp_()
        for _ in MMD_SCALES:
            total += float(kernel.sum())
            if b is None:  # the blocks left of the diagonal mirror those right of it; no row meets itself
                inner = kernel[:, : len(block)]
                total += float(kernel.sum() - inner.sum() - inner.diagonal().sum())
            kernel = kernel.square_().square_()  # half the bandwidth is the fourth power
    return total / len(MMD_SCALES)
