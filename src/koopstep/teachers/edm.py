"""EDM teachers: a preconditioned network, its training loss, and the path by Heun's method in sigma."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from koopstep.core.config import Added, Config, Shape
from koopstep.core.levels import iddpm_sigmas, karras_sigmas, nearest_levels, vp_sigma
from koopstep.core.pixels import PLAIN, DataRange
from koopstep.nets.preconditioning import PRECONDITIONINGS, EDMDenoiser, PreconditioningName
from koopstep.nets.table import NetworkConfig, build_network
from koopstep.teachers.solved import DenoiserTeacher


class EDMConfig(Config):
    """An EDM teacher; the defaults are EDM's (Table 1).

    Attributes:
        shape: of one sample.
        num_classes: 0 without classes.
        network: F.
        preconditioning: what surrounds F: EDM's own, or that of the older models EDM compares with.
        sigma_data: standard deviation of the data.
        data_range: what black and white are, of images; None of data that are no images.
        sigma_min: the last level above 0 of a path, or the lowest the preconditioning knows.
        sigma_max: the first level of a path, or the highest the preconditioning knows.
        rho: how the levels bend (EDM Eq. 5).
        solver: how the path is followed.
    """

    kind: Literal["edm"] = "edm"
    shape: Shape
    num_classes: int = Field(default=0, ge=0)
    network: NetworkConfig
    preconditioning: PreconditioningName = "edm"
    sigma_data: float = Field(default=0.5, gt=0)
    data_range: Annotated[DataRange | None, Added()] = PLAIN
    sigma_min: float = Field(default=0.002, gt=0)
    sigma_max: float = Field(default=80.0, gt=0)
    rho: float = Field(default=7.0, gt=0)
    solver: Literal["heun", "euler"] = "heun"

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min} must be below sigma_max {self.sigma_max}")
        return self


def build_edm(config: EDMConfig) -> EDMDenoiser:
    """The denoiser with fresh weights."""
    outputs = config.shape[0] * PRECONDITIONINGS[config.preconditioning].outputs if config.shape else None
    network = build_network(config.network, config.shape, outputs=outputs, num_classes=config.num_classes)
    return EDMDenoiser(network, config.sigma_data, config.preconditioning)


def edm_sigmas(config: EDMConfig, steps: int) -> Tensor:
    """The ``steps + 1`` falling levels of a path, float64, the last one 0, within what the preconditioning knows.

    Those of iDDPM are levels it was trained on.

    Raises:
        UsageError: if ``steps`` < 1 or more than iDDPM has levels, or the range is empty.
    """
    known = PRECONDITIONINGS[config.preconditioning]
    low, high = max(config.sigma_min, known.sigma_min), min(config.sigma_max, known.sigma_max)
    sigmas = karras_sigmas(steps, low, high, config.rho)
    if config.preconditioning == "iddpm":
        sigmas[:-1] = nearest_levels(sigmas[:-1], iddpm_sigmas()[:-1])
    return sigmas


def edm_teacher(config: EDMConfig, denoiser: EDMDenoiser, name: str, sha256: str) -> DenoiserTeacher:
    """The denoiser as a teacher."""
    return DenoiserTeacher(
        denoiser,
        config.shape,
        sigmas=lambda steps: edm_sigmas(config, steps),
        num_classes=config.num_classes,
        data_scale=config.sigma_data,
        data_range=config.data_range,
        solver=config.solver,
        kind="edm",
        name=name,
        sha256=sha256,
    )


def noisiest_label(config: EDMConfig) -> float:
    """The noise label the network sees at the start of a path."""
    scales = PRECONDITIONINGS[config.preconditioning].scales(edm_sigmas(config, 1)[:1], config.sigma_data)
    return float(scales.noise)


def edm_loss(
    config: EDMConfig,
    denoiser: EDMDenoiser,
    data: Tensor,
    labels: Tensor | None,
    draw: Tensor,
    augment_labels: Tensor | None = None,
) -> Tensor:
    """EDM's training loss (EDM Eq. 8 and Table 1): mean over rows and dimensions of the weighted squared error.

    Args:
        config: for ``sigma_data`` and ``preconditioning``.
        denoiser: the model in training.
        data: (B, *shape).
        labels: (B,) int64 or None.
        draw: (B, 1 + prod(shape)) standard normal numbers: the first of each row picks the level, the rest is the noise.
        augment_labels: (B, A), how each row of ``data`` was augmented; None when it was not.

    ``ln sigma ~ N(-1.2, 1.2^2)`` for ``sigma_data`` = 0.5; other data sizes shift the mean by their logarithm. The older
    preconditionings have their own levels (:data:`TRAINING_LEVELS`) and the weight ``1 / sigma^2``: the error of the
    predicted noise.
    """
    sigma = TRAINING_LEVELS[config.preconditioning](draw[:, 0], config.sigma_data).reshape(-1, *[1] * (data.ndim - 1))
    noisy = data + sigma * draw[:, 1:].reshape(data.shape)
    weight = 1 / sigma**2
    if config.preconditioning == "edm":
        weight = (sigma**2 + config.sigma_data**2) / (sigma * config.sigma_data) ** 2
    given = {} if augment_labels is None else {"augment_labels": augment_labels}
    error: Tensor = (denoiser(noisy, sigma.flatten(), labels, **given) - data) ** 2
    return (weight * error).mean()


def _edm_levels(normal: Tensor, sigma_data: float) -> Tensor:
    return torch.exp(normal * 1.2 - 1.2 + math.log(sigma_data / 0.5))


def _vp_levels(normal: Tensor, sigma_data: float) -> Tensor:
    """Times even between 1e-5 and 1."""
    return vp_sigma(1 + (1e-5 - 1) * torch.special.ndtr(normal))


def _ve_levels(normal: Tensor, sigma_data: float) -> Tensor:
    """Logarithms even between the bounds."""
    known = PRECONDITIONINGS["ve"]
    low, high = math.log(known.sigma_min), math.log(known.sigma_max)
    return torch.exp(low + (high - low) * torch.special.ndtr(normal))


def _iddpm_levels(normal: Tensor, sigma_data: float) -> Tensor:
    """Each of the levels above 0 as often."""
    levels = iddpm_sigmas()[:-1].to(normal)
    index = (torch.special.ndtr(normal) * len(levels)).long()
    return levels[index.clamp(max=len(levels) - 1)]


TRAINING_LEVELS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "edm": _edm_levels,
    "vp": _vp_levels,
    "ve": _ve_levels,
    "iddpm": _iddpm_levels,
}
"""Preconditioning -> (standard normal numbers (B,), sigma_data) -> the levels (B,) its loss trains (EDM Table 1)."""
