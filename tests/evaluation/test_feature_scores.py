"""Scores of feature vectors against brute force and known cases."""

from __future__ import annotations

import math

import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.evaluation import feature_scores as scores


def rows(count: int, dimensions: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) + shift


def test_kernel_distance_is_the_unbiased_estimate_written_out() -> None:
    a, b = rows(7, 3, 0).double(), rows(5, 3, 1, 0.5).double()

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        return float((x @ y / 3 + 1) ** 3)

    xx = sum(kernel(a[i], a[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    yy = sum(kernel(b[i], b[j]) for i in range(5) for j in range(5) if i != j) / (5 * 4)
    xy = sum(kernel(x, y) for x in a for y in b) / 35
    assert scores.kernel_distance(a, b) == pytest.approx(xx + yy - 2 * xy, rel=1e-12)


def test_kernel_distance_of_one_distribution_is_near_zero_and_grows_with_a_shift() -> None:
    same = scores.kernel_distance(rows(1500, 8, 0), rows(1500, 8, 1))
    assert abs(same) < 0.02 < 0.1 < scores.kernel_distance(rows(1500, 8, 0), rows(1500, 8, 1, 0.5))


def test_manifold_is_what_brute_force_says() -> None:
    real, fake = rows(30, 4, 0).double(), rows(25, 4, 1, 0.7).double()
    found = scores.manifold(real, fake, k=3)
    apart = torch.cdist(real, fake)
    real_radius = torch.cdist(real, real).sort(dim=1).values[:, 3]
    fake_radius = torch.cdist(fake, fake).sort(dim=1).values[:, 3]
    inside = apart <= real_radius[:, None]
    assert found.precision == pytest.approx(float(inside.any(dim=0).double().mean()))
    assert found.recall == pytest.approx(float((apart <= fake_radius[None]).any(dim=1).double().mean()))
    assert found.density == pytest.approx(float(inside.double().sum() / (3 * 25)))
    assert found.coverage == pytest.approx(float(inside.any(dim=1).double().mean()))


def test_manifold_tells_a_lost_mode_from_a_bad_one() -> None:
    real = torch.cat([rows(200, 2, 0), rows(200, 2, 1, 20.0)])
    one_mode = scores.manifold(real, rows(400, 2, 2), k=5)
    assert one_mode.precision > 0.9 and one_mode.recall < 0.6 and one_mode.coverage < 0.6
    far = scores.manifold(real, rows(400, 2, 3, -50.0), k=5)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = rows(50, 3, 0), rows(40, 3, 1)
    whole = (scores.manifold(real, fake, 3), scores.kernel_distance(real, fake), scores.nearness(fake, real))
    monkeypatch.setattr(scores, "_ROWS", 7)
    blocks = (scores.manifold(real, fake, 3), scores.kernel_distance(real, fake), scores.nearness(fake, real))
    assert whole[0] == blocks[0] and whole[1:] == pytest.approx(blocks[1:])


def test_nearness_knows_copies() -> None:
    real = rows(300, 4, 0)
    assert scores.nearness(real[:100] + 1e-3, real) < 0.02
    assert 0.8 < scores.nearness(rows(300, 4, 1), real) < 1.25


def test_inception_score_of_known_cases() -> None:
    sure = torch.eye(10).repeat(3, 1) * 50
    assert scores.inception_score(sure) == pytest.approx(10, rel=1e-3)
    assert scores.inception_score(torch.zeros(20, 10)) == pytest.approx(1)
    half = torch.zeros(2, 2)
    half[0, 0] = math.log(3)  # (3/4, 1/4) and (1/2, 1/2)
    mean = torch.tensor([0.625, 0.375]).double()
    rows_ = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).double()
    by_hand = (rows_ * (rows_ / mean).log()).sum(dim=1).mean().exp()
    assert scores.inception_score(half) == pytest.approx(float(by_hand))


def test_what_cannot_be_scored_is_said() -> None:
    with pytest.raises(UsageError, match="one length"):
        scores.kernel_distance(rows(5, 3, 0), rows(5, 4, 0))
    with pytest.raises(UsageError, match="at least 4 rows"):
        scores.manifold(rows(3, 3, 0), rows(9, 3, 0), k=3)
