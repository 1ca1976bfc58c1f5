from __future__ import annotations

import sys

import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.data import digits

pytest.importorskip("sklearn")


def test_load() -> None:
    images, labels = digits.load()
    assert images.shape == (1797, *digits.SHAPE) and images.dtype == torch.float32
    assert labels.shape == (1797,) and labels.dtype == torch.int64
    assert float(images.min()) == -1 and float(images.max()) == 1
    ink = (images + 1) * 8
    assert torch.equal(ink, ink.round())
    assert labels.unique().tolist() == list(range(10))
    assert labels[:10].tolist() == list(range(10))


def test_the_raw_data_are_those_every_published_number_rests_on() -> None:
    assert digits.sha256() == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_scikit_learn_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UsageError, match=r"pip install koopstep\[analysis\]"):
        digits.load()
