"""The plane of a picture: finds structure that is there, shows none that is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from koopstep.analysis.projection import discriminant_plane, halves, held_out_view
from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian, integers


def separation(coordinates: Tensor, labels: Tensor) -> float:
    """Share of rows nearest to the mean of their own outcome."""
    means = torch.stack([coordinates[labels == name].mean(dim=0) for name in labels.unique()])
    return float((torch.cdist(coordinates, means).argmin(dim=1) == labels).double().mean())


def test_finds_the_directions_that_decide() -> None:
    noise = gaussian(0, range(3000), (8, 8))
    labels = (noise[:, 2, 3] > 0).long() + 2 * (noise[:, 5, 1] > 0).long()
    coordinates, rows = held_out_view(noise, labels)
    assert coordinates.shape == (1500, 2)
    assert separation(coordinates, labels[rows]) > 0.85
    plane = discriminant_plane(noise.flatten(1), labels)
    weight = plane.square().sum(dim=1)
    assert set(weight.topk(2).indices.tolist()) == {2 * 8 + 3, 5 * 8 + 1}


def test_shows_no_structure_where_there_is_none() -> None:
    noise, labels = gaussian(0, range(400), (100,)), integers(0, range(400), 4)
    coordinates, rows = held_out_view(noise, labels)
    assert separation(coordinates, labels[rows]) < 0.45
    fitted = halves(400)[0]  # the rows it was fitted on separate in spite of that: why they are not shown
    seen = noise[fitted].double() @ discriminant_plane(noise[fitted], labels[fitted])
    assert separation(seen, labels[fitted]) > 0.6


def test_halves_are_a_partition() -> None:
    fitted, shown = halves(11, seed=3)
    assert sorted([*fitted.tolist(), *shown.tolist()]) == list(range(11))
    assert not torch.equal(fitted, halves(11, seed=4)[0])


def test_unit_variance_within_outcomes() -> None:
    rows = gaussian(0, range(4000), (5,)) * torch.tensor([1.0, 10.0, 0.1, 3.0, 1.0])
    labels = integers(0, range(4000), 3)
    rows[:, 2] += labels
    coordinates = rows.double() @ discriminant_plane(rows, labels)
    within = torch.stack([coordinates[labels == name].std(dim=0) for name in range(3)])
    # the ridge, 0.1 % of the mean variance, is felt along the narrow direction
    assert float(within.min()) > 0.3 and float(within.max()) < 1.05


def test_special_cases() -> None:
    flat = gaussian(0, range(20), (2,))
    coordinates, rows = held_out_view(flat, torch.zeros(20, dtype=torch.int64))
    torch.testing.assert_close(coordinates, flat.double())
    assert len(rows) == 20
    single, shown = held_out_view(gaussian(0, range(20), (5,)), torch.zeros(20, dtype=torch.int64))
    assert single.shape == (10, 2)
    assert len(shown) == 10
    two = discriminant_plane(gaussian(0, range(50), (5,)), integers(0, range(50), 2))
    assert two.shape == (5, 2)
    assert bool(torch.isfinite(two).all())
    with pytest.raises(UsageError, match="at least 2 outcomes"):
        discriminant_plane(gaussian(0, range(20), (5,)), -torch.ones(20, dtype=torch.int64))
