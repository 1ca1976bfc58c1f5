"""Batches: each row once an epoch, as a function of the step."""

from __future__ import annotations

import numpy as np
import pytest

from koopstep.core.errors import UsageError
from koopstep.data.batches import BatchStream

ROWS = np.array([3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377], dtype=np.int64)


@pytest.mark.parametrize("size", [1, 2, 5, 11, 12, 40])
def test_each_row_once_an_epoch(size: int) -> None:
    stream = BatchStream(ROWS, size, seed=0)
    flat = np.concatenate([stream.indices(step) for step in range(11)])
    assert flat.dtype == np.int64
    assert len(flat) == 11 * size
    epochs = flat.reshape(size, 11)
    assert all(sorted(epoch) == ROWS.tolist() for epoch in epochs)
    if size > 1:
        assert any((epochs[0] != epoch).any() for epoch in epochs[1:])


def test_pure_function_of_the_step() -> None:
    forward = [BatchStream(ROWS, 4, seed=7).indices(step) for step in range(30)]
    stream = BatchStream(ROWS, 4, seed=7)
    for step in (29, 0, 13, 13, 5):
        assert (stream.indices(step) == forward[step]).all()
    other = [BatchStream(ROWS, 4, seed=8).indices(step) for step in range(30)]
    assert any((a != b).any() for a, b in zip(forward, other, strict=True))


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="no rows"):
        BatchStream(np.zeros(0, dtype=np.int64), 4, 0)
    with pytest.raises(UsageError, match="batch_size"):
        BatchStream(ROWS, 0, 0)
