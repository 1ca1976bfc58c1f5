from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.data import checkerboard
from koopstep.evaluation import scores


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_pair_mse_is_the_mean_over_all_elements() -> None:
    a, b = normal(0, 30, 3, 4), normal(1, 30, 3, 4)
    assert scores.pair_mse(a, b) == pytest.approx(float(torch.nn.functional.mse_loss(a, b)), rel=1e-5)
    assert scores.pair_mse(a, a) == 0


def test_the_permuted_control_knows_who_uses_the_noise() -> None:
    target = normal(2, 500, 2)
    student = target + 0.01 * normal(3, 500, 2)
    assert scores.pair_mse_permuted(student, target) > 1000 * scores.pair_mse(student, target)
    assert scores.pair_mse_permuted(student, target) == pytest.approx(2, rel=0.2)
    blind = normal(4, 500, 2)
    assert scores.pair_mse_permuted(blind, target) == pytest.approx(scores.pair_mse(blind, target), rel=0.2)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000))
def test_no_row_keeps_its_partner(count: int, seed: int) -> None:
    apart = torch.eye(count)  # distinct rows differ in two entries; a kept partner would cost nothing
    assert scores.pair_mse_permuted(apart, apart, seed) == pytest.approx(2 / count)


def test_permuted_control_depends_on_its_seed_only() -> None:
    a, b = normal(5, 50, 2), normal(6, 50, 2)
    assert scores.pair_mse_permuted(a, b, 1) == scores.pair_mse_permuted(a, b, 1)
    assert scores.pair_mse_permuted(a, b, 1) != scores.pair_mse_permuted(a, b, 2)


def test_in_cell() -> None:
    half = checkerboard.CELL / 2
    assert (
        scores.in_cell(torch.tensor([[half, half], [half, -half], [99.0, 0], [-half, -half]]), checkerboard.CELLS)
        == 0.5
    )
    assert scores.in_cell(checkerboard.sample(0, 500), checkerboard.CELLS) == 1


@pytest.mark.parametrize("other", [400, 300, 1000, 7])
def test_w2_of_a_shift_is_the_shift(other: int) -> None:
    x, y = normal(7, 400, 1), normal(8, other, 1)
    near, far = scores.sliced_wasserstein(x, y), scores.sliced_wasserstein(x, y + 50)
    assert near < 0.6
    assert far == pytest.approx(50, abs=0.6)


def test_w2_of_shifted_gaussians_in_the_plane() -> None:
    x, y = normal(9, 20000, 2), normal(10, 20000, 2)
    assert scores.sliced_wasserstein(x, y) < 0.05
    shift = torch.tensor([3.0, 4.0])
    x = x[:2000]
    assert scores.sliced_wasserstein(x, x + shift, 2000) == pytest.approx(5 / 2**0.5, rel=0.04)
    assert scores.sliced_wasserstein(x, 3 * x) == pytest.approx(2, rel=0.03)


def test_w2_of_unequal_counts_is_exact() -> None:
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [0.0], [1.0]])
    assert scores.sliced_wasserstein(x, y) == pytest.approx((1 / 6) ** 0.5)
    assert scores.sliced_wasserstein(x, x.repeat(3, 1)) == pytest.approx(0, abs=1e-12)


def test_w2_invariances() -> None:
    x, y = normal(11, 100, 2, 3), normal(12, 80, 2, 3)
    value = scores.sliced_wasserstein(x, y)
    assert value == pytest.approx(scores.sliced_wasserstein(y, x))
    assert value == pytest.approx(scores.sliced_wasserstein(x.flip(0), y))
    assert value == pytest.approx(scores.sliced_wasserstein(x + 7, y + 7), rel=1e-4)
    assert scores.sliced_wasserstein(x, y, seed=1) == pytest.approx(value, rel=0.2)
    assert scores.sliced_wasserstein(x, x.flip(0)) == pytest.approx(0, abs=1e-12)  # rows are projected at other places


def test_mmd_is_zero_on_average_and_sees_a_shift() -> None:
    null = torch.tensor([scores.mmd(normal(2 * i, 100, 2), normal(2 * i + 1, 120, 2)) for i in range(200)])
    assert abs(float(null.mean())) < 4 * float(null.std()) / 200**0.5
    assert (null < 0).any()
    shifted = scores.mmd(normal(900, 100, 2) + 1, normal(901, 120, 2))
    assert shifted > float(null.max())


def test_mmd_agrees_with_its_definition() -> None:
    x, y = normal(13, 1203, 2).double(), normal(14, 1001, 2).double() * 1.3
    distances = torch.pdist(y[torch.as_tensor(_median_rows(1001))])
    median = distances.median()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = (a[:, None] - b[None]).square().sum(-1)
        return sum(torch.exp(-squares / (2 * (s * median) ** 2)) for s in scores.MMD_SCALES) / len(scores.MMD_SCALES)

    def within(a: Tensor) -> Tensor:
        k = kernel(a, a)
        return (k.sum() - k.trace()) / (len(a) * (len(a) - 1))

    expected = within(x) + within(y) - 2 * kernel(x, y).mean()
    assert scores.mmd(x, y) == pytest.approx(float(expected), abs=1e-9)


def _median_rows(count: int) -> list[int]:
    from koopstep.core.noise import permutation, stream_seed

    return permutation(stream_seed("mmd", "median", 0), count)[:1000].tolist()


def test_mmd_of_equal_rows_and_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scores.mmd(torch.zeros(5, 2), torch.zeros(6, 2)) == pytest.approx(0, abs=1e-12)
    monkeypatch.setattr(scores, "MMD_MAX_ROWS", 50)
    x, y = normal(15, 400, 2), normal(16, 300, 2)
    assert scores.mmd(x, y, 1) == scores.mmd(x, y, 1) != scores.mmd(x, y, 2)


def test_class_scores() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    assert scores.class_shares(labels, 4).tolist() == [0.5, 0.25, 0.25, 0]
    assert scores.class_balance(labels, labels.flip(0), 4) == 0
    assert scores.class_balance(torch.tensor([0]), torch.tensor([1]), 2) == 1
    assert scores.class_balance(labels, torch.tensor([0, 1]), 3) == 0.25
    assert scores.class_accuracy(labels, torch.tensor([0, 1, 1, 2])) == 0.75


def test_refusals() -> None:
    two, three, none = torch.zeros(4, 2), torch.zeros(4, 3), torch.zeros(0, 2)
    refused = [
        lambda: scores.pair_mse(two, three),
        lambda: scores.pair_mse(none, none),
        lambda: scores.pair_mse_permuted(two[:1], two[:1]),
        lambda: scores.in_cell(three, checkerboard.CELLS),
        lambda: scores.in_cell(none, checkerboard.CELLS),
        lambda: scores.sliced_wasserstein(two, three),
        lambda: scores.sliced_wasserstein(two, none),
        lambda: scores.sliced_wasserstein(two, two, 0),
        lambda: scores.mmd(two, two[:1]),
        lambda: scores.class_shares(torch.tensor([3]), 3),
        lambda: scores.class_shares(torch.tensor([-1]), 3),
        lambda: scores.class_accuracy(torch.tensor([1]), torch.tensor([1, 2])),
    ]
    for call in refused:
        with pytest.raises(UsageError):
            call()
