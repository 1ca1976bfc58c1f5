"""Samples that fall between the cells, and where in the noise they come from (KDM Sec. 6.1, App. E.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Findings, OutlierMap
from koopstep.analysis.outcomes import quadrants
from koopstep.analysis.subject import MOST_ROWS, Subject
from koopstep.analysis.words import percent
from koopstep.core.errors import NumericsError, UsageError

EPS = 0.15
"""Radius of DBSCAN in data units, as in KDM App. E.6."""
MIN_SAMPLES = 5
"""Points within the radius, itself included, that put a point in a cluster. The paper gives no number."""
TAIL_QUANTILE = 0.95
"""Noise farther out than this share of the other samples is in the tail of the Gaussian."""
BOUNDARY_QUANTILE = 0.10
"""Noise nearer to another cell than this share of the other samples is at a boundary."""


@dataclass(frozen=True)
class Outliers:
    """Which samples are outliers, and where their noise lies.

    Attributes:
        mask: bool (N,), True for outliers.
        radius: float64 (N,), length of the noise.
        boundary_distance: float64 (N,), distance in noise space to the nearest sample that ends in another
            cell; inf where there is no other cell.
        eps: radius of DBSCAN, in data units.
        min_samples: its least number of points.
        median_neighbours: median number of points within `eps` of a sample, itself included. Where it is not
            well above `min_samples` the set is too sparse for DBSCAN, and most of what it calls outliers are
            not.
    """

    mask: Tensor
    radius: Tensor
    boundary_distance: Tensor
    eps: float
    min_samples: int
    median_neighbours: float

    @property
    def share(self) -> float:
        """Outliers among all samples, in [0, 1]."""
        return float(self.mask.double().mean())

    @property
    def sparse(self) -> bool:
        """Whether there are too few samples for these settings."""
        return self.median_neighbours < 2 * self.min_samples

    def summary(self) -> dict[str, Any]:
        """Returns plain numbers: how many there are, and how many come from the tail and from boundaries.

        Tail: a radius above that of 95 % of the other samples. Boundary: a boundary distance below that of 90
        % of them. The values under ``expected`` are what samples that are no outliers score: 0.05 and 0.10.
        """
        tail, boundary = self.in_tail()[self.mask], self.at_boundary()[self.mask]

        def share(selected: Tensor) -> float | None:
            return float(selected.double().mean()) if len(selected) else None

        return {
            "count": int(self.mask.sum()),
            "samples": len(self.mask),
            "share": self.share,
            "eps": self.eps,
            "min_samples": self.min_samples,
            "median_neighbours": self.median_neighbours,
            "sparse": self.sparse,
            "in_tail": share(tail),
            "at_boundary": share(boundary),
            "neither": share(~tail & ~boundary),
            "expected": {"in_tail": round(1 - TAIL_QUANTILE, 9), "at_boundary": BOUNDARY_QUANTILE},
            "median_radius": _median(self.radius[self.mask]),
            "median_radius_others": _median(self.radius[~self.mask]),
            "median_boundary_distance": _median(self.boundary_distance[self.mask]),
            "median_boundary_distance_others": _median(self.boundary_distance[~self.mask]),
        }

    def in_tail(self) -> Tensor:
        """Returns bool (N,): noise in the tail of the Gaussian."""
        others = self.radius[~self.mask]
        if not len(others):
            return torch.zeros_like(self.mask)
        return self.radius > torch.quantile(others, TAIL_QUANTILE)

    def at_boundary(self) -> Tensor:
        """Returns bool (N,): noise next to that of another cell."""
        others = self.boundary_distance[~self.mask]
        if not len(others) or not bool(torch.isfinite(others).any()):
            return torch.zeros_like(self.mask)
        return self.boundary_distance < torch.quantile(others, BOUNDARY_QUANTILE)


def find_outliers(
    noise: Tensor, points: Tensor, cells: Tensor, *, eps: float = EPS, min_samples: int = MIN_SAMPLES
) -> Outliers:
    """Finds outliers with DBSCAN and measures where their noise lies.

    An outlier is what DBSCAN calls noise: fewer than `min_samples` points within `eps`, and none of those
    that have more within `eps` either. Whether a place is crowded depends on how many samples there are:
    compare sets of equal size.

    The distance to a boundary does not trust the cell of the sample itself (an outlier has none): it is the
    distance to the nearest sample, no outlier, whose cell differs from the cell of the nearest one.

    Args:
        noise: (N, *shape), unit variance.
        points: (N, d), the generated samples in data units.
        cells: int64 (N,), where each sample ended; negative for no cell (such a sample makes no boundary).
        eps: in data units.
        min_samples: at least 1.

    Raises:
        UsageError: different numbers of rows, no rows, or scikit-learn is not installed.
        NumericsError: NaN or infinity in the samples.
    """
    if not len(noise) == len(points) == len(cells) or not len(points) or points.ndim != 2:
        raise UsageError(
            "outliers: as many noises, points and cells are needed, got "
            f"{tuple(noise.shape)}, {tuple(points.shape)} and {tuple(cells.shape)}"
        )
    broken = int((~torch.isfinite(points)).any(dim=1).sum())
    if broken:
        raise NumericsError(f"outliers: {broken} of {len(points)} samples hold NaN or infinity")
    cluster, neighbours = _sklearn()
    places = points.detach().cpu().double().numpy()
    mask = torch.from_numpy(cluster(eps=eps, min_samples=min_samples).fit(places).labels_ == -1)
    crowd = neighbours(radius=eps).fit(places).radius_neighbors(places, return_distance=False)
    flat = noise.detach().cpu().double().flatten(1)
    return Outliers(
        mask=mask,
        radius=flat.norm(dim=1),
        boundary_distance=_boundary_distance(flat.numpy(), cells.cpu().numpy(), mask.numpy(), neighbours),
        eps=eps,
        min_samples=min_samples,
        median_neighbours=float(np.median([len(row) for row in crowd])),
    )


def _boundary_distance(noise: np.ndarray, cells: np.ndarray, outlier: np.ndarray, neighbours: Any) -> Tensor:
    """The second smallest of the distances to the nearest regular sample of each cell, itself left out."""
    distances = []
    for cell in np.unique(cells[~outlier & (cells >= 0)]):
        members = np.flatnonzero(~outlier & (cells == cell))
        found, _ = neighbours(n_neighbors=min(2, len(members))).fit(noise[members]).kneighbors(noise)
        nearest = found[:, 0].copy()
        # a member finds itself first; its next one counts, and a lone member has none
        nearest[members] = found[members, 1] if len(members) > 1 else np.inf
        distances.append(nearest)
    if len(distances) < 2:
        return torch.full((len(noise),), torch.inf, dtype=torch.float64)
    return torch.from_numpy(np.sort(np.stack(distances), axis=0)[1])


def _median(values: Tensor) -> float | None:
    median = float(values.median()) if len(values) else torch.inf
    return median if np.isfinite(median) else None


def _sklearn() -> tuple[Any, Any]:
    try:
        from sklearn.cluster import DBSCAN
        from sklearn.neighbors import NearestNeighbors
    except ImportError as error:
        raise UsageError("outliers need scikit-learn: pip install koopstep[analysis]") from error
    return DBSCAN, NearestNeighbors


def between_cells(subject: Subject) -> Findings:
    """Outliers of teacher and student with their noise (KDM Sec. 6.1 and App. E.6).

    Raises:
        UsageError: if the data is not in the plane.
    """
    require_plane(subject)
    rows, held_out, source = slice(0, MOST_ROWS), subject.held_out(), subject.reference().value
    cells = None if source is None else source.cells
    noise = held_out.batch.noise[rows]
    samples = {"teacher": held_out.batch.data[rows], "student": held_out.samples[rows]}
    ends = {name: quadrants(points) if cells is None else cells.filled(points) for name, points in samples.items()}
    found = {name: find_outliers(noise, points, ends[name]) for name, points in samples.items()}
    view = OutlierMap(
        "outliers.png",
        noise,
        samples,
        {name: result.mask for name, result in found.items()},
        ends,
        cells,
    )
    text = f"Ringed: samples that lie apart from all others (DBSCAN, eps {EPS:g}), and the noise they come from (KDM Fig. 5)."
    sentence = outlier_sentence(found)
    numbers = {
        f"{name}'s outliers": f"{int(result.mask.sum())} of {len(result.mask):,} ({percent(result.share)})"
        for name, result in found.items()
    }
    values = {name: result.summary() for name, result in found.items()}
    caption = Caption("Outliers and where they come from", text, sentence)
    return Findings(values, [view], sentence, {view.file: caption}, numbers)


def outlier_sentence(found: dict[str, Outliers]) -> str:
    """How many of the student's samples lie apart, beside the teacher's, and where their noise lies."""
    student, teacher = found["student"], found["teacher"]
    if student.sparse:
        return (
            f"There are too few samples to tell outliers from others (half of them have at most "
            f"{student.median_neighbours:g} others within {student.eps:g}): hold out more rows."
        )
    beside = f"of the teacher's {percent(teacher.share)}"
    count = int(student.mask.sum())
    if not count:
        return f"None of {len(student.mask):,} student samples lies apart from the others ({beside})."
    values = student.summary()
    return (
        f"{count} of {len(student.mask):,} student samples ({percent(student.share)}) lie apart from the others ({beside}): "
        f"{percent(values['at_boundary'])} of them start next to noise of another cell ({percent(BOUNDARY_QUANTILE)} by "
        f"chance), {percent(values['in_tail'])} in the tail ({percent(1 - TAIL_QUANTILE)} by chance)."
    )


def require_plane(subject: Subject) -> None:
    """Refuse data that is not in the plane.

    Raises:
        UsageError: then.
    """
    if subject.student.facts.shape != (2,):
        raise UsageError("outliers are looked for in 2-D samples only (DBSCAN, eps 0.15 in data units)")
