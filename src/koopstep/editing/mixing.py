"""Editing a generated picture in its latent: modes of a reference, mixed into a part of it (HKD Sec. 5, Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from koopstep.analysis.frequencies import mean_frequency
from koopstep.analysis.modes import BANDS, Masks, Order, band_masks, drop, full
from koopstep.core.errors import UsageError
from koopstep.editing.masks import of_level
from koopstep.operators.rates import Rates
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent


@dataclass(frozen=True)
class EditPoint:
    """When along the evolution latents are mixed.

    Attributes:
        u: progress, in [0, 1).
        reencode: whether the mixed latent is decoded at ``u`` and encoded again before it goes on.
    """

    u: float = 0.5
    reencode: bool = False


@dataclass(frozen=True)
class Change:
    """How far pictures moved, mean squared error in units of [-1, 1] (or a perceptual distance).

    Attributes:
        inside: over the mask.
        outside: over the rest; None where the mask is everything.
    """

    inside: float
    outside: float | None

    @property
    def outside_over_inside(self) -> float | None:
        """0 for an edit that stays in its mask, 1 for one that is the same everywhere; None where it is undefined."""
        return None if self.outside is None or self.inside <= 0 else self.outside / self.inside


def mix(latent: Latent, reference: Latent, masks: Masks, ratio: float) -> Latent:
    """``(1 - r) z + r z_ref`` on the modes of ``masks``, ``z`` on all others.

    Args:
        latent: one tensor a level, (B, C, H, W) or (B, D).
        reference: of the same shapes.
        masks: bool (C/2, H, W), one a level.
        ratio: r in [0, 1]; 0 gives ``latent`` bit for bit.

    Raises:
        UsageError: if the ratio is outside [0, 1].
    """
    if not 0 <= ratio <= 1:
        raise UsageError(f"a ratio is from 0 (nothing of the reference) to 1 (all of it), got {ratio:g}")
    mixed = []
    for level, other, mask in zip(latent, reference, masks, strict=True):
        blend = level + ratio * (other - level)
        mixed.append(torch.where(full(mask, level).to(level.device), blend, level))
    return tuple(mixed)


def within(masks: Masks, mask: Tensor) -> Masks:
    """The modes of ``masks`` at the places inside ``mask`` (H, W), a picture's mask."""
    return tuple(level & of_level(mask, *level.shape[1:]).to(level.device) for level in masks)


def all_modes(rates: Sequence[Rates]) -> Masks:
    """Every mode of every level: the control that looks at no frequency."""
    return tuple(torch.ones_like(level.alpha, dtype=torch.bool) for level in rates)


def finest(masks: Masks) -> Masks:
    """Of ``masks`` only the levels with the most places: one for each pixel, or each patch of a network of patches.

    A place of a coarser level is a larger square of pixels, and its edit spreads beyond that.
    """
    side = max(mask.shape[1] for mask in masks)
    return tuple(mask if mask.shape[1] >= side else torch.zeros_like(mask) for mask in masks)


def chance_modes(masks: Masks, seed: int) -> Masks:
    """As many modes of each level as ``masks`` has, chosen at random: the control for what a band means."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for mask in masks:
        order = torch.randperm(mask.numel(), generator=generator).to(mask.device)
        drawn.append(mask.flatten()[order].view(mask.shape))
    return tuple(drawn)


def count(masks: Masks) -> int:
    """Modes that are meant."""
    return sum(int(mask.sum()) for mask in masks)


def reencoded(student: KoopmanStudent, asked: bool | None) -> bool:
    """Whether an edited latent is decoded and encoded again: as asked, else where modes are pictures that add up to the state.

    Without it an edit of such modes stays in their pixels, and the network does not see it.
    """
    return student.codec.has_modes and student.codec.encodes == "path" if asked is None else asked


def matters(student: KoopmanStudent, point: EditPoint) -> bool:
    """Whether it makes a difference when two latents of one student's evolution are mixed.

    Not with static rates: the evolution acts on each mode alone and is linear, so
    ``e^{(1-u)A} ((1-r) e^{uA} z + r e^{uA} z') = (1-r) e^A z + r e^A z'`` for every u. It does where the rates depend on
    the state, and where the state is decoded and encoded again on the way.
    """
    return point.reencode or any(operator.state_dependent for operator in student.operators)


def arrive(student: KoopmanStudent, noise: Tensor, point: EditPoint, class_labels: Tensor | None = None) -> Latent:
    """The latents at ``point.u`` of what unit-variance ``noise`` (B, *shape) becomes."""
    latent = student.encode(noise * student.facts.noise_scale, 0.0, class_labels)
    return student.evolve(latent, point.u, class_labels)


def come_back(student: KoopmanStudent, data: Tensor, point: EditPoint, class_labels: Tensor | None = None) -> Latent:
    """The latents at ``point.u`` of real ``data`` (B, *shape): lifted at the end of the path and evolved back.

    That is where their noise would have led, as far as the student's path is straight and includes its end
    (``objective.linearity``). Rates that depend on the state are read at the end, so back and forth is not quite nothing.
    """
    return student.evolve(student.encode(data, 1.0, class_labels), point.u - 1, class_labels)


def finish(student: KoopmanStudent, latent: Latent, point: EditPoint, class_labels: Tensor | None = None) -> Tensor:
    """Go on from ``point.u`` to the data; rates that depend on the state are read from the (mixed) latent.

    Returns:
        (B, *shape), not clipped.

    Raises:
        UsageError: if the progress is outside [0, 1), or the student's decoder cannot read states within the path.
    """
    if not 0 <= point.u < 1:
        raise UsageError(f"the progress of an edit is from 0 (noise) to below 1 (the data), got {point.u:g}")
    if point.reencode:
        if not student.codec.reads_path:
            raise UsageError(
                "this student reads the end of the path only and cannot decode within it; encoding again needs "
                "--method hkd+ (student.decoder_condition=target)"
            )
        state = student.decode(latent, point.u, class_labels)
        latent = student.encode(state, point.u, class_labels)
    return student.decode(student.evolve(latent, 1 - point.u, class_labels), 1.0, class_labels)


def change(original: Tensor, edited: Tensor, mask: Tensor) -> Change:
    """Mean squared error of pictures (B, C, H, W) inside and outside ``mask`` (H, W)."""
    error = (edited - original).square().mean(dim=(0, 1))
    outside = None if bool(mask.all()) else float(error[~mask].mean())
    return Change(float(error[mask].mean()), outside)


def low_pass(pictures: Tensor) -> Tensor:
    """Pictures (B, C, H, W) averaged over squares of 4 x 4 pixels; 2 x 2 below 16 pixels."""
    side = 4 if min(pictures.shape[-2:]) >= 16 else 2
    return functional.avg_pool2d(pictures, side)


def structure_error(original: Tensor, edited: Tensor, mask: Tensor) -> float:
    """Mean squared error of the low-pass pictures inside the mask: how much of the global structure was lost."""
    before, after = low_pass(original), low_pass(edited)
    inside = of_level(mask, *before.shape[-2:])
    return change(before, after, inside if bool(inside.any()) else torch.ones_like(inside)).inside


def band_frequencies(
    student: KoopmanStudent,
    latent: Latent,
    rates: Sequence[Rates],
    order: Order,
    point: EditPoint,
    class_labels: Tensor | None = None,
) -> dict[str, float]:
    """What each band writes into a picture: the mean spatial frequency of the change when it is removed.

    Args:
        student: an HKD student.
        latent: at that point.
        rates: of every level.
        order: what bands are thirds of.
        point: where the band is removed.
        class_labels: (B,) for conditional students.

    Returns:
        Band -> cycles a pixel. Measured at the output, so free of any gauge of the eigenvalues.
    """
    whole = finish(student, latent, point, class_labels)
    found = {}
    for band in BANDS:
        without = finish(student, drop(latent, band_masks(rates, band, order)), point, class_labels)
        found[band] = mean_frequency(without - whole)
    return found
