from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from koopstep.core.errors import NumericsError, UsageError
from koopstep.evaluation.moments import moments


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(lambda cuts: sum(cuts) >= 2),
    st.integers(0, 99),
)
def test_streaming_equals_the_whole(cuts: list[int], seed: int) -> None:
    rows = torch.randn(sum(cuts), 2, 3, generator=torch.Generator().manual_seed(seed))
    streamed = moments(rows.split(cuts))
    flat = rows.reshape(len(rows), -1).to(torch.float64)
    assert streamed.count == len(rows)
    torch.testing.assert_close(streamed.mean, flat.mean(0), atol=1e-12, rtol=0)
    torch.testing.assert_close(streamed.covariance, flat.T.cov(), atol=1e-12, rtol=0)


def test_a_large_offset_costs_no_digits() -> None:
    rows = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    near, far = moments(rows.split(7)), moments((rows + 1e7).split(7))
    torch.testing.assert_close(far.covariance, near.covariance, atol=1e-7, rtol=0)


def test_covariance_is_exactly_symmetric_and_float64() -> None:
    result = moments(torch.randn(500, 8, generator=torch.Generator().manual_seed(1)).split(64))
    assert torch.equal(result.covariance, result.covariance.T)
    assert result.covariance.dtype == result.mean.dtype == torch.float64


def test_whole_numbers_are_welcome() -> None:
    images = torch.randint(0, 256, (50, 3, 2, 2), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    torch.testing.assert_close(moments([images]).mean, images.reshape(50, -1).double().mean(0))


def test_any_iterable_will_do() -> None:
    assert moments(torch.eye(4)[i : i + 1] for i in range(4)).count == 4


def test_refuses_what_has_no_covariance() -> None:
    for batches in ([], [torch.zeros(1, 2)], [torch.zeros(0, 2)]):
        with pytest.raises(UsageError, match="at least 2 rows"):
            moments(batches)
    with pytest.raises(UsageError, match="batch 1 has 3"):
        moments([torch.zeros(2, 2), torch.zeros(2, 3)])
    with pytest.raises(NumericsError, match="batch 1"):
        moments([torch.zeros(2, 2), torch.full((2, 2), float("nan"))])
