"""Every game against its formula, and the gradient penalties against a discriminator whose gradient is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from koopstep.losses.adversarial import ADVERSARIAL_LOSSES, discriminator_loss
from koopstep.nets.discriminators import build_discriminator

REAL = torch.tensor([[0.3], [-2.0], [1.7]], dtype=torch.float64)
FAKE = torch.tensor([[-0.4], [1.5], [-1.2]], dtype=torch.float64)


def sides(name: str) -> tuple[float, float]:
    game = ADVERSARIAL_LOSSES[name]
    return float(game.student(FAKE, REAL)), float(game.discriminator(REAL, FAKE))


def test_the_games_are_their_formulas() -> None:
    real, fake = torch.sigmoid(REAL), torch.sigmoid(FAKE)
    cross_entropies = float(-fake.log().mean()), float(-(real.log() + (1 - fake).log()).mean())
    assert sides("nonsaturating") == pytest.approx(cross_entropies)
    assert sides("hinge") == pytest.approx((0.1 / 3, (0.7 + 3.0 + 0.0) / 3 + (0.6 + 2.5 + 0.0) / 3))
    better = torch.sigmoid(FAKE - REAL)
    assert sides("relativistic") == pytest.approx((float(-better.log().mean()), float(-(1 - better).log().mean())))


@pytest.mark.parametrize("name", sorted(ADVERSARIAL_LOSSES))
def test_each_side_wants_its_way(name: str) -> None:
    game = ADVERSARIAL_LOSSES[name]
    assert float(game.student(FAKE + 0.1, REAL)) < float(game.student(FAKE, REAL))
    assert float(game.discriminator(REAL + 0.1, FAKE)) < float(game.discriminator(REAL, FAKE))
    assert float(game.discriminator(REAL, FAKE - 0.1)) < float(game.discriminator(REAL, FAKE))


def test_only_relativistic_pairing_looks_at_the_partner() -> None:
    for name, game in ADVERSARIAL_LOSSES.items():
        assert game.pairs == (name == "relativistic")
        moved = float(game.student(FAKE, REAL + 1)) != float(game.student(FAKE, REAL))
        assert moved == game.pairs


class Slope(nn.Module):
    """Logits ``s * |x|^2`` and ``2 s * |x|^2``: their mean has the gradient ``3 s x``."""

    def __init__(self) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def forward(self, x: Tensor, class_labels: Tensor | None = None) -> Tensor:
        square = x.square().sum(dim=1, keepdim=True)
        return torch.cat([square, 2 * square], dim=1) * self.s


@pytest.mark.parametrize(("r1", "r2"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.3), (0.7, 0.3)])
@pytest.mark.parametrize("name", sorted(ADVERSARIAL_LOSSES))
def test_penalties_are_half_the_mean_squared_slope(name: str, r1: float, r2: float) -> None:
    discriminator = Slope()
    real, fake = torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    loss = discriminator_loss(discriminator, real, fake, None, adversarial_loss=ADVERSARIAL_LOSSES[name], r1=r1, r2=r2)
    game = ADVERSARIAL_LOSSES[name].discriminator(discriminator(real), discriminator(fake.detach()))
    penalty = sum(
        w / 2 * (3 * discriminator.s * x.detach()).square().sum(dim=1).mean() for w, x in ((r1, real), (r2, fake))
    )
    torch.testing.assert_close(loss, game + penalty)
    (mine,) = torch.autograd.grad(loss, [discriminator.s])
    (by_hand,) = torch.autograd.grad(game + penalty, [discriminator.s])
    torch.testing.assert_close(mine, by_hand)  # the penalty is trained through, not only reported
    assert fake.grad is None


@pytest.mark.parametrize("kind", ["conv", "multiscale"])
def test_penalties_go_through_the_real_discriminators(kind: str) -> None:
    discriminator = build_discriminator((3, 16, 16), 2, kind).double()  # type: ignore[arg-type]
    x, labels = torch.randn(4, 3, 16, 16).double(), torch.tensor([0, 1, 0, 1])
    start = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(start, labels).mean(dim=1).sum(), start)
    expected = slope.square().flatten(1).sum(dim=1).mean()
    plain = discriminator_loss(discriminator, x, x, labels)
    torch.testing.assert_close(discriminator_loss(discriminator, x, x, labels, r1=2.0) - plain, expected)
    torch.testing.assert_close(discriminator_loss(discriminator, x, x, labels, r1=1.0, r2=1.0) - plain, expected)
    weights = [p for name, p in discriminator.named_parameters() if name.endswith("weight")]
    penalty = discriminator_loss(discriminator, x, x, labels, r1=2.0) - plain
    reached = torch.autograd.grad(penalty, weights, allow_unused=True)
    assert all(gradient is not None and bool(gradient.any()) for gradient in reached)


def test_penalties_keep_full_precision_under_autocast() -> None:
    discriminator, x = build_discriminator((1, 8, 8)), torch.randn(4, 1, 8, 8)
    exact = discriminator_loss(discriminator, x, x, None, r1=1.0, r2=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(discriminator_loss(discriminator, x, x, None, r1=1.0, r2=1.0), exact)
        assert not torch.equal(
            discriminator_loss(discriminator, x, x, None),
            discriminator_loss(discriminator.double(), x.double(), x.double(), None),
        )


@pytest.mark.parametrize("name", sorted(ADVERSARIAL_LOSSES))
def test_micro_batches_of_the_discriminator_s_loss_add_up(name: str) -> None:
    discriminator = build_discriminator((1, 8, 8), 3).double()
    real, fake, labels = torch.randn(6, 1, 8, 8).double(), torch.randn(6, 1, 8, 8).double(), torch.arange(6) % 3

    def loss(rows: slice) -> Tensor:
        game = ADVERSARIAL_LOSSES[name]
        return discriminator_loss(
            discriminator, real[rows], fake[rows], labels[rows], adversarial_loss=game, r1=0.5, r2=0.25
        )

    halves = torch.stack([loss(slice(0, 3)), loss(slice(3, 6))]).mean()
    torch.testing.assert_close(halves, loss(slice(0, 6)))
