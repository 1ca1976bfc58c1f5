"""Discriminators judge each row by itself, of every size of image."""

from __future__ import annotations

import pytest
import torch

from koopstep.nets.discriminators import ConvDiscriminator, VectorDiscriminator, build_discriminator


@pytest.mark.parametrize("shape", [(2,), (7,), (1, 8, 8), (3, 32, 32), (1, 3, 3), (3, 5, 5), (1, 1, 1)])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_rows_are_judged_one_by_one(shape: tuple[int, ...], num_classes: int) -> None:
    critic = build_discriminator(shape, num_classes).double()
    assert isinstance(critic, ConvDiscriminator if len(shape) == 3 else VectorDiscriminator)
    x = torch.randn(8, *shape).double()
    labels = torch.arange(8) % num_classes if num_classes else None
    together = critic(x, labels)
    assert together.shape[0] == 8
    assert together.ndim == 2
    halves = [critic(x[part], None if labels is None else labels[part]) for part in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(torch.cat(halves), together, rtol=1e-9, atol=1e-10)
    assert torch.unique(together[:, 0]).numel() == 8


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)])
def test_the_class_counts(shape: tuple[int, ...]) -> None:
    critic, x = build_discriminator(shape, 3), torch.randn(4, *shape)
    if isinstance(critic, ConvDiscriminator):
        zero, one = (critic(x, torch.full((4,), label)) for label in (0, 1))
        assert torch.equal(zero, one)  # the projection starts silent
        assert critic.classes is not None
        torch.nn.init.normal_(critic.classes.weight)
    zero, one, none = (critic(x, None if label is None else torch.full((4,), label)) for label in (0, 1, None))
    for left, right in ((zero, one), (zero, none), (one, none)):
        assert bool(((left - right).abs() > 1e-6).all())


def test_every_layer_learns() -> None:
    for shape in ((2,), (3, 8, 8)):
        critic = build_discriminator(shape, 2)
        critic(torch.randn(4, *shape), torch.tensor([0, 1, 0, 1])).sum().backward()
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in critic.parameters())


def test_the_image_critic_has_four_layers_as_in_the_paper() -> None:
    for size in (1, 4, 8, 64):
        critic = ConvDiscriminator((3, size, size))
        assert sum(isinstance(module, torch.nn.Conv2d) for module in critic.modules()) == 4
