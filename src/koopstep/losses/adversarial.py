"""What discriminator and student minimise against each other: the paper's game, two stronger ones, and gradient penalties.

To add a game: its two sides here, and a line in :data:`ADVERSARIAL_LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class AdversarialLoss:
    """A game over logits (B, places) of real and generated rows; row i of both has the same class (and noise).

    Attributes:
        student: (fake logits, real logits or None) -> what the student minimises, a mean over rows.
        discriminator: (real logits, fake logits) -> what the discriminator minimises, a mean over rows.
        pairs: whether the student's side needs the real logits.
    """

    student: Callable[[Tensor, Tensor | None], Tensor]
    discriminator: Callable[[Tensor, Tensor], Tensor]
    pairs: bool = False


def nonsaturating(fake: Tensor, _: Tensor | None = None) -> Tensor:
    """KDM Eq. 8, the student's side in the non-saturating form of its Alg. 1 (line 13): cross-entropy to 'real'."""
    return functional.softplus(-fake).mean()


def cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """KDM Eq. 8, the discriminator's side (Alg. 1, line 14)."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def hinge_student(fake: Tensor, _: Tensor | None = None) -> Tensor:
    """The student's side of the hinge game (Lim and Ye, arXiv 1705.02894)."""
    return -fake.mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Its discriminator's side: nothing more is asked once real is above 1 and generated below -1."""
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def relativistic_student(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """The student's side of relativistic pairing (R3GAN, arXiv 2501.05441): generated more real than its partner.

    Here the partner is the teacher's own sample for the same noise and class.
    """
    if real is None:
        raise RuntimeError("relativistic pairing needs the real logits")
    return functional.softplus(real - fake).mean()


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Its discriminator's side: real more real than its generated partner."""
    return functional.softplus(fake - real).mean()


ADVERSARIAL_LOSSES: dict[str, AdversarialLoss] = {
    "nonsaturating": AdversarialLoss(nonsaturating, cross_entropy),
    "hinge": AdversarialLoss(hinge_student, hinge_discriminator),
    "relativistic": AdversarialLoss(relativistic_student, relativistic_discriminator, pairs=True),
}


def discriminator_loss(
    discriminator: nn.Module,
    real: Tensor,
    fake: Tensor,
    class_labels: Tensor | None,
    *,
    adversarial_loss: AdversarialLoss = ADVERSARIAL_LOSSES["nonsaturating"],
    r1: float = 0.0,
    r2: float = 0.0,
    real_labels: Tensor | None = None,
) -> Tensor:
    """What the discriminator minimises; neither batch gets a gradient.

    Args:
        discriminator: (B, *shape), (B,) int64 or None -> logits (B, places).
        real: the teacher's samples, or real ones (B, *shape).
        fake: the student's.
        class_labels: (B,) int64 or None, of ``fake``.
        adversarial_loss: the game.
        r1: weight of the zero-centred gradient penalty on ``real`` (Mescheder et al., arXiv 1801.04406).
        r2: the same on ``fake``; both together as in R3GAN.
        real_labels: of ``real``, where they are others.
    """
    theirs = class_labels if real_labels is None else real_labels
    real_logits, real_penalty = _judged(discriminator, real, theirs, r1)
    fake_logits, fake_penalty = _judged(discriminator, fake, class_labels, r2)
    return adversarial_loss.discriminator(real_logits, fake_logits) + real_penalty + fake_penalty


def _judged(discriminator: nn.Module, x: Tensor, class_labels: Tensor | None, weight: float) -> tuple[Tensor, Tensor]:
    """Logits of ``x``, and ``weight / 2`` times the mean squared length of the gradient of a row's mean logit."""
    if not weight:
        logits = discriminator(x.detach(), class_labels)
        return logits, logits.new_zeros(())
    # half precision loses the small gradients of which this is the square
    with torch.autocast(x.device.type, enabled=False):
        x = x.detach().to(next(discriminator.parameters()).dtype).requires_grad_()
        logits = discriminator(x, class_labels)
        (slope,) = torch.autograd.grad(logits.mean(dim=1).sum(), x, create_graph=True)
        return logits, weight / 2 * slope.square().flatten(1).sum(dim=1).mean()
