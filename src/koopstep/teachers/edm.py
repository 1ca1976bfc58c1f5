"""EDM teachers: a preconditioned network, its training loss, and the path by Heun's method in sigma."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch import Tensor

from koopstep.core.config import Config
from koopstep.core.levels import karras_sigmas
from koopstep.nets.preconditioning import EDMDenoiser
from koopstep.nets.table import NetworkConfig, build_network
from koopstep.teachers.functions import DenoiserTeacher


class EDMConfig(Config):
    """An EDM teacher; the defaults are EDM's (Table 1). ``sigma_data`` is the standard deviation of the data."""

    kind: Literal["edm"] = "edm"
    shape: tuple[int, ...]
    num_classes: int = Field(default=0, ge=0)
    network: NetworkConfig
    sigma_data: float = Field(default=0.5, gt=0)
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    solver: Literal["heun", "euler"] = "heun"


def build_edm(config: EDMConfig) -> EDMDenoiser:
    """The denoiser with fresh weights."""
    return EDMDenoiser(build_network(config.network, config.shape, num_classes=config.num_classes), config.sigma_data)


def edm_teacher(config: EDMConfig, denoiser: EDMDenoiser, name: str, sha256: str) -> DenoiserTeacher:
    """The denoiser as a teacher."""
    return DenoiserTeacher(
        denoiser,
        config.shape,
        sigmas=lambda steps: karras_sigmas(steps, config.sigma_min, config.sigma_max, config.rho),
        num_classes=config.num_classes,
        data_scale=config.sigma_data,
        solver=config.solver,
        kind="edm",
        name=name,
        sha256=sha256,
    )


def edm_loss(config: EDMConfig, denoiser: EDMDenoiser, data: Tensor, labels: Tensor | None, draw: Tensor) -> Tensor:
    """EDM's training loss (EDM Eq. 8 and Table 1): mean over rows and dimensions of the weighted squared error.

    Args:
        config: for ``sigma_data``.
        denoiser: the model in training.
        data: (B, *shape).
        labels: (B,) int64 or None.
        draw: (B, 1 + prod(shape)) standard normal numbers: the first of each row picks the level, the rest is the noise.

    ``ln sigma ~ N(-1.2, 1.2^2)`` for ``sigma_data`` = 0.5; other data sizes shift the mean by their logarithm.
    """
    sigma = (draw[:, 0] * 1.2 - 1.2 + math.log(config.sigma_data / 0.5)).exp().reshape(-1, *[1] * (data.ndim - 1))
    noisy = data + sigma * draw[:, 1:].reshape(data.shape)
    weight = (sigma**2 + config.sigma_data**2) / (sigma * config.sigma_data) ** 2
    error: Tensor = (denoiser(noisy, sigma.flatten(), labels) - data) ** 2
    return (weight * error).mean()
