from __future__ import annotations

import sys
import time

import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.data import digits
from koopstep.evaluation.classifier import fit

pytest.importorskip("sklearn")


def test_it_knows_the_digits_quickly_and_always_alike() -> None:
    images, labels = digits.load()
    start = time.process_time()
    classifier = fit(images, labels)
    assert time.process_time() - start < 2
    assert classifier.held_out_accuracy >= 0.985
    predicted = classifier.predict(images)
    assert predicted.dtype == torch.int64
    assert float((predicted == labels).double().mean()) > 0.995
    again = fit(images, labels)
    noisy = images + 0.5 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    assert again.held_out_accuracy == classifier.held_out_accuracy
    assert torch.equal(again.predict(noisy), classifier.predict(noisy))


@pytest.mark.parametrize("seed", range(1, 6))
def test_other_held_out_quarters_agree(seed: int) -> None:
    assert fit(*digits.load(), seed).held_out_accuracy >= 0.985


def test_one_image_at_a_time_is_the_same() -> None:
    images, labels = digits.load()
    classifier = fit(images[:300], labels[:300])
    one_by_one = torch.cat([classifier.predict(image[None]) for image in images[300:320]])
    assert torch.equal(one_by_one, classifier.predict(images[300:320]))
    assert classifier.predict(images[:0]).shape == (0,)


def test_refusals() -> None:
    images, labels = digits.load()
    classifier = fit(images[:300], labels[:300])
    with pytest.raises(UsageError, match="got \\(1, 4, 4\\)"):
        classifier.predict(torch.zeros(2, 1, 4, 4))
    with pytest.raises(UsageError, match="NaN"):
        classifier.predict(torch.full((1, 1, 8, 8), float("nan")))
    with pytest.raises(UsageError, match="as many labels"):
        fit(images, labels[:5])
    with pytest.raises(UsageError, match="two classes"):
        fit(images[:5], torch.zeros(5, dtype=torch.int64))


def test_scikit_learn_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(UsageError, match=r"koopstep\[analysis\]"):
        fit(torch.zeros(4, 1, 2, 2), torch.tensor([0, 0, 1, 1]))
