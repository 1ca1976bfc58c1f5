"""Which rows make up a training batch: a function of (seed, step), so that resuming needs the step only."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from koopstep.core.errors import UsageError
from koopstep.core.noise import permutation, stream_seed

Rows = npt.NDArray[np.int64]


class BatchStream:
    """An endless stream of global batches over some rows; each epoch has its own order.

    A batch may reach over the end of an epoch: each row is seen once an epoch whatever the batch size.

    Args:
        rows: (R,) the rows to draw from, such as `store.training_rows()`.
        batch_size: rows of one global batch (all processes together).
        seed: seed of the order.

    Raises:
        UsageError: no rows, or a batch size below 1.
    """

    def __init__(self, rows: Rows, batch_size: int, seed: int) -> None:
        if len(rows) == 0:
            raise UsageError("there are no rows to train on; collect more or hold out fewer")
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, got {batch_size}")
        self._rows = np.asarray(rows, dtype=np.int64)
        self._batch_size = batch_size
        self._seed = seed
        self._order = lru_cache(maxsize=2)(self._make_order)

    def _make_order(self, epoch: int) -> Rows:
        return self._rows[permutation(stream_seed("batches", self._seed, epoch), len(self._rows))]

    def indices(self, step: int) -> Rows:
        """The rows of the global batch of `step` >= 0. Int64, (batch_size,); a pure function of the step."""
        slots = np.arange(step * self._batch_size, (step + 1) * self._batch_size, dtype=np.int64)
        epochs, places = np.divmod(slots, len(self._rows))
        parts = [self._order(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)]
        return np.concatenate(parts)
