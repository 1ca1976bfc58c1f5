"""Distances by their formulas, and as means over rows."""

from __future__ import annotations

import math

import pytest
import torch

from koopstep.losses.distances import DISTANCES, mse, pseudo_huber


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).double(), torch.randn(shape, generator=generator).double()


def test_formulas() -> None:
    left, right = pair(4, 2, 3, 3)
    rows = (left - right).flatten(1)
    assert float(mse(left, right)) == pytest.approx(sum(float(value) ** 2 for value in rows.flatten()) / rows.numel())
    c = 0.00054 * math.sqrt(18)
    for size in (1.0, 1e-3):  # of the order of c, where the constant counts
        by_hand = [math.sqrt(float((size * row).norm()) ** 2 + c**2) - c for row in rows]
        assert float(pseudo_huber(size * left, size * right)) == pytest.approx(sum(by_hand) / 4)


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_every_distance(name: str) -> None:
    distance, (left, right) = DISTANCES[name], pair(6, 5)
    assert float(distance(left, left)) == 0
    assert float(distance(left, right)) > float(distance(left, 0.5 * (left + right))) > 0
    torch.testing.assert_close(distance(left, right), distance(right, left))
    # micro-batches add up: the mean of two halves is the whole
    halves = (distance(left[:3], right[:3]) + distance(left[3:], right[3:])) / 2
    torch.testing.assert_close(halves, distance(left, right))
    near = left.clone().requires_grad_()
    distance(near, left).backward()
    assert near.grad is not None
    assert bool(torch.isfinite(near.grad).all())  # also where nothing is left to learn


def test_pseudo_huber_is_square_near_and_straight_far() -> None:
    zero = torch.zeros(1, 4, dtype=torch.float64)
    far = torch.full((1, 4), 1e3, dtype=torch.float64)
    assert float(pseudo_huber(2 * far, zero) / pseudo_huber(far, zero)) == pytest.approx(2, rel=1e-5)
    near = torch.full((1, 4), 1e-6, dtype=torch.float64)
    assert float(pseudo_huber(2 * near, zero) / pseudo_huber(near, zero)) == pytest.approx(4, rel=1e-4)
