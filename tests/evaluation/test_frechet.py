from __future__ import annotations

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.evaluation.frechet import frechet_distance
from koopstep.evaluation.moments import Moments, moments


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(mean: Tensor, covariance: Tensor) -> Moments:
    return Moments(100, mean.double(), covariance.double())


def random_gaussian(seed: int, d: int, rank: int) -> Moments:
    factor = torch.randn(d, rank, generator=generator(seed), dtype=torch.float64)
    return gaussian(torch.randn(d, generator=generator(seed + 1000), dtype=torch.float64), factor @ factor.T)


def rotation(seed: int, d: int) -> Tensor:
    return torch.linalg.qr(torch.randn(d, d, generator=generator(seed), dtype=torch.float64)).Q


def test_one_dimension_by_hand() -> None:
    a, b = (
        gaussian(torch.tensor([1.0]), torch.tensor([[4.0]])),
        gaussian(torch.tensor([4.0]), torch.tensor([[9.0]])),
    )
    assert frechet_distance(a, b) == pytest.approx(9 + (2 - 3) ** 2, abs=1e-12)


@pytest.mark.parametrize("d", [2, 7, 40])
def test_commuting_covariances_have_a_closed_form(d: int) -> None:
    basis = rotation(d, d)
    p, q = (torch.rand(d, generator=generator(seed), dtype=torch.float64) * 5 for seed in (1, 2))
    a, b = (gaussian(torch.zeros(d), basis @ torch.diag(v) @ basis.T) for v in (p, q))
    assert frechet_distance(a, b) == pytest.approx(float((p.sqrt() - q.sqrt()).square().sum()), rel=1e-10)


def test_two_dimensions_have_a_closed_form() -> None:
    """In two dimensions tr sqrt(S1 S2) = sqrt(tr(S1 S2) + 2 sqrt(det(S1 S2))), commuting or not."""
    a, b = random_gaussian(3, 2, 2), random_gaussian(4, 2, 2)
    product = a.covariance @ b.covariance
    overlap = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * overlap
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize(("rank_a", "rank_b"), [(30, 30), (30, 4), (4, 30), (3, 5), (0, 30), (0, 0)])
def test_metric_properties_at_any_rank(rank_a: int, rank_b: int) -> None:
    a, b = random_gaussian(5, 30, rank_a), random_gaussian(6, 30, rank_b)
    scale = float(a.covariance.trace() + b.covariance.trace()) + 1
    distance = frechet_distance(a, b)
    assert distance >= 0
    assert distance == pytest.approx(frechet_distance(b, a), abs=1e-12 * scale)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12 * scale)
    turn = rotation(7, 30)
    turned = [gaussian(turn @ m.mean + 3, turn @ m.covariance @ turn.T) for m in (a, b)]
    assert frechet_distance(*turned) == pytest.approx(distance, abs=1e-9 * scale)


def test_disjoint_supports_do_not_overlap() -> None:
    left, right = torch.diag(torch.tensor([2.0, 0, 0, 1])), torch.diag(torch.tensor([0.0, 3, 5, 0]))
    a, b = gaussian(torch.zeros(4), left), gaussian(torch.zeros(4), right)
    assert frechet_distance(a, b) == pytest.approx(11, abs=1e-12)


def test_it_is_homogeneous_of_degree_two() -> None:
    x, y = (torch.randn(200, 6, generator=generator(seed)) * seed for seed in (8, 9))
    once = frechet_distance(moments([x]), moments([y]))
    assert frechet_distance(moments([3 * x]), moments([3 * y])) == pytest.approx(9 * once, rel=1e-5)


def test_different_dimensions() -> None:
    with pytest.raises(UsageError, match="dimensions differ"):
        frechet_distance(random_gaussian(0, 3, 3), random_gaussian(0, 4, 4))
