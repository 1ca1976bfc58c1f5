"""Batch: slices, moves, keeps labels whole."""

from __future__ import annotations

import torch

from koopstep.core.errors import (
    DamagedError,
    Interrupted,
    KoopstepError,
    NumericsError,
    StorageError,
    UsageError,
)
from koopstep.core.records import Batch


def _batch(labels: bool) -> Batch:
    noise = torch.randn(5, 2)
    states = torch.stack([noise, noise * 0.5, torch.randn(5, 2)])
    progress = torch.tensor([0.0, 0.5, 1.0])
    return Batch(noise, states, progress, torch.arange(5) if labels else None)


def test_batch() -> None:
    batch = _batch(labels=True)
    assert len(batch) == 5
    assert torch.equal(batch.data, batch.states[2])
    part = batch[1:3]
    assert part.states.shape == (3, 2, 2)
    assert torch.equal(part.noise, batch.noise[1:3])
    assert part.class_labels is not None
    assert part.class_labels.tolist() == [1, 2]
    moved = batch.to("cpu", torch.float64)
    assert moved.states.dtype == moved.noise.dtype == moved.progress.dtype == torch.float64
    assert moved.class_labels is not None
    assert moved.class_labels.dtype == torch.int64
    assert _batch(labels=False)[:2].to("cpu").class_labels is None


def test_exit_codes() -> None:
    codes = {
        KoopstepError: 1,
        UsageError: 2,
        DamagedError: 3,
        StorageError: 3,
        NumericsError: 3,
        Interrupted: 75,
    }
    assert all(error("x").exit_code == code for error, code in codes.items())
    assert all(issubclass(error, KoopstepError) for error in codes)
