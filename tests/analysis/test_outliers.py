"""Outliers planted in the middle of empty cells, and noise whose boundary is known."""

from __future__ import annotations

import json
import math
import sys

import pytest
import torch

from koopstep.analysis.outliers import find_outliers
from koopstep.core.errors import NumericsError, UsageError
from koopstep.core.noise import gaussian
from koopstep.data.checkerboard import CELL, cell_of, filled, sample


def test_planted_outliers_are_found() -> None:
    points, noise = sample(0, 10_000), gaussian(0, range(10_000), (2,))
    planted = torch.tensor([[-0.5 * CELL, 0.5 * CELL], [0.5 * CELL, -0.5 * CELL], [9.0, 9.0]])
    points[[5, 100, 2000]] = planted
    found = find_outliers(noise, points, torch.where(filled(points), cell_of(points), -1))
    assert bool(found.mask[[5, 100, 2000]].all())
    assert found.mask.sum() <= 6  # a lonely corner point may join them
    assert not found.sparse
    assert math.isclose(found.share, int(found.mask.sum()) / 10_000)
    torch.testing.assert_close(found.radius, noise.double().norm(dim=1))


def halves_of_the_noise() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Left of 0 the noise goes to one blob, right to another; next to 0 and in the tail it goes astray."""
    noise = gaussian(1, range(2000), (2,))
    cells = (noise[:, 0] > 0).long()
    points = torch.stack([cells * 5.0, torch.zeros(2000)], dim=1) + 0.05 * gaussian(2, range(2000), (2,))
    stray = (noise[:, 0].abs() < 0.01) | (noise.norm(dim=1) > 3.5)
    count = int(stray.sum())
    points[stray] = torch.stack([torch.full((count,), 2.5), 3.0 * torch.arange(count)], dim=1)
    cells[stray] = -1
    return noise, points, cells


def test_where_they_come_from() -> None:
    noise, points, cells = halves_of_the_noise()
    found = find_outliers(noise, points, cells)
    assert torch.equal(found.mask, cells < 0)
    summary = found.summary()
    assert summary["neither"] == 0
    assert summary["at_boundary"] > 0.5
    assert 0 < summary["in_tail"] < 0.5
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    regular = ~found.mask
    assert math.isclose(float((found.in_tail() & regular).sum() / regular.sum()), 0.05, abs_tol=0.002)
    assert math.isclose(float((found.at_boundary() & regular).sum() / regular.sum()), 0.10, abs_tol=0.002)
    # the true distance to the boundary is |x|; samples are dense near the middle
    middle = regular & (noise.norm(dim=1) < 0.8)
    assert float((found.boundary_distance - noise[:, 0].abs().double())[middle].median()) < 0.06
    assert bool((found.boundary_distance[regular] >= noise[regular, 0].abs().double() * 0.99).all())


def test_against_brute_force() -> None:
    noise, points, cells = (part[:150] for part in halves_of_the_noise())
    found = find_outliers(noise, points, cells, eps=0.5)
    for row in range(150):
        to_cell = []
        for cell in (0, 1):
            others = [i for i in range(150) if cells[i] == cell and not found.mask[i] and i != row]
            to_cell.append(min(float((noise[i] - noise[row]).double().norm()) for i in others))
        assert math.isclose(float(found.boundary_distance[row]), max(to_cell), rel_tol=1e-5)


def test_one_cell_has_no_boundary() -> None:
    noise, points = gaussian(0, range(300), (2,)), 0.1 * gaussian(1, range(300), (2,))
    found = find_outliers(noise, points, torch.zeros(300, dtype=torch.int64))
    assert bool(torch.isinf(found.boundary_distance).all())
    summary = found.summary()
    assert summary["median_boundary_distance_others"] is None
    assert not bool(found.at_boundary().any())


def test_too_few_samples_are_said_to_be_too_few() -> None:
    points = sample(0, 3000)
    found = find_outliers(gaussian(0, range(3000), (2,)), points, cell_of(points))
    assert found.sparse
    assert found.share > 0.05  # none of them is one


def test_wrong_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    noise, points = gaussian(0, range(10), (2,)), sample(0, 10)
    with pytest.raises(UsageError, match="as many"):
        find_outliers(noise[:9], points, cell_of(points))
    with pytest.raises(NumericsError, match="1 of 10"):
        find_outliers(noise, points.index_fill(0, torch.tensor([3]), torch.nan), cell_of(points))
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(UsageError, match=r"koopstep\[analysis\]"):
        find_outliers(noise, points, cell_of(points))
