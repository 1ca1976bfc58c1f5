"""Any function a teacher: EDM denoisers, flow-matching velocities, DDPM epsilon networks.

A function may be a PyTorch module. It is called in eval mode and without gradients, and is left as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.core.arguments import Numbers, as_tensor, checked_but
from koopstep.core.levels import denoised_from_epsilon, karras_sigmas
from koopstep.core.pixels import PLAIN, DataRange
from koopstep.teachers.solved import DenoiserTeacher, Function, VelocityTeacher, call, module_of
from koopstep.teachers.timesteps import NOISE_SIGMA, Spacing, Timesteps


@checked_but("shape", "data_range")
def from_denoiser(
    fn: Function,
    shape: tuple[int, ...],
    *,
    num_classes: int = 0,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    data_scale: float | None = None,
    data_range: DataRange | None = PLAIN,
    dtype: torch.dtype = torch.float32,
    solver: str = "heun",
    device: torch.device | str | None = None,
    name: str = "denoiser",
) -> DenoiserTeacher:
    """Make ``fn(x, sigma, class_labels) -> denoised`` a teacher (EDM's convention).

    Args:
        fn: takes (B, *shape) and (B,), both ``dtype``, and (B,) int64 or None.
        shape: of one sample.
        num_classes: 0 without class labels.
        sigma_min: smallest level above 0.
        sigma_max: level of the noise the path starts from.
        rho: how the levels bend (EDM Eq. 5).
        data_scale: standard deviation of the data; students use it to scale their inputs. Absent, a quarter of
            ``data_range`` for images (EDM's 0.5 in [-1, 1]) and 0.5 for other data; ``collect`` measures it and warns where
            it is wrong by more than a factor of 2.
        data_range: what black and white are, of images; None of data that are no images, such as latents.
        dtype: number format that ``fn`` takes; paths are solved in float64 whatever it is.
        solver: ``heun`` or ``euler``.
        device: where ``fn`` computes; absent, where its weights are, if it is a PyTorch module (or a method of one).
        name: what to call it in reports.

    Raises:
        UsageError: on levels out of order, an unknown solver, or a fact that cannot be.
    """
    sigmas = lambda steps: karras_sigmas(steps, sigma_min, sigma_max, rho)  # noqa: E731
    return DenoiserTeacher(
        fn,
        shape,
        sigmas=sigmas,
        num_classes=num_classes,
        data_scale=data_scale,
        data_range=data_range,
        dtype=dtype,
        solver=solver,
        device=device,
        name=name,
    )


@checked_but("shape", "data_range")
def from_velocity(
    fn: Function,
    shape: tuple[int, ...],
    *,
    num_classes: int = 0,
    data_scale: float | None = None,
    data_range: DataRange | None = PLAIN,
    dtype: torch.dtype = torch.float32,
    solver: str = "euler",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    device: torch.device | str | None = None,
    name: str = "velocity",
) -> VelocityTeacher:
    """Make ``fn(x, t, class_labels) -> velocity`` a teacher (flow matching, stochastic interpolants; t = 0 start, 1 data).

    ``path`` starts from whatever it is given: give it rows of any distribution in place of noise.

    Args:
        fn: takes (B, *shape) and (B,), both ``dtype``, and (B,) int64 or None.
        shape: of one sample.
        num_classes: 0 without class labels.
        data_scale: standard deviation of the data; students use it to scale their inputs. Absent, a quarter of
            ``data_range`` for images (EDM's 0.5 in [-1, 1]) and 0.5 for other data; ``collect`` measures it and warns where
            it is wrong by more than a factor of 2.
        data_range: what black and white are, of images; None of data that are no images, such as latents.
        dtype: number format that ``fn`` takes; paths are solved in float64 whatever it is.
        solver: ``euler``, ``midpoint``, ``heun``, or the adaptive ``dopri5`` (needs SciPy).
        rtol: relative tolerance of ``dopri5``.
        atol: absolute tolerance of ``dopri5``.
        device: as for :func:`from_denoiser`; ``dopri5`` measures there how many calls it takes.
        name: what to call it in reports.

    Raises:
        UsageError: on an unknown solver, or a fact that cannot be.
    """
    return VelocityTeacher(
        fn,
        shape,
        num_classes=num_classes,
        data_scale=data_scale,
        data_range=data_range,
        dtype=dtype,
        solver=solver,
        rtol=rtol,
        atol=atol,
        device=device,
        name=name,
    )


@checked_but("shape", "data_range", "timesteps")
def from_epsilon(
    fn: Function,
    shape: tuple[int, ...],
    *,
    alphas_cumprod: Numbers,
    num_classes: int = 0,
    data_scale: float | None = None,
    data_range: DataRange | None = PLAIN,
    dtype: torch.dtype = torch.float32,
    solver: str = "heun",
    timesteps: Spacing = "edm",
    sigma_max: float = NOISE_SIGMA,
    device: torch.device | str | None = None,
    name: str = "epsilon",
) -> DenoiserTeacher:
    """Make ``fn(x, timestep, class_labels) -> epsilon`` a teacher (DDPM's convention).

    Every level of a path is that of a trained timestep, and a path starts from unit noise in DDPM's scaling.

    Args:
        fn: takes (B, *shape) ``dtype`` in DDPM's scaling (unit variance overall), (B,) int64 and (B,) int64 or None.
        shape: of one sample.
        alphas_cumprod: (T,), the products of ``1 - beta`` of the network's training schedule.
        num_classes: 0 without class labels.
        data_scale: as for :func:`from_denoiser`.
        data_range: likewise.
        dtype: likewise.
        solver: ``heun`` or ``euler`` (with ``timesteps="trailing"`` this is DDIM).
        timesteps: which ones a path takes: ``edm``, those nearest to EDM's levels; ``trailing``, evenly spaced ones from the
            last down; ``linspace``, evenly spaced ones from the last to the first (version 0.1 spaced them so).
        sigma_max: where ``edm`` starts.
        device: as for :func:`from_denoiser`.
        name: what to call it in reports.

    Raises:
        UsageError: on a schedule outside (0, 1) or rising, too many steps, or an unknown solver or spacing.

    Warns:
        UserWarning: of a schedule that does not end in noise.
    """
    table = Timesteps.of(as_tensor(alphas_cumprod, "alphas_cumprod"), timesteps, sigma_max)
    table.warn()
    teacher = DenoiserTeacher(
        _denoiser_of(fn, dtype, table),
        shape,
        sigmas=table.levels,
        levels_are="" if timesteps == "linspace" else f"timesteps={timesteps}",
        noise_scale=table.noise_scale,
        num_classes=num_classes,
        data_scale=data_scale,
        data_range=data_range,
        dtype=torch.float64,  # of the arithmetic around fn
        solver=solver,
        device=device,
        name=name,
    )
    teacher.model = module_of(fn)
    return teacher


def _denoiser_of(fn: Function, dtype: torch.dtype, table: Timesteps) -> Function:
    def denoiser(x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> Tensor:
        level = sigma.reshape(-1, *[1] * (x.ndim - 1))
        epsilon = call(fn, dtype, x / (1 + level**2).sqrt(), table.nearest(sigma), class_labels)
        return denoised_from_epsilon(x, epsilon, level)

    return denoiser
