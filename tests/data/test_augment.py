"""Augmentation: told truly, repeatable, and each transformation is the one its label says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from koopstep.data import augment as module
from koopstep.data.augment import LABELS, augment, mirror


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(count: int, size: int = 33) -> Tensor:
    """A bright spot right of and a fainter one above the middle of a dark image."""
    images = torch.full((count, 1, size, size), -1.0)
    middle = size // 2
    images[:, :, middle - 1 : middle + 2, middle + 7 : middle + 10] = 1.0
    images[:, :, middle - 9 : middle - 6, middle - 1 : middle + 2] = 0.5
    return images


def spot(image: Tensor) -> tuple[float, float]:
    """Centre (x, y) of what is brighter than 0.6, from the middle in pixels, y downwards."""
    weight = (image[0] - 0.6).clamp_min(0)
    places = torch.arange(image.shape[1], dtype=torch.float32) - image.shape[1] // 2
    return (float((weight * places).sum() / weight.sum()), float((weight * places[:, None]).sum() / weight.sum()))


def only(monkeypatch: pytest.MonkeyPatch, which: int, count: int = 40) -> tuple[Tensor, Tensor]:
    """Blobs changed by one of the six transformations only."""
    original = torch.rand

    def chosen(*size: int, **settings: object) -> Tensor:
        numbers = original(*size, **settings)  # type: ignore[call-overload]
        if size[0] == 6:
            numbers = torch.ones(size)
            numbers[which] = 0.0
        return numbers

    monkeypatch.setattr(module.torch, "rand", chosen)
    return augment(blobs(count), 0.5, generator(1))


def test_nothing_is_done_at_probability_zero_and_said_so() -> None:
    images = blobs(5)
    changed = augment(images, 0.0, generator())
    assert torch.equal(changed.images, images) and not changed.labels.any() and changed.labels.shape == (5, LABELS)


def test_the_same_generator_does_the_same_and_some_rows_stay_whole() -> None:
    images = torch.rand(200, 3, 8, 8, generator=generator(5)) * 2 - 1
    first, second = augment(images, 0.12, generator(3)), augment(images, 0.12, generator(3))
    assert torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)
    untouched = ~first.labels.any(dim=1)
    assert 0.4 < float(untouched.float().mean()) < 0.7  # 0.94^2 0.88^4 = 0.53
    assert torch.equal(first.images[untouched], images[untouched])
    assert float(first.images.abs().max()) <= 1 + 1e-5


def test_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = only(monkeypatch, 0)
    assert set(labels[:, 0].tolist()) == {0.0, 1.0} and not labels[:, 1:].any()
    for image, label in zip(images, labels, strict=True):
        assert spot(image)[0] == pytest.approx(-8 if label[0] else 8, abs=0.1)


def test_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = only(monkeypatch, 2)
    assert float(labels[:, 2].std()) > 0.1 and not labels[:, [0, 1, 3, 4, 5, 6, 7, 8]].any()
    for image, label in zip(images, labels, strict=True):
        assert spot(image)[0] == pytest.approx(8 * 2 ** float(label[2]), rel=0.08)


def test_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = only(monkeypatch, 3)
    for image, label in zip(images, labels, strict=True):
        x, y = spot(image)
        assert math.hypot(x, y) == pytest.approx(8, abs=0.5)
        assert (x, y) == pytest.approx((8 * (float(label[3]) + 1), 8 * float(label[4])), abs=0.6)


def test_stretching_keeps_the_area(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = only(monkeypatch, 4)
    strength = labels[:, 5].square().add(labels[:, 6].square()).sqrt()
    assert float(strength.max()) > 0.2 and not labels[:, [0, 1, 2, 3, 4, 7, 8]].any()
    for image, label in zip(images, labels, strict=True):
        x, _ = spot(image)
        # to first order the spot on the x axis moves by the stretch along x
        assert x == pytest.approx(8 * (1 + math.log(2) * float(label[5])), abs=1.0)


def test_shifting(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = only(monkeypatch, 5)
    near = labels[:, 7].abs().lt(0.2) & labels[:, 8].abs().lt(0.35)
    assert int(near.sum()) > 20
    for image, label in zip(images[near], labels[near], strict=True):
        assert spot(image) == pytest.approx((8 + 33 * float(label[7]), 33 * float(label[8])), abs=0.6)


def test_mirror_flips_about_half() -> None:
    images = torch.rand(200, 1, 4, 4, generator=generator(2))
    mirrored = mirror(images, generator(0))
    flipped = (mirrored == images.flip(3)).flatten(1).all(1)
    kept = (mirrored == images).flatten(1).all(1)
    assert bool((flipped ^ kept).all()) and 70 < int(flipped.sum()) < 130
