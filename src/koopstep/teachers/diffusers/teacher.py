"""DDPM-style teachers whose network is diffusers' ``UNet2DModel``: its config, its schedule, the path in sigma.

The network is built by the extra ``diffusers`` from a config that is read as data; weights are our own file's tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from koopstep.core.arguments import checked_but
from koopstep.core.errors import UsageError
from koopstep.core.levels import denoised_from_epsilon, denoised_from_v
from koopstep.core.pixels import PLAIN, DataRange
from koopstep.teachers.diffusers.config import (
    DiffusersConfig,
    ScheduleConfig,
    read_network,
    read_schedule,
    refuse_stochastic,
)
from koopstep.teachers.solved import DenoiserTeacher, assumed_scale
from koopstep.teachers.timesteps import Spacing, Timesteps

_USUAL_SPACING: dict[str, Spacing] = {"heun": "edm", "ddim": "trailing"}


def schedule_alphas(config: ScheduleConfig) -> Tensor:
    """The products of ``1 - beta`` (DDPM Eq. 4), float64, (timesteps,), on the CPU.

    ``scaled_linear`` is linear in the root of beta; ``squaredcos_cap_v2`` is the cosine schedule (Nichol and Dhariwal,
    Eq. 17) with betas of at most 0.999.
    """
    count = config.num_train_timesteps
    if config.trained_betas is not None:
        betas = torch.tensor(config.trained_betas, dtype=torch.float64, device="cpu")
    elif config.beta_schedule == "squaredcos_cap_v2":
        angles = (torch.arange(count + 1, dtype=torch.float64, device="cpu") / count + 0.008) / 1.008 * math.pi / 2
        kept = angles.cos() ** 2
        betas = (1 - kept[1:] / kept[:-1]).clamp(max=0.999)
    else:
        power = 2 if config.beta_schedule == "scaled_linear" else 1
        start, end = config.beta_start ** (1 / power), config.beta_end ** (1 / power)
        betas = torch.linspace(start, end, count, dtype=torch.float64, device="cpu") ** power
    return torch.cumprod(1 - betas, dim=0)


class DiffusersDenoiser(nn.Module):
    """A network that was trained on integer timesteps, as a denoiser of any sigma, given the nearest timestep."""

    def __init__(self, network: nn.Module, schedule: ScheduleConfig, num_classes: int) -> None:
        super().__init__()
        self.model = network
        self.prediction, self.num_classes = schedule.prediction_type, num_classes
        self.timesteps = Timesteps.of(schedule_alphas(schedule))

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B,), (B,) int64 or None -> expected data (B, C, H, W) float64.

        Raises:
            UsageError: if the network has classes and none are given: it was never trained without.
        """
        if self.num_classes and class_labels is None:
            raise UsageError(f"this teacher is conditional: give class_labels (0 to {self.num_classes - 1})")
        sigma = sigma.to(torch.float64)
        timestep = self.timesteps.nearest(sigma)
        level, x = sigma[:, None, None, None], x.to(torch.float64)
        dtype = next(self.model.parameters()).dtype
        seen = (x / (1 + level**2).sqrt()).to(dtype)  # DDPM's scaling: unit variance overall
        (output,) = self.model(seen, timestep, class_labels, return_dict=False)
        predicted = output[:, : x.shape[1]].to(torch.float64)  # a learned variance comes after the mean
        if self.prediction == "epsilon":
            return denoised_from_epsilon(x, predicted, level)
        return denoised_from_v(x, predicted, level) if self.prediction == "v_prediction" else predicted


def build_diffusers(config: DiffusersConfig) -> DiffusersDenoiser:
    """The denoiser with fresh weights.

    Raises:
        UsageError: if diffusers is missing or cannot be imported, or cannot build such a network.
    """
    model = _unet_class()
    try:
        network = model(**config.network.model_dump())
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"diffusers cannot build this UNet2DModel: {_line(error)}") from error
    network.requires_grad_(
        False
    )  # it comes trained; with gradients on, attention takes another kernel and rounds otherwise
    return DiffusersDenoiser(network, config.schedule, config.num_classes)


def diffusers_teacher(config: DiffusersConfig, denoiser: DiffusersDenoiser, name: str, sha256: str) -> DenoiserTeacher:
    """The denoiser as a teacher; every level of its path is that of a timestep."""
    timesteps = timesteps_of(config)
    return DenoiserTeacher(
        denoiser,
        config.shape,
        sigmas=timesteps.levels,
        levels_are="" if timesteps.spacing == _USUAL_SPACING[config.solver] else f"timesteps={timesteps.spacing}",
        noise_scale=timesteps.noise_scale,
        num_classes=config.num_classes,
        data_scale=config.data_scale,
        data_range=config.data_range,
        solver="euler" if config.solver == "ddim" else config.solver,  # DDIM is Euler's method in sigma
        kind="diffusers",
        name=name,
        sha256=sha256,
    )


def timesteps_of(config: DiffusersConfig) -> Timesteps:
    """The network's timesteps and which of them its paths take."""
    spacing = config.timesteps or _USUAL_SPACING[config.solver]
    return Timesteps.of(schedule_alphas(config.schedule), spacing, config.sigma_max)


@checked_but("timesteps", "solver")
def from_diffusers(
    pipeline: Any,
    scheduler: Any = None,
    *,
    data_scale: float | None = None,
    data_range: DataRange | None = PLAIN,
    solver: str = "heun",
    timesteps: Spacing | None = None,
    name: str = "diffusers",
) -> DenoiserTeacher:
    """Make a diffusers pipeline in memory (DDPM or DDIM, with a ``UNet2DModel``) a teacher.

    Args:
        pipeline: with ``unet`` and ``scheduler``; or the network itself. It is put into eval mode and stays on its device.
        scheduler: the network's scheduler, of which only the config is read; the pipeline's own when absent.
        data_scale: standard deviation of the data; absent, a quarter of ``data_range`` (EDM's 0.5 in [-1, 1]).
        data_range: what black and white are; None of data that are no images, such as latents.
        solver: ``heun`` or ``ddim``.
        timesteps: which ones a path takes, as :func:`~koopstep.from_epsilon` has them; absent, ``edm`` for ``heun`` and
            ``trailing`` for ``ddim``.
        name: what to call it in reports.

    Raises:
        UsageError: if it is no pixel-space ``UNet2DModel`` with a DDPM schedule.

    Warns:
        UserWarning: of a schedule that does not end in noise.
    """
    unet = getattr(pipeline, "unet", pipeline)
    scheduler = getattr(pipeline, "scheduler", None) if scheduler is None else scheduler
    if scheduler is None or not hasattr(unet, "config") or not hasattr(scheduler, "config"):
        raise UsageError("give a diffusers pipeline with `unet` and `scheduler`, or a UNet2DModel and its scheduler")
    algorithm = scheduler.config.get("algorithm_type", "") if isinstance(scheduler.config, Mapping) else ""
    refuse_stochastic(type(scheduler).__name__, "the scheduler", str(algorithm))
    network = read_network(unet.config, "config of the network")
    schedule, _ = read_schedule(scheduler.config, "config of the scheduler")
    config = DiffusersConfig.parse(
        {
            "network": network.model_dump(),
            "schedule": schedule.model_dump(),
            "data_scale": assumed_scale(network.shape, data_range) if data_scale is None else data_scale,
            "data_range": data_range,
            "solver": solver,
            "timesteps": timesteps,
        },
        "from_diffusers",
    )
    timesteps_of(config).warn()
    unet.eval()
    return diffusers_teacher(config, DiffusersDenoiser(unet, schedule, config.num_classes), name, "")


def _unet_class() -> Callable[..., nn.Module]:
    try:
        from diffusers import UNet2DModel
    except (AttributeError, ImportError, RuntimeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "diffusers":
            raise UsageError("this teacher's network comes from diffusers: pip install koopstep[diffusers]") from error
        raise UsageError(
            f"diffusers is installed but cannot be imported ({_line(error)}); often a transformers or huggingface_hub that "
            "does not fit it: upgrade them, or remove transformers"
        ) from error
    return UNet2DModel  # type: ignore[no-any-return]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
