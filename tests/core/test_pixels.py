"""Pictures as bytes and back: EDM's rule, every range, and bytes that survive the way there and back."""

from __future__ import annotations

import pytest
import torch

from koopstep.core.pixels import DataRange, byte_values, from_bytes

BYTES = torch.arange(256, dtype=torch.uint8)


@pytest.mark.parametrize("data_range", [(-1.0, 1.0), (0.0, 1.0), (-0.5, 0.5), (0.0, 255.0), (-3.0, 9.0)])
def test_bytes_come_back(data_range: DataRange) -> None:
    values = from_bytes(BYTES, data_range)
    assert (float(values[0]), float(values[-1])) == pytest.approx(data_range)
    assert torch.equal(byte_values(values, data_range).to(torch.uint8), BYTES)


def test_plain_images_become_bytes_as_edm_writes_them() -> None:
    images = torch.linspace(-1.2, 1.2, 9001)
    assert torch.equal(byte_values(images), (images * 127.5 + 128).clip(0, 255).to(torch.uint8).float())
    assert torch.equal(from_bytes(BYTES), BYTES.float() / 127.5 - 1)


def test_what_is_no_number_stays_none() -> None:
    """A metric of NaN must not become one of white pictures."""
    values = byte_values(torch.tensor([float("nan"), float("inf"), -float("inf")]))
    assert bool(values[0].isnan()) and values[1:].tolist() == [255, 0]
