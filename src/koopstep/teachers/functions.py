"""Any function a teacher: EDM denoisers, flow-matching velocities, DDPM epsilon networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.levels import denoised_from_epsilon, flow_times, karras_sigmas
from koopstep.core.noise import gaussian
from koopstep.teachers.base import Teacher
from koopstep.teachers.solvers import DENOISER_SOLVERS, VELOCITY_SOLVERS
from koopstep.teachers.timesteps import NOISE_SIGMA, Spacing, Timesteps

Function = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``fn(x, level, class_labels)``: (B, *shape), (B,), (B,) int64 or None -> (B, *shape)."""

_PROBED_ROWS = 8


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
    """A teacher that is given as a denoiser ``D(x, sigma)``; solved in sigma as EDM does.

    ``sigmas`` maps steps to the levels of a path; ``levels_are`` says in a word which ones they are, where the same solver
    may take others. ``noise_scale`` is the first of them unless another is given.
    """

    kind = "denoiser"

    def __init__(
        self,
        fn: Function,
        shape: tuple[int, ...],
        *,
        sigmas: Callable[[int], Tensor],
        levels_are: str = "",
        noise_scale: float | None = None,
        num_classes: int = 0,
        data_scale: float = 0.5,
        solver: str = "heun",
        kind: str = "denoiser",
        name: str = "function",
        sha256: str = "",
    ) -> None:
        super().__init__(fn, shape, num_classes, data_scale, name, sha256)
        self._solve, self._count = DENOISER_SOLVERS[_known_solver(solver, sorted(DENOISER_SOLVERS))]
        self.kind, self.solver = kind, f"{solver} {levels_are}".rstrip()
        self._sigmas = sigmas
        self.noise_scale = float(sigmas(1)[0]) if noise_scale is None else noise_scale

    def levels(self, steps: int) -> tuple[float, ...]:
        return tuple(self._sigmas(steps).tolist())

    def evaluations(self, steps: int) -> int:
        return self._count(steps)

    def states(self, noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
        start = noise.to(torch.float64) * self.noise_scale
        return self._solve(self._field(class_labels), start, list(self.levels(steps)))


class VelocityTeacher(_FunctionTeacher):
    """A teacher that is given as a velocity ``v(x, t)`` from noise (t = 0) to data (t = 1).

    :meth:`path` follows the velocity from wherever it is started: of a stochastic interpolant between two data sets, give
    it rows of the first. Only what addresses noise by (seed, index), as ``collect`` does, presumes a Gaussian start.
    """

    noise_scale = 1.0

    def __init__(
        self,
        fn: Function,
        shape: tuple[int, ...],
        *,
        num_classes: int = 0,
        data_scale: float = 0.5,
        solver: str = "euler",
        rtol: float = 1e-5,
        atol: float = 1e-5,
        device: torch.device | str = "cpu",
        kind: str = "velocity",
        name: str = "function",
        sha256: str = "",
    ) -> None:
        super().__init__(fn, shape, num_classes, data_scale, name, sha256)
        self.kind, self.solver = kind, _known_solver(solver, sorted(VELOCITY_SOLVERS))
        self._solve, self._count = VELOCITY_SOLVERS[solver]
        self._device = device
        if self._count is None:  # adaptive: its tolerances decide what comes out
            self.solver = f"{solver} rtol={rtol:g} atol={atol:g}"
            self._solve = partial(self._solve, rtol=rtol, atol=atol)

    def levels(self, steps: int) -> tuple[float, ...]:
        return tuple(flow_times(steps).tolist())

    def evaluations(self, steps: int) -> int:
        """How often :meth:`path` calls the network (NFE); of an adaptive solver, how often it did for eight fixed rows."""
        return self._measured if self._count is None else self._count(steps)

    def states(self, noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
        start = noise.to(torch.float64)
        return self._solve(self._field(class_labels), start, list(self.levels(steps)))

    @cached_property
    def _measured(self) -> int:
        noise = gaussian(0, range(_PROBED_ROWS), self.shape).to(self._device)
        labels = torch.arange(_PROBED_ROWS, device=self._device) % self.num_classes if self.num_classes else None
        field, calls = self._field(labels), 0

        def counted(x: Tensor, level: float) -> Tensor:
            nonlocal calls
            calls += 1
            return field(x, level)

        with torch.no_grad():
            for _ in self._solve(counted, noise.to(torch.float64), [0.0, 1.0]):
                pass
        return calls


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
    rtol: float = 1e-5,
    atol: float = 1e-5,
    device: torch.device | str = "cpu",
    name: str = "velocity",
) -> VelocityTeacher:
    """Make ``fn(x, t, class_labels) -> velocity`` a teacher (flow matching, stochastic interpolants; t = 0 start, 1 data).

    ``path`` starts wherever it is told to: give it rows of any distribution in place of noise.

    Args:
        fn: takes (B, *shape) float32, (B,) float32 and (B,) int64 or None.
        shape: of one sample.
        num_classes: 0 without class labels.
        data_scale: standard deviation of the data; students use it to scale their inputs.
        solver: ``euler``, ``midpoint``, ``heun``, or the adaptive ``dopri5`` (needs SciPy).
        rtol: relative tolerance of ``dopri5``.
        atol: absolute tolerance of ``dopri5``.
        device: where ``fn`` computes; ``dopri5`` measures there how many calls it takes.
        name: what to call it in reports.

    Raises:
        UsageError: on an unknown solver.
    """
    return VelocityTeacher(
        fn,
        shape,
        num_classes=num_classes,
        data_scale=data_scale,
        solver=solver,
        rtol=rtol,
        atol=atol,
        device=device,
        name=name,
    )


def from_epsilon(
    fn: Function,
    shape: tuple[int, ...],
    *,
    alphas_cumprod: Tensor,
    num_classes: int = 0,
    data_scale: float = 0.5,
    solver: str = "heun",
    timesteps: Spacing = "edm",
    sigma_max: float = NOISE_SIGMA,
    name: str = "epsilon",
) -> DenoiserTeacher:
    """Make ``fn(x, timestep, class_labels) -> epsilon`` a teacher (DDPM's convention).

    Every level of a path is that of a timestep the network was trained on, and a path starts from unit noise in DDPM's
    scaling.

    Args:
        fn: takes (B, *shape) float32 in DDPM's scaling (unit variance overall), (B,) int64 and (B,) int64 or None.
        shape: of one sample.
        alphas_cumprod: (T,), the products of ``1 - beta`` of the network's training schedule.
        num_classes: 0 without class labels.
        data_scale: standard deviation of the data; students use it to scale their inputs.
        solver: ``heun`` or ``euler`` (with ``timesteps="trailing"`` this is DDIM).
        timesteps: which ones a path takes: ``edm``, those nearest to EDM's levels; ``trailing``, evenly spaced ones from the
            last down; ``linspace``, evenly spaced ones from the last to the first (version 0.1 took these).
        sigma_max: where ``edm`` starts.
        name: what to call it in reports.

    Raises:
        UsageError: on a schedule outside (0, 1) or rising, too many steps, or an unknown solver or spacing.

    Warns:
        UserWarning: of a schedule that does not end in noise.
    """
    table = Timesteps.of(torch.as_tensor(alphas_cumprod), timesteps, sigma_max)
    table.warn()

    def denoiser(x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> Tensor:
        x, level = x.double(), sigma.double().reshape(-1, *[1] * (x.ndim - 1))
        epsilon = fn((x / (1 + level**2).sqrt()).float(), table.nearest(sigma), class_labels)
        return denoised_from_epsilon(x, epsilon, level)

    return DenoiserTeacher(
        denoiser,
        shape,
        sigmas=table.levels,
        levels_are="" if timesteps == "linspace" else f"timesteps={timesteps}",
        noise_scale=table.noise_scale,
        num_classes=num_classes,
        data_scale=data_scale,
        solver=solver,
        name=name,
    )


def _known_solver(solver: str, known: list[str]) -> str:
    if solver not in known:
        raise UsageError(f"unknown solver {solver!r}; known: {', '.join(known)}")
    return solver
