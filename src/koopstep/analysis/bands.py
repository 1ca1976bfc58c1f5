"""What each band of modes does to the decoded sample (HKD Sec. 4.2, Fig. 4): kept alone, dropped, and how fine its effect is.

Readings at the output belong to no gauge: they stay what they are whatever encoder and decoder hold the modes. Which modes
make up a band does depend on the gauge, for modes are sorted by their rates. Thirds drawn at random are the control
(:mod:`koopstep.analysis.control`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.frequencies import mean_frequency, radial_profile
from koopstep.analysis.modes import (
    Masks,
    Order,
    band_masks,
    drop,
    formed,
    full,
    has_rates,
    keep,
    once,
    rates_of,
    sort_key,
)
from koopstep.core.errors import UsageError
from koopstep.operators.rates import Rates
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

_SAME = 1e-6  # keys closer than this share of a level's range count as equal


@dataclass(frozen=True)
class Band:
    """One band of one order.

    Attributes:
        order: what the modes were sorted by; ``chance`` for thirds drawn at random.
        band: which third.
        alone: (N, *shape), decoded from this band only.
        effect: (N, *shape), the whole sample less the one without this band: what the band adds.
        energy: share of the latent's square.
        profile: (R,), share of the effect's power at each radius of spatial frequency, from 0 to half a cycle a pixel; None
            for vectors.
    """

    order: str
    band: str
    alone: Tensor
    effect: Tensor
    energy: float
    profile: Tensor | None

    @property
    def size(self) -> float:
        """Mean square of the effect."""
        return float(self.effect.square().mean())

    @property
    def frequency(self) -> float | None:
        """Mean spatial frequency of the effect in cycles a pixel, weighted by power; None for vectors."""
        return None if self.effect.ndim != 4 else mean_frequency(self.effect)

    def summary(self) -> dict[str, Any]:
        """In plain numbers."""
        return {"effect": self.size, "energy": self.energy, "spatial_frequency": self.frequency}


@torch.no_grad()
def band_effects(
    student: KoopmanStudent,
    latent: Latent,
    class_labels: Tensor | None,
    orders: Sequence[Order],
    *,
    rates: Sequence[Rates] | None = None,
) -> tuple[Tensor, list[Band]]:
    """Decode evolved latents whole and cut down to each band, all levels together.

    Args:
        student: whose modes are pairs of channels (block operators).
        latent: at u = 1, as evolved from noise.
        class_labels: (N,) or None.
        orders: what to sort by.
        rates: to sort by; those of ``latent`` when absent. Where rates depend on the state, give those of the start.

    Returns:
        The whole samples (N, *shape), and a band for each order and third.

    Raises:
        UsageError: if the student's modes are not pairs of channels.
    """
    held = list(rates or rates_of(student, latent))
    whole = student.decode(latent, 1.0, class_labels)
    return whole, [
        band for order in orders for band in thirds(student, latent, class_labels, whole, held, order, order)
    ]


@torch.no_grad()
def level_effects(
    student: KoopmanStudent, latent: Latent, class_labels: Tensor | None, rates: Sequence[Rates], order: Order
) -> Tensor:
    """Mean squared change (L, 3) of the decoded sample when a third is dropped at one level and the others stay whole.

    Thirds that hold no mode have no column.
    """
    whole, held = student.decode(latent, 1.0, class_labels), formed(rates)
    found = torch.zeros(len(latent), len(held))
    for column, band in enumerate(held):
        for row, (level, mask) in enumerate(zip(latent, band_masks(rates, band, order), strict=True)):
            cut = (*latent[:row], level * ~full(mask, level), *latent[row + 1 :])
            found[row, column] = float((whole - student.decode(cut, 1.0, class_labels)).square().mean())
    return found


def require_rates(student: KoopmanStudent) -> None:
    """Refuse a student that has no modes to sort.

    Raises:
        UsageError: if its modes are not pairs of channels, or none of its levels moves.
    """
    rates_of(student)  # says so where there are none
    if not has_rates(student):
        raise UsageError(
            "this student's latent stays as it is and has no modes to sort: train with --method hkd or hkd+"
        )


def finest(bands: Sequence[Band], order: str) -> str | None:
    """The band of an order whose effect has the highest mean spatial frequency; None for vectors."""
    of_order = [(band.frequency, band.band) for band in bands if band.order == order and band.frequency is not None]
    return max(of_order)[1] if of_order else None


def tied(rates: Sequence[Rates], order: Order) -> float:
    """Share of modes that equal a mode at an edge between bands: there the cut between the bands is arbitrary."""
    equal = total = 0
    for level in rates:
        keys = once(sort_key(level, order), level).flatten().sort().values
        near = _SAME * float(keys[-1] - keys[0]) + 1e-12
        for edge in {-(-len(keys) // 3), -(-2 * len(keys) // 3)}:
            if 0 < edge < len(keys) and float(keys[edge] - keys[edge - 1]) <= near:
                equal += int(((keys - keys[edge]).abs() <= near).sum())
        total += len(keys)
    return min(1.0, equal / max(total, 1))


def thirds(
    student: KoopmanStudent,
    latent: Latent,
    class_labels: Tensor | None,
    whole: Tensor,
    rates: Sequence[Rates],
    order: Order,
    name: str,
) -> list[Band]:
    """The bands of one order, which is called ``name``, that hold modes."""
    total = sum(float(level.float().square().sum()) for level in latent)
    found = []
    for band in formed(rates):
        masks = band_masks(rates, band, order)
        alone = student.decode(keep(latent, masks), 1.0, class_labels)
        effect = whole - student.decode(drop(latent, masks), 1.0, class_labels)
        found.append(
            Band(name, band, alone, effect, _energy(latent, masks) / max(total, 1e-30), radial_profile(effect))
        )
    return found


def _energy(latent: Latent, masks: Masks) -> float:
    return sum(
        float((level.float().square() * full(mask, level)).sum()) for level, mask in zip(latent, masks, strict=True)
    )
