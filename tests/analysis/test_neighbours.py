"""Neighbours against brute force and on cases with a known answer."""

from __future__ import annotations

import json

import pytest
import torch

from koopstep.analysis.neighbours import memorisation, shared_outcomes
from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian, integers


def test_structure_is_told_from_none() -> None:
    noise = gaussian(0, range(1500), (1, 2, 1))
    quadrant = (noise[:, 0, 0, 0] > 0).long() + 2 * (noise[:, 0, 1, 0] > 0).long()
    random = integers(0, range(1500), 4)
    found = shared_outcomes(noise, {"teacher": quadrant, "untrained": random}, k=5)
    assert found["teacher"].share > 0.9
    assert abs(found["teacher"].permuted - 0.25) < 0.03
    assert abs(found["untrained"].share - 0.25) < 0.03
    assert abs(found["untrained"].summary()["excess"]) < 0.05
    assert found["teacher"].summary()["excess"] > 0.85
    assert json.dumps(found["teacher"].summary(), allow_nan=False)


def test_against_brute_force() -> None:
    space, labels = gaussian(3, range(60), (3,)), integers(1, range(60), 3) - 1
    hits = 0
    for row in range(60):
        order = sorted((float((space[row] - space[i]).norm()), i) for i in range(60) if i != row)
        hits += sum(int(labels[i] == labels[row]) for _, i in order[:4] if labels[row] >= 0)
    assert shared_outcomes(space, {"x": labels}, k=4)["x"].share == pytest.approx(hits / 240)


def test_twins_and_one_outcome() -> None:
    space, same = torch.zeros(20, 2), torch.ones(20, dtype=torch.int64)
    found = shared_outcomes(space, {"one": same, "none": -same}, k=3)
    assert found["one"].share == 1
    assert found["one"].summary()["excess"] == 0
    assert found["none"].share == 0


def test_few_queries_are_a_seeded_choice() -> None:
    space, labels = gaussian(0, range(500), (2,)), integers(0, range(500), 2)
    first, second = (shared_outcomes(space, {"x": labels}, max_queries=50, seed=s)["x"] for s in (0, 1))
    assert first.queries == 50
    assert first == shared_outcomes(space, {"x": labels}, max_queries=50, seed=0)["x"]
    assert first.share != second.share


def test_copies_are_found_and_new_samples_are_not() -> None:
    real, fresh = gaussian(0, range(400), (1, 4, 4)), gaussian(1, range(100), (1, 4, 4))
    copies = real[50:150] + 0.01 * fresh
    found = memorisation(copies, real, held_out=fresh)
    assert torch.equal(found.nearest, torch.arange(50, 150))
    torch.testing.assert_close(found.distance, (0.01 * fresh.double()).flatten(1).norm(dim=1), rtol=1e-3, atol=0)
    summary = found.summary()
    assert summary["copies"] == 1
    assert summary["held_out"]["copies"] == 0
    assert 0.8 < summary["held_out"]["median_ratio"] < 1.4
    assert json.dumps(summary, allow_nan=False)
    assert memorisation(fresh, real).summary()["held_out"] is None


def test_ratio_by_hand() -> None:
    real = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 0.0], [10.0, 0.0]])  # a twin is no yardstick
    found = memorisation(torch.tensor([[0.5, 0.0], [2.0, 0.5], [10.0, 0.0]]), real)
    assert found.ratio.tolist() == pytest.approx([0.25, 0.25, 0.0], abs=1e-7)
    assert found.distance.tolist() == pytest.approx([0.5, 0.5, 0.0], abs=1e-7)


def test_wrong_inputs() -> None:
    space, labels = gaussian(0, range(10), (2,)), integers(0, range(10), 2)
    with pytest.raises(UsageError, match="k is 10, but there are 10"):
        shared_outcomes(space, {"x": labels})
    with pytest.raises(UsageError, match="'x' have shape"):
        shared_outcomes(space, {"x": labels[:5]}, k=2)
    with pytest.raises(UsageError, match="one shape"):
        memorisation(torch.zeros(3, 4), torch.zeros(3, 5))
    with pytest.raises(UsageError, match="all real samples are equal"):
        memorisation(torch.zeros(3, 4), torch.zeros(3, 4))
