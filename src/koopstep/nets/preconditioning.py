"""EDM's preconditioning (EDM Table 1 and Eq. 7): a network of unit-sized inputs and targets made a denoiser."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


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


class EDMDenoiser(nn.Module):
    """``D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)``."""

    def __init__(self, network: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.model = network
        self.sigma_data = sigma_data

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, *shape), (B,) or () , (B,) int64 or None -> expected data (B, *shape), in the dtype of the weights."""
        dtype = next(self.model.parameters()).dtype
        x, sigma = x.to(dtype), sigma.to(dtype).expand(x.shape[0])
        scales = edm_scales(sigma.reshape(-1, *[1] * (x.ndim - 1)), self.sigma_data)
        raw = self.model(scales.into * x, scales.noise.flatten(), class_labels)
        denoised: Tensor = scales.skip * x + scales.out * raw.to(dtype)
        return denoised


class VelocityModel(nn.Module):
    """A network that predicts the velocity ``data - noise`` of the straight flow at time ``t``."""

    def __init__(self, network: nn.Module, data_scale: float) -> None:
        super().__init__()
        self.model = network
        self.data_scale = data_scale

    def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, *shape), (B,) or (), (B,) int64 or None -> velocity (B, *shape).

        Input and output are brought to unit size by their known standard deviations.
        """
        dtype = next(self.model.parameters()).dtype
        x, t = x.to(dtype), t.to(dtype).expand(x.shape[0])
        spread = ((1 - t) ** 2 + (t * self.data_scale) ** 2).sqrt().reshape(-1, *[1] * (x.ndim - 1))
        size = torch.tensor(1 + self.data_scale**2, dtype=dtype, device=x.device).sqrt()
        return size * self.model(x / spread, t, class_labels)  # type: ignore[no-any-return]
