"""Any function a teacher: EDM denoisers, flow-matching velocities, DDPM epsilon networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.levels import ddpm_sigmas, denoised_from_epsilon, flow_times, karras_sigmas
from koopstep.teachers.base import Teacher
from koopstep.teachers.solvers import DENOISER_SOLVERS, VELOCITY_SOLVERS

Function = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``fn(x, level, class_labels)``: (B, *shape), (B,), (B,) int64 or None -> (B, *shape)."""


class _FunctionTeacher(Teacher):
    """What both kinds share: the facts, and calling the function with a level a row."""

    def __init__(
        self,
        fn: Function,
        shape: tuple[int, ...],
        num_classes: int,
        data_scale: float,
        name: str,
        sha256: str,
    ) -> None:
        self.shape, self.num_classes = tuple(shape), num_classes
        self.data_scale, self.name, self.sha256 = data_scale, name, sha256
        self._fn = fn

    def _field(self, class_labels: Tensor | None) -> Callable[[Tensor, float], Tensor]:
        def field(x: Tensor, level: float) -> Tensor:
            levels = torch.full((len(x),), level, dtype=torch.float32, device=x.device)
            value = self._fn(x.float(), levels, class_labels)
            if value.shape != x.shape:
                raise UsageError(f"the teacher's function must return shape {tuple(x.shape)}, got {tuple(value.shape)}")
            return value.to(torch.float64)

        return field


class DenoiserTeacher(_FunctionTeacher):
    """A teacher that is given as a denoiser ``D(x, sigma)``; solved in sigma as EDM does."""

    kind = "denoiser"

    def __init__(
        self,
        fn: Function,
        shape: tuple[int, ...],
        *,
        sigmas: Callable[[int], Tensor],
        num_classes: int = 0,
        data_scale: float = 0.5,
        solver: str = "heun",
        kind: str = "denoiser",
        name: str = "function",
        sha256: str = "",
    ) -> None:
        super().__init__(fn, shape, num_classes, data_scale, name, sha256)
        self.kind, self.solver = kind, _known_solver(solver, sorted(DENOISER_SOLVERS))
        self._sigmas = sigmas
        self.noise_scale = float(sigmas(1)[0])

    def levels(self, steps: int) -> tuple[float, ...]:
        return tuple(self._sigmas(steps).tolist())

    def evaluations(self, steps: int) -> int:
        return DENOISER_SOLVERS[self.solver][1](steps)

    def states(self, noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
        start = noise.to(torch.float64) * self.noise_scale
        return DENOISER_SOLVERS[self.solver][0](self._field(class_labels), start, list(self.levels(steps)))


class VelocityTeacher(_FunctionTeacher):
    """A teacher that is given as a velocity ``v(x, t)`` from noise (t = 0) to data (t = 1)."""

    noise_scale = 1.0

    def __init__(
        self,
        fn: Function,
        shape: tuple[int, ...],
        *,
        num_classes: int = 0,
        data_scale: float = 0.5,
        solver: str = "euler",
        kind: str = "velocity",
        name: str = "function",
        sha256: str = "",
    ) -> None:
        super().__init__(fn, shape, num_classes, data_scale, name, sha256)
        self.kind, self.solver = kind, _known_solver(solver, sorted(VELOCITY_SOLVERS))

    def levels(self, steps: int) -> tuple[float, ...]:
        return tuple(flow_times(steps).tolist())

    def evaluations(self, steps: int) -> int:
        return VELOCITY_SOLVERS[self.solver][1](steps)

    def states(self, noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
        start = noise.to(torch.float64)
        return VELOCITY_SOLVERS[self.solver][0](self._field(class_labels), start, list(self.levels(steps)))


def from_denoiser(
    fn: Function,
    shape: tuple[int, ...],
    *,
    num_classes: int = 0,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    data_scale: float = 0.5,
    solver: str = "heun",
    name: str = "denoiser",
) -> DenoiserTeacher:
    """Make ``fn(x, sigma, class_labels) -> denoised`` a teacher (EDM's convention).

    Args:
        fn: takes (B, *shape) float32, (B,) float32 and (B,) int64 or None.
        shape: of one sample.
        num_classes: 0 without class labels.
        sigma_min: smallest level above 0.
        sigma_max: level of the noise the path starts from.
        rho: how the levels bend (EDM Eq. 5).
        data_scale: standard deviation of the data; students use it to scale their inputs.
        solver: ``heun`` or ``euler``.
        name: what to call it in reports.

    Raises:
        UsageError: on levels out of order or an unknown solver.
    """
    sigmas = lambda steps: karras_sigmas(steps, sigma_min, sigma_max, rho)  # noqa: E731
    return DenoiserTeacher(
        fn, shape, sigmas=sigmas, num_classes=num_classes, data_scale=data_scale, solver=solver, name=name
    )


def from_velocity(
    fn: Function,
    shape: tuple[int, ...],
    *,
    num_classes: int = 0,
    data_scale: float = 0.5,
    solver: str = "euler",
    name: str = "velocity",
) -> VelocityTeacher:
    """Make ``fn(x, t, class_labels) -> velocity`` a teacher (flow matching; t = 0 noise, t = 1 data).

    The arguments are those of :func:`from_denoiser`; ``solver`` is ``euler``, ``midpoint`` or ``heun``.
    """
    return VelocityTeacher(fn, shape, num_classes=num_classes, data_scale=data_scale, solver=solver, name=name)


def from_epsilon(
    fn: Function,
    shape: tuple[int, ...],
    *,
    alphas_cumprod: Tensor,
    num_classes: int = 0,
    data_scale: float = 0.5,
    solver: str = "heun",
    name: str = "epsilon",
) -> DenoiserTeacher:
    """Make ``fn(x, timestep, class_labels) -> epsilon`` a teacher (DDPM's convention).

    ``alphas_cumprod`` (T,) is the product of the network's training schedule; ``fn`` is called with (B,) int64 timesteps
    and with ``x`` in DDPM's scaling (unit variance overall). Paths use evenly spaced timesteps, the levels are their sigmas.

    Raises:
        UsageError: on a schedule outside (0, 1) or rising, too many steps, or an unknown solver.
    """
    table = ddpm_sigmas(torch.as_tensor(alphas_cumprod))

    def sigmas(steps: int) -> Tensor:
        if not 1 <= steps <= len(table):
            raise UsageError(f"this schedule has {len(table)} timesteps, cannot take {steps} steps")
        timesteps = torch.linspace(len(table) - 1, 0, steps).round().long()
        return torch.cat([table[timesteps], torch.zeros(1, dtype=torch.float64)])

    def denoiser(x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> Tensor:
        timestep = (sigma.to(torch.float64)[:, None] - table.to(sigma.device)).abs().argmin(dim=1)
        level = sigma.reshape(-1, *[1] * (x.ndim - 1))
        epsilon = fn(x / (1 + level**2).sqrt(), timestep, class_labels)
        return denoised_from_epsilon(x, epsilon, level)

    return DenoiserTeacher(
        denoiser,
        shape,
        sigmas=sigmas,
        num_classes=num_classes,
        data_scale=data_scale,
        solver=solver,
        name=name,
    )


def _known_solver(solver: str, known: list[str]) -> str:
    if solver not in known:
        raise UsageError(f"unknown solver {solver!r}; known: {', '.join(known)}")
    return solver
