"""Preconditionings (EDM Table 1 and Eq. 7): what makes a denoiser of a network of unit-sized inputs and targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.core.levels import iddpm_sigmas, vp_sigma, vp_time

PreconditioningName = Literal["edm", "vp", "ve", "iddpm"]


@dataclass(frozen=True)
class Scales:
    """The four factors of EDM Eq. 7, each broadcastable against the state."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


def edm_scales(sigma: Tensor, sigma_data: float) -> Scales:
    """Return c_skip, c_out, c_in and c_noise for levels ``sigma`` > 0 (EDM Table 1, last column)."""
    total = sigma**2 + sigma_data**2
    return Scales(sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4)


def vp_scales(sigma: Tensor) -> Scales:
    """Variance preserving: the network predicts noise, conditioned on ``999 t`` (EDM Table 1, column VP)."""
    return Scales(torch.ones_like(sigma), -sigma, 1 / (sigma**2 + 1).sqrt(), 999 * vp_time(sigma))


def ve_scales(sigma: Tensor) -> Scales:
    """Variance exploding: the network predicts the negated noise, conditioned on ``ln(sigma / 2)`` (EDM Table 1, column VE)."""
    return Scales(torch.ones_like(sigma), sigma, torch.ones_like(sigma), (sigma / 2).log())


def iddpm_scales(sigma: Tensor, levels: Tensor) -> Scales:
    """Improved DDPM: the network predicts noise, conditioned on the timestep of the nearest level (EDM Table 1, column iDDPM).

    ``levels`` (1001,) falls to 0; timesteps rise from 0 at the last but one to 999 at the first. The input is scaled by
    ``sigma`` itself, not by the level nearest to it.
    """
    nearest = (sigma[..., None] - levels.to(sigma.dtype)).abs().argmin(dim=-1)
    noise = (len(levels) - 2 - nearest).to(sigma.dtype)
    return Scales(torch.ones_like(sigma), -sigma, 1 / (sigma**2 + 1).sqrt(), noise)


@dataclass(frozen=True)
class Preconditioning:
    """A line of :data:`PRECONDITIONINGS`.

    Attributes:
        scales: (levels, sigma_data) -> the four factors.
        sigma_min: the lowest level it knows; samplers keep to it.
        sigma_max: the highest.
        outputs: channels that come out of the network for one that goes in. Improved DDPM's networks also predict a
            variance, which no denoiser uses.
    """

    scales: Callable[[Tensor, float], Scales]
    sigma_min: float = 0.0
    sigma_max: float = math.inf
    outputs: int = 1


_VP_LOW, _VP_HIGH = vp_sigma(torch.tensor([1e-5, 1.0], dtype=torch.float64)).tolist()
_IDDPM_LOW, _IDDPM_HIGH = iddpm_sigmas()[[-2, 0]].tolist()

PRECONDITIONINGS: dict[str, Preconditioning] = {
    "edm": Preconditioning(edm_scales),
    "vp": Preconditioning(lambda sigma, _: vp_scales(sigma), _VP_LOW, _VP_HIGH),
    "ve": Preconditioning(lambda sigma, _: ve_scales(sigma), 0.02, 100.0),
    "iddpm": Preconditioning(
        lambda sigma, _: iddpm_scales(sigma, iddpm_sigmas().to(sigma.device)), _IDDPM_LOW, _IDDPM_HIGH, outputs=2
    ),
}
"""The table of preconditionings. To add one: a function for its factors and a line here."""


class EDMDenoiser(nn.Module):
    """``D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)``."""

    u: Tensor | None

    def __init__(self, network: nn.Module, sigma_data: float, preconditioning: PreconditioningName = "edm") -> None:
        super().__init__()
        self.model = network
        self.sigma_data, self.preconditioning = sigma_data, preconditioning
        levels = iddpm_sigmas().float() if preconditioning == "iddpm" else None  # here, so that they follow the device
        self.register_buffer("u", levels, persistent=False)

    def scales(self, sigma: Tensor) -> Scales:
        """The four factors at levels ``sigma`` > 0, in their shape."""
        if self.u is not None:
            return iddpm_scales(sigma, self.u)
        return PRECONDITIONINGS[self.preconditioning].scales(sigma, self.sigma_data)

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """(B, *shape), (B,) or () , (B,) int64 or None -> expected data (B, *shape), in the dtype of the weights.

        ``augment_labels`` (B, A) is for networks with ``augment_channels``.
        """
        dtype = next(self.model.parameters()).dtype
        x, sigma = x.to(dtype), sigma.to(dtype).expand(x.shape[0])
        scales = self.scales(sigma.reshape(-1, *[1] * (x.ndim - 1)))
        raw = _called(self.model, scales.into * x, scales.noise.flatten(), class_labels, augment_labels)
        denoised: Tensor = scales.skip * x + scales.out * raw[:, : x.shape[1]].to(dtype)
        return denoised


class VelocityModel(nn.Module):
    """A network that predicts the velocity ``data - noise`` of the straight flow at time ``t``."""

    def __init__(self, network: nn.Module, data_scale: float) -> None:
        super().__init__()
        self.model = network
        self.data_scale = data_scale

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """(B, *shape), (B,) or (), (B,) int64 or None -> velocity (B, *shape).

        Input and output are brought to unit size by their known standard deviations. ``augment_labels`` (B, A) is for
        networks with ``augment_channels``.
        """
        dtype = next(self.model.parameters()).dtype
        x, t = x.to(dtype), t.to(dtype).expand(x.shape[0])
        spread = ((1 - t) ** 2 + (t * self.data_scale) ** 2).sqrt().reshape(-1, *[1] * (x.ndim - 1))
        size = torch.tensor(1 + self.data_scale**2, dtype=dtype, device=x.device).sqrt()
        return size * _called(self.model, x / spread, t, class_labels, augment_labels)


def _called(
    network: nn.Module, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None
) -> Tensor:
    """Call a network, with augmentation labels only where there are any: not every network takes them.

    Raises:
        UsageError: on augmentation labels for a network that is not conditioned on augmentation.
    """
    if augment_labels is None:
        return network(x, noise_labels, class_labels)  # type: ignore[no-any-return]
    if not getattr(network, "augment_channels", 0):
        raise UsageError(
            "this network is not conditioned on augmentation, so its samples would be augmented too; "
            "set the network's augment_channels, or leave augmentation away"
        )
    return network(x, noise_labels, class_labels, augment_labels)  # type: ignore[no-any-return]
