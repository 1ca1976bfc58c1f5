"""The digits that come with scikit-learn: 1,797 hand-written digits of 8 x 8 pixels, no download.

Source: the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI, 1998). A pixel
counts the ink of a 4 x 4 block, 0..16.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.files import sha256_bytes

SHAPE = (1, 8, 8)


class Digits(NamedTuple):
    """The images and what they show.

    Attributes:
        images: float32 (1797, 1, 8, 8) in [-1, 1]: ink / 8 - 1, so -1 is paper.
        labels: int64 (1797,), 0..9.
    """

    images: Tensor
    labels: Tensor


def load() -> Digits:
    """Loads the digits in the order scikit-learn keeps them.

    Raises:
        UsageError: scikit-learn is not installed.
    """
    ink, labels = _raw()
    images = torch.from_numpy(ink.astype(np.float32)).reshape(-1, *SHAPE) / 8 - 1
    return Digits(images, torch.from_numpy(labels.astype(np.int64)))


def sha256() -> str:
    """SHA-256 of the raw data: all ink values as bytes (image by image, row by row), then all labels.

    Raises:
        UsageError: scikit-learn is not installed.
    """
    ink, labels = _raw()
    return sha256_bytes(ink.tobytes() + labels.tobytes())


def _raw() -> tuple[np.ndarray, np.ndarray]:
    """Ink uint8 (1797, 64) in 0..16 and labels uint8 (1797,)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError(
            "the digits data set comes with scikit-learn, which is missing: pip install koopstep[analysis]"
        ) from error
    bunch = load_digits()
    return np.ascontiguousarray(bunch.data, dtype=np.uint8), np.ascontiguousarray(bunch.target, dtype=np.uint8)
