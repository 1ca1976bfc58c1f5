"""Spatial frequencies of images: how power is spread over them, and how fine a set of images is on the mean."""

from __future__ import annotations

import torch
from torch import Tensor


def radial_profile(images: Tensor) -> Tensor | None:
    """Share of power at each radius of spatial frequency: images (N, C, H, W) -> (R,), sums to 1; None for vectors.

    The corners of the plane, beyond half a cycle a pixel, count for the last radius.
    """
    if images.ndim != 4:
        return None
    power, radius = _power(images)
    bins = max(2, min(images.shape[-2:]) // 2 + 1)
    place = (radius.clamp(max=0.5) * 2 * (bins - 1)).round().long()
    profile = torch.zeros(bins, dtype=power.dtype)
    profile.index_add_(0, place.flatten(), power.mean(dim=0).flatten())
    return (profile / profile.sum().clamp(min=1e-30)).float()


def radii(bins: int) -> Tensor:
    """Spatial frequencies of a profile's bins, cycles a pixel."""
    return torch.linspace(0, 0.5, bins)


def mean_frequency(images: Tensor) -> float:
    """Power-weighted mean spatial frequency of images (N, C, H, W) in cycles a pixel, 0 to about 0.7.

    Each image's mean counts as frequency 0. Images of nothing have the mean 0.
    """
    weighted, plain = _weighted(images)
    return float(weighted.sum() / plain.sum().clamp(min=1e-30))


def _weighted(images: Tensor) -> tuple[Tensor, Tensor]:
    """Each image's power (N,) times its radius, and alone, summed over frequencies."""
    power, radius = _power(images)
    return (power * radius).sum(dim=(1, 2)), power.sum(dim=(1, 2))


def _power(images: Tensor) -> tuple[Tensor, Tensor]:
    """Power (N, H, W) of each image's coefficients, a mean over channels, and their radii (H, W), on the CPU."""
    power = torch.fft.fft2(images.detach().double().cpu()).abs().square().mean(dim=1)
    down, across = torch.fft.fftfreq(power.shape[1])[:, None], torch.fft.fftfreq(power.shape[2])[None]
    return power, (down.square() + across.square()).sqrt()
