"""A plane in which outcomes separate: Fisher's linear discriminants, fitted and shown on different rows."""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.noise import permutation, stream_seed

_RIDGE = 1e-3


def discriminant_plane(rows: Tensor, outcomes: Tensor) -> Tensor:
    """Returns the two directions that separate the means of the outcomes best, against the spread within.

    Fisher's linear discriminants with a ridge of 0.1 % of the mean variance. With two outcomes there is one
    discriminant; the second direction is then the widest one at right angles to it.

    Args:
        rows: (N, d), d >= 2.
        outcomes: int64 (N,); negative rows are left out.

    Returns:
        float64 (d, 2): `rows @ plane` are the coordinates, with unit variance within outcomes.

    Raises:
        UsageError: fewer than two outcomes.
    """
    kept = outcomes >= 0
    points, names = rows[kept].double(), outcomes[kept]
    classes, member = torch.unique(names, return_inverse=True)
    if len(classes) < 2:
        raise UsageError(f"projection: at least 2 outcomes are needed to separate, got {len(classes)}")
    one_hot = torch.nn.functional.one_hot(member, len(classes)).double()
    counts = one_hot.sum(dim=0)
    means = (one_hot.T @ points) / counts[:, None]
    within = points - means[member]
    scatter = within.T @ within / len(points)
    ridge = _RIDGE * scatter.diagonal().mean().clamp_min(1e-12)
    scatter = scatter + ridge * torch.eye(scatter.shape[0], dtype=scatter.dtype, device=scatter.device)
    root = torch.linalg.cholesky(scatter)
    centred = (means - points.mean(dim=0)) * (counts / len(points)).sqrt()[:, None]
    whitened = torch.linalg.solve_triangular(root, centred.T, upper=False)  # (d, classes)
    directions = torch.linalg.svd(whitened, full_matrices=True).U[:, :2]
    found: Tensor = torch.linalg.solve_triangular(root.T, directions, upper=True)
    return found


def halves(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns two seeded halves of the row numbers 0..count-1: one to fit on, one to show."""
    order = torch.from_numpy(permutation(stream_seed("projection", seed), count))
    return order[: count // 2], order[count // 2 :]


def held_out_view(rows: Tensor, outcomes: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns coordinates for a picture of rows of any size, and which rows they are of.

    Rows in the plane are taken as they are, all of them. Others are projected on discriminants fitted on one
    half of the rows and shown on the other: in many dimensions a plane that separates the rows it was fitted
    on always exists, and says nothing.

    Args:
        rows: (N, *shape).
        outcomes: int64 (N,).
        seed: of the halves.

    Returns:
        float64 (M, 2) coordinates and int64 (M,) row numbers.
    """
    flat = rows.detach().cpu().double().flatten(1)
    if flat.shape[1] == 2:
        return flat, torch.arange(len(flat))
    fitted, shown = halves(len(flat), seed)
    known = outcomes.cpu()
    if len(torch.unique(known[fitted][known[fitted] >= 0])) < 2:
        return flat[shown][:, :2], shown  # one outcome only: no direction is better than another
    return (flat[shown] - flat[fitted].mean(dim=0)) @ discriminant_plane(flat[fitted], known[fitted]), shown
