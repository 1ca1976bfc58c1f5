"""What each band of modes does to the decoded sample (HKD Sec. 4.2, Fig. 4): kept alone, dropped, and how fine its effect is.

Readings at the output belong to no gauge: they stay what they are whatever encoder and decoder hold the modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.modes import BANDS, Masks, Order, band_masks, drop, full, keep, rates_of
from koopstep.students.student import KoopmanStudent, Latent


@dataclass(frozen=True)
class Band:
    """One band of one order.

    Attributes:
        order: what the modes were sorted by.
        band: which third.
        alone: (N, *shape), decoded from this band only.
        effect: (N, *shape), the whole sample less the one without this band.
        energy: share of the latent's square.
        profile: (R,), share of the effect's power at each radius of spatial frequency, from 0 to half a cycle a pixel; None
            for vectors.
    """

    order: Order
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
        """Mean spatial frequency of the effect in cycles a pixel, weighted by power."""
        if self.profile is None:
            return None
        return float((radii(len(self.profile)) * self.profile).sum())

    def summary(self) -> dict[str, Any]:
        """In plain numbers."""
        return {"effect": self.size, "energy": self.energy, "spatial_frequency": self.frequency}


@torch.no_grad()
def band_effects(
    student: KoopmanStudent, latent: Latent, class_labels: Tensor | None, orders: Sequence[Order]
) -> tuple[Tensor, list[Band]]:
    """Decode evolved latents whole and cut down to each band.

    Args:
        student: with block operators.
        latent: at u = 1, as evolved from noise.
        class_labels: (N,) or None.
        orders: what to sort by.

    Returns:
        The whole samples (N, *shape), and a band for each order and third.

    Raises:
        UsageError: if the student has no block operators.
    """
    rates = rates_of(student, latent)
    whole = student.decode(latent, 1.0, class_labels)
    total = sum(float(level.float().square().sum()) for level in latent)
    found = []
    for order in orders:
        for band in BANDS:
            masks = band_masks(rates, band, order)
            alone = student.decode(keep(latent, masks), 1.0, class_labels)
            effect = whole - student.decode(drop(latent, masks), 1.0, class_labels)
            energy = _energy(latent, masks) / max(total, 1e-30)
            found.append(Band(order, band, alone, effect, energy, radial_profile(effect)))
    return whole, found


def finest(bands: Sequence[Band], order: Order) -> str | None:
    """The band of an order whose effect has the highest mean spatial frequency; None for vectors."""
    of_order = [(band.frequency, band.band) for band in bands if band.order == order and band.frequency is not None]
    return max(of_order)[1] if of_order else None


def radial_profile(images: Tensor) -> Tensor | None:
    """Share of power at each radius of spatial frequency: images (N, C, H, W) -> (R,), sums to 1; None for vectors."""
    if images.ndim != 4:
        return None
    power = torch.fft.fft2(images.double()).abs().square().mean(dim=(0, 1))
    height, width = power.shape
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]
    bins = max(2, min(height, width) // 2 + 1)
    radius = (down.square() + across.square()).sqrt().clamp(max=0.5)
    place = (radius * 2 * (bins - 1)).round().long().to(power.device)
    profile = torch.zeros(bins, dtype=power.dtype, device=power.device)
    profile.index_add_(0, place.flatten(), power.flatten())
    return (profile / profile.sum().clamp(min=1e-30)).float().cpu()


def radii(bins: int) -> Tensor:
    """Spatial frequencies of a profile's bins, cycles a pixel."""
    return torch.linspace(0, 0.5, bins)


def _energy(latent: Latent, masks: Masks) -> float:
    return sum(
        float((level.float().square() * full(mask, level)).sum()) for level, mask in zip(latent, masks, strict=True)
    )
