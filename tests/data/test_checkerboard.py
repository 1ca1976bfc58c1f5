from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.data import checkerboard
from koopstep.data.checkerboard import CELL, EXTENT, FILLED, cell_of, filled, sample


def test_geometry() -> None:
    assert pytest.approx(2.2222, abs=1e-4) == CELL
    assert pytest.approx(4.4444, abs=1e-4) == EXTENT
    assert sum(FILLED) == 8
    for number, full in enumerate(FILLED):
        row, column = divmod(number, 4)
        assert full == ((row + column) % 2 == 0)


def test_the_filled_cells_are_those_of_the_flow_matching_board() -> None:
    rng = np.random.default_rng(0)
    x1 = rng.random(20000) * 4 - 2
    x2 = rng.random(20000) - 2 * rng.integers(0, 2, 20000) + np.floor(x1) % 2
    assert filled(torch.from_numpy(np.stack([x1, x2], 1) / 0.45)).all()


def test_samples_fill_eight_cells_equally_and_evenly() -> None:
    count = 200_000
    points = sample(0, count)
    assert points.shape == (count, 2) and points.dtype == torch.float32
    assert filled(points).all()
    shares = torch.bincount(cell_of(points), minlength=16) / count
    error = 5 * math.sqrt(1 / 8 * 7 / 8 / count)
    assert torch.all((shares[torch.tensor(FILLED)] - 1 / 8).abs() < error)
    assert shares[~torch.tensor(FILLED)].sum() == 0
    inside = (points.double() / CELL).frac().abs()
    assert torch.all((inside.mean(0) - 0.5).abs() < 5 / math.sqrt(12 * count))
    torch.testing.assert_close(points.std(0), torch.full((2,), 2 * EXTENT / math.sqrt(12)), rtol=0.01, atol=0)


def test_a_point_depends_on_seed_and_index_only() -> None:
    whole = sample(5, 100)
    assert torch.equal(sample(5, [7, 99, 0]), whole[[7, 99, 0]])
    assert torch.equal(sample(5, torch.tensor([7, 99, 0])), whole[[7, 99, 0]])
    assert torch.equal(sample(5, np.arange(40, 60)), whole[40:60])
    assert not torch.equal(sample(6, 100), whole)
    assert sample(0, 0).shape == (0, 2)


def test_the_smallest_and_largest_draws_stay_in_their_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    for draw in (lambda high: 0, lambda high: high - 1):
        monkeypatch.setattr(
            checkerboard,
            "integers",
            lambda seed, indices, high, draw=draw: torch.arange(8) if high == 8 else torch.full((8,), draw(high)),
        )
        points = sample(0, 8)
        assert filled(points).all()
        assert len(cell_of(points).unique()) == 8


def test_edges() -> None:
    centre = CELL / 2
    assert cell_of(torch.tensor([centre, centre])).item() == 10
    assert cell_of(torch.tensor([-EXTENT + 1e-3, -EXTENT + 1e-3])).item() == 0
    assert cell_of(torch.tensor([EXTENT - 1e-3, EXTENT - 1e-3])).item() == 15
    assert cell_of(torch.tensor([EXTENT - 1e-3, -EXTENT + 1e-3])).item() == 3
    lower = torch.tensor([-EXTENT, -EXTENT], dtype=torch.float64)
    assert cell_of(lower).item() == 0, "a lower edge belongs to its cell"
    assert cell_of(-lower).item() == -1, "an upper edge does not"
    assert cell_of(torch.zeros(2)).item() == 10
    assert cell_of(torch.tensor([0.0, -1e-9])).item() == 6
    for outside in (
        [9.0, 0.0],
        [0.0, -9.0],
        [math.nan, 0.0],
        [math.inf, 0.0],
        [0.0, -math.inf],
        [1e30, 1e30],
    ):
        assert cell_of(torch.tensor(outside)).item() == -1
        assert not filled(torch.tensor(outside))
    assert cell_of(torch.zeros(3, 5, 2)).shape == (3, 5)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="-3 points"):
        sample(0, -3)
    for wrong in (torch.zeros(5, 3), torch.tensor(1.0)):
        with pytest.raises(UsageError, match=r"\(\.\.\., 2\)"):
            cell_of(wrong)
