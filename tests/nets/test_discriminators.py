"""Discriminators judge each row by itself, of every size of image, and know the class."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.nets.discriminators import (
    ConvDiscriminator,
    DiscriminatorName,
    FeatureDiscriminator,
    MultiscaleDiscriminator,
    Projection,
    VectorDiscriminator,
    build_discriminator,
)


class Eye(nn.Module):
    """A frozen network of two layers."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(planes, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, 1)
        self.requires_grad_(False)

    def features(self, x: Tensor) -> list[Tensor]:
        first = self.first(x.to(self.first.weight.dtype))
        return [part.to(x.dtype) for part in (first, self.second(first.tanh()))]


KINDS: list[DiscriminatorName] = ["conv", "multiscale", "features"]
SHAPES = [(2,), (7,), (1, 8, 8), (3, 32, 32), (1, 3, 3), (3, 5, 5), (1, 1, 1), (3, 35, 35)]
MEMBERS = [(shape, kind) for shape in SHAPES for kind in KINDS if kind == "conv" or len(shape) == 3]


def make(shape: tuple[int, ...], kind: DiscriminatorName, num_classes: int) -> nn.Module:
    torch.manual_seed(0)
    return build_discriminator(shape, num_classes, kind, Eye(shape[0])).double()


@pytest.mark.parametrize(("shape", "kind"), MEMBERS)
@pytest.mark.parametrize("num_classes", [0, 3])
def test_rows_are_judged_one_by_one(shape: tuple[int, ...], kind: DiscriminatorName, num_classes: int) -> None:
    discriminator = make(shape, kind, num_classes)
    x = torch.randn(8, *shape).double()
    labels = torch.arange(8) % num_classes if num_classes else None
    together = discriminator(x, labels)
    assert together.shape[0] == 8
    assert together.ndim == 2
    halves = [discriminator(x[part], None if labels is None else labels[part]) for part in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(torch.cat(halves), together, rtol=1e-6, atol=1e-6)
    assert torch.unique(together[:, 0]).numel() == 8


@pytest.mark.parametrize(("shape", "kind"), [((2,), "conv"), *(((1, 8, 8), kind) for kind in KINDS)])
def test_the_class_counts(shape: tuple[int, ...], kind: DiscriminatorName) -> None:
    discriminator, x = make(shape, kind, 3), torch.randn(4, *shape).double()
    zero, one = (discriminator(x, torch.full((4,), label)) for label in (0, 1))
    assert torch.equal(zero, one)  # the projection starts silent
    projections = [part for part in discriminator.modules() if isinstance(part, Projection)]
    assert projections
    for part in projections:
        assert part.classes is not None
        nn.init.normal_(part.classes.weight)
    zero, one, none = (discriminator(x, None if label is None else torch.full((4,), label)) for label in (0, 1, None))
    for left, right in ((zero, one), (zero, none), (one, none)):
        assert bool(((left - right).abs() > 1e-6).all())


@pytest.mark.parametrize(("shape", "kind"), [((2,), "conv"), *(((3, 16, 16), kind) for kind in KINDS)])
def test_every_layer_learns(shape: tuple[int, ...], kind: DiscriminatorName) -> None:
    discriminator = make(shape, kind, 2)
    discriminator(torch.randn(4, *shape).double(), torch.tensor([0, 1, 0, 1])).sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in discriminator.parameters())


def test_the_image_discriminator_has_four_layers_as_in_the_paper() -> None:
    for size in (1, 4, 8, 64):
        discriminator = ConvDiscriminator((3, size, size))
        assert sum(isinstance(module, nn.Conv2d) for module in discriminator.modules()) == 4


def test_the_paper_s_discriminator_has_the_published_places_and_size() -> None:
    for size, places in ((32, 1), (64, 25)):
        discriminator = ConvDiscriminator((3, size, size))
        assert discriminator(torch.zeros(2, 3, size, size)).shape == (2, places)
        # 0.66 M as published: group norm has as many numbers as batch norm
        assert sum(p.numel() for p in discriminator.parameters()) == 663_745


def test_scales_end_at_one_grid() -> None:
    for size, scales in ((7, 1), (8, 1), (16, 2), (32, 3), (35, 3), (64, 3)):
        discriminator = MultiscaleDiscriminator((1, size, size), width=8)
        assert len(discriminator.towers) == scales
        x, places = torch.zeros(1, 1, size, size), set()
        for scale, tower in enumerate(discriminator.towers):
            x = nn.functional.avg_pool2d(x, 2) if scale else x
            places.add(tower(x).shape[1])
        assert len(places) == 1
        assert discriminator(torch.zeros(1, 1, size, size)).shape == (1, scales * places.pop())
    fine = torch.zeros(1, 1, 32, 32)
    fine[:, :, ::2] = 1.0  # stripes that no lower resolution shows
    discriminator = MultiscaleDiscriminator((1, 32, 32), width=8)
    difference = (discriminator(fine) - discriminator(torch.full_like(fine, 0.5))).view(3, -1).abs().amax(dim=1)
    assert float(difference[0].detach()) > 1e-4
    assert float(difference[1:].max().detach()) < 1e-5


def test_the_frozen_network_is_no_part_of_the_discriminator() -> None:
    eye = Eye(3)
    discriminator = FeatureDiscriminator(eye, (3, 8, 8))
    assert not any(module is eye for module in discriminator.modules())
    assert not any(name.startswith(("first", "second", "_frozen")) for name in discriminator.state_dict())
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    logits = discriminator(x)
    assert logits.shape == (2, 2 * 16)  # two layers, the same grid of places each
    logits.sum().backward()
    assert x.grad is not None and bool(x.grad.any())  # the student learns through it
    assert all(p.grad is None for p in eye.parameters())
    before = discriminator(x)
    with torch.no_grad():
        eye.second.weight.zero_()
    assert not torch.equal(discriminator(x), before)


def test_what_does_not_fit_is_named() -> None:
    assert isinstance(build_discriminator((2,)), VectorDiscriminator)
    for kind in KINDS[1:]:
        with pytest.raises(UsageError, match=f"the discriminator '{kind}' is for images"):
            build_discriminator((2,), 0, kind)
    with pytest.raises(UsageError, match="needs a feature network"):
        build_discriminator((3, 8, 8), 0, "features")
