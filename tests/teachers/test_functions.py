"""One Gaussian told three ways (denoiser, velocity, epsilon) is one teacher; wrong functions are named."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.levels import ddpm_sigmas
from koopstep.teachers.base import Teacher
from koopstep.teachers.files import load_teacher
from koopstep.teachers.functions import DenoiserTeacher, from_denoiser, from_epsilon, from_velocity

MEAN = torch.tensor([0.3, -0.1])
VARIANCE = torch.tensor([0.5, 0.05])
ALPHAS = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
NOISE = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))


def denoiser(x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> Tensor:
    return MEAN + VARIANCE / (VARIANCE + sigma[:, None] ** 2) * (x - MEAN)


def velocity(x: Tensor, t: Tensor, class_labels: Tensor | None) -> Tensor:
    t = t[:, None]
    slope = (t * VARIANCE - (1 - t)) / ((1 - t) ** 2 + t**2 * VARIANCE)
    return MEAN + slope * (x - t * MEAN)


def epsilon(x: Tensor, timestep: Tensor, class_labels: Tensor | None) -> Tensor:
    assert timestep.dtype == torch.int64
    a = ALPHAS[timestep][:, None]  # x = sqrt(a) data + sqrt(1 - a) epsilon
    return (1 - a).sqrt() / (a * VARIANCE + 1 - a) * (x - a.sqrt() * MEAN)


def exact(sigma: Tensor, start: float) -> Tensor:
    """The Gaussian's path in sigma from noise of standard deviation ``start``: (levels, B, 2)."""
    factor = ((VARIANCE + sigma[:, None] ** 2) / (VARIANCE + start**2)).sqrt()
    return MEAN + factor[:, None] * (start * NOISE - MEAN)


def test_epsilon_and_denoiser_take_the_same_path_on_the_same_levels() -> None:
    for solver, spacing in itertools.product(("heun", "euler"), ("edm", "trailing", "linspace")):
        told = from_epsilon(epsilon, (2,), alphas_cumprod=ALPHAS, solver=solver, timesteps=spacing)
        levels = torch.tensor(told.levels(20))
        direct = DenoiserTeacher(
            denoiser, (2,), sigmas=lambda _, levels=levels: levels, noise_scale=told.noise_scale, solver=solver
        )
        torch.testing.assert_close(told.path(NOISE, steps=20), direct.path(NOISE, steps=20), rtol=1e-4, atol=1e-4)
        assert set(told.levels(50)[:-1]) <= set(ddpm_sigmas(ALPHAS).tolist())
    assert told.levels(1000)[:-1] == tuple(ddpm_sigmas(ALPHAS).flip(0).tolist())


def test_all_three_take_the_gaussian_s_own_path() -> None:
    by_denoiser = from_denoiser(denoiser, (2,))
    by_epsilon = from_epsilon(epsilon, (2,), alphas_cumprod=ALPHAS)
    by_velocity = from_velocity(velocity, (2,), solver="midpoint")
    for teacher in (by_denoiser, by_epsilon):
        sigmas = torch.tensor(teacher.levels(100))
        path = teacher.path(NOISE, steps=100)
        torch.testing.assert_close(path, exact(sigmas, teacher.noise_scale), rtol=1e-3, atol=0.02)
    # the flow's state at t is that of sigma = (1 - t) / t, times t; it starts at sigma = infinity
    path = by_velocity.path(NOISE, steps=100)
    t = torch.tensor(by_velocity.levels(100))[1:]
    torch.testing.assert_close(path[1:] / t[:, None, None], exact((1 - t) / t, 1e4), rtol=1e-3, atol=2e-3)
    ends = [teacher.path(NOISE, steps=100)[-1] for teacher in (by_denoiser, by_epsilon, by_velocity)]
    for end in ends:
        torch.testing.assert_close(end, MEAN + VARIANCE.sqrt() * NOISE, rtol=0, atol=0.02)


@pytest.mark.parametrize("solver", ["heun", "euler"])
@pytest.mark.parametrize("steps", [1, 5])
def test_denoisers_are_called_as_often_as_promised(solver: str, steps: int) -> None:
    check_calls(lambda fn: from_denoiser(fn, (2,), solver=solver), denoiser, steps)
    check_calls(lambda fn: from_epsilon(fn, (2,), alphas_cumprod=ALPHAS, solver=solver), epsilon, steps)


@pytest.mark.parametrize("solver", ["heun", "midpoint", "euler"])
@pytest.mark.parametrize("steps", [1, 5])
def test_velocities_are_called_as_often_as_promised(solver: str, steps: int) -> None:
    check_calls(lambda fn: from_velocity(fn, (2,), solver=solver), velocity, steps)


Named = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def check_calls(make: Callable[[Named], Teacher], fn: Named, steps: int) -> None:
    seen: list[Tensor | None] = []

    def counted(x: Tensor, level: Tensor, class_labels: Tensor | None) -> Tensor:
        assert (x.dtype, x.shape, level.shape) == (torch.float32, (4, 2), (4,))
        assert not torch.is_grad_enabled()
        seen.append(class_labels)
        return fn(x, level, class_labels)

    teacher = make(counted)
    path = teacher.path(NOISE[:4], steps=steps)
    assert path.shape == (steps + 1, 4, 2)
    assert len(seen) == teacher.evaluations(steps) == teacher.identity(steps).num_function_evaluations
    assert set(seen) == {None}


def test_the_adaptive_solver_measures_its_calls() -> None:
    calls: list[int] = []

    def counted(x: Tensor, t: Tensor, class_labels: Tensor | None) -> Tensor:
        calls.append(len(x))
        assert class_labels is not None and class_labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1][: len(x)]
        return velocity(x, t, class_labels)

    teacher = from_velocity(counted, (2,), solver="dopri5", rtol=1e-3, atol=1e-4, num_classes=2)
    promised = teacher.evaluations(5)
    assert calls == [8] * promised  # measured on eight rows of its own
    assert teacher.identity(9).num_function_evaluations == promised == len(calls)  # once, whatever the grid
    assert teacher.identity(9).solver == "dopri5 rtol=0.001 atol=0.0001"
    path = teacher.path(NOISE[:8], torch.arange(8) % 2, steps=5)
    assert len(calls) - promised == pytest.approx(promised, abs=12)  # other rows, about as many calls
    tight = from_velocity(velocity, (2,), solver="dopri5", rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(path, tight.path(NOISE[:8], steps=5), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(tight.path(NOISE, steps=3)[-1], MEAN + VARIANCE.sqrt() * NOISE, rtol=1e-4, atol=1e-4)


def test_a_velocity_is_followed_from_any_start() -> None:
    """A stochastic interpolant's start is whatever it was made for; here uniform, carried to three times itself plus one."""
    starts = torch.rand(16, 2, generator=torch.Generator().manual_seed(0))
    teacher = from_velocity(
        lambda x, t, labels: 2 * (x - t[:, None]) / (1 + 2 * t[:, None]) + 1, (2,), solver="midpoint"
    )
    path = teacher.path(starts, steps=8)
    assert torch.equal(path[0], starts)
    torch.testing.assert_close(path[-1], 3 * starts + 1, rtol=1e-2, atol=1e-2)


def test_class_labels_reach_the_function() -> None:
    def shifted(x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> Tensor:
        assert class_labels is not None
        return class_labels[:, None].float().expand_as(x)

    teacher = from_denoiser(shifted, (2,), num_classes=3)
    labels = torch.tensor([0, 2, 1])
    torch.testing.assert_close(teacher.path(NOISE[:3], labels, steps=4)[-1], labels[:, None].float().expand(3, 2))


def test_images_pass_as_they_are() -> None:
    noise = torch.randn(3, 1, 4, 4)
    for teacher in (
        from_denoiser(lambda x, sigma, labels: 0 * x, (1, 4, 4)),
        from_velocity(lambda x, t, labels: -x / (1 - t + 1e-6).reshape(-1, 1, 1, 1), (1, 4, 4)),
        from_epsilon(lambda x, step, labels: x, (1, 4, 4), alphas_cumprod=ALPHAS),
    ):
        path = teacher.path(noise, steps=4)
        torch.testing.assert_close(path[0], noise * teacher.noise_scale)
        assert bool((path[-1].abs() < 0.05 * teacher.noise_scale).all())


def test_settings_travel_into_the_identity() -> None:
    teacher = from_denoiser(denoiser, (2,), sigma_max=7.0, data_scale=0.4, solver="euler", name="mine", num_classes=2)
    identity = teacher.identity(6)
    assert (identity.name, identity.solver, identity.data_scale) == ("mine", "euler", 0.4)
    assert identity.noise_scale == pytest.approx(7.0)
    assert (identity.shape, identity.num_classes, identity.num_function_evaluations) == ((2,), 2, 6)
    assert from_velocity(velocity, (2,)).identity(3).noise_scale == 1.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: from_denoiser(denoiser, (2,), solver="rk4"), "unknown solver 'rk4'; known: euler, heun"),
        (lambda: from_velocity(velocity, (2,), solver="ddim"), "known: dopri5, euler, heun, midpoint"),
        (lambda: from_epsilon(epsilon, (2,), alphas_cumprod=ALPHAS, solver="ddpm"), "unknown solver"),
        (lambda: from_denoiser(denoiser, (2,), sigma_min=2.0, sigma_max=1.0), "sigma_min < sigma_max"),
        (lambda: from_epsilon(epsilon, (2,), alphas_cumprod=torch.linspace(1e-4, 0.02, 1000)), "rise"),
        (lambda: from_epsilon(epsilon, (2,), alphas_cumprod=torch.zeros(10)), "between 0 and 1"),
        (lambda: from_epsilon(epsilon, (2,), alphas_cumprod=ALPHAS, timesteps="leading"), "edm, trailing, linspace"),
        (lambda: from_epsilon(epsilon, (2,), alphas_cumprod=ALPHAS, sigma_max=1e-3), "above the lowest level 0.01"),
    ],
)
def test_wrong_settings_are_named(make: Callable[[], Teacher], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


def test_wrong_calls_are_named() -> None:
    with pytest.warns(UserWarning, match="does not end in noise"):
        teacher = from_epsilon(epsilon, (2,), alphas_cumprod=ALPHAS[:10])
    for steps in (0, 11):
        with pytest.raises(UsageError, match="at most the 10 timesteps"):
            teacher.path(NOISE, steps=steps)
    narrow = from_denoiser(lambda x, sigma, labels: x[:, :1], (2,))  # would broadcast without a word
    with pytest.raises(UsageError, match=r"must return shape \(32, 2\), got \(32, 1\)"):
        narrow.path(NOISE, steps=3)


def test_few_timesteps_near_edm_s_levels_err_less_than_even_ones() -> None:
    """The packaged digits teacher, asked as the DDPM network it is not: 12 steps against 80 by each spacing."""
    digits = load_teacher("digits-edm").model
    sigmas = ddpm_sigmas(ALPHAS)

    def told(x: Tensor, timestep: Tensor, labels: Tensor | None) -> Tensor:
        sigma = sigmas[timestep].float()
        level = sigma.reshape(-1, 1, 1, 1)
        noisy = x * (1 + level**2).sqrt()
        return (noisy - digits(noisy, sigma, labels)) / level

    noise = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    ends = {}
    for spacing in ("edm", "linspace"):
        teacher = from_epsilon(told, (1, 8, 8), alphas_cumprod=ALPHAS, timesteps=spacing)
        ends[spacing] = teacher.path(noise, steps=12)[-1]
    exact = teacher.path(noise, steps=80)[-1]
    errors = {spacing: float((end - exact).square().mean()) for spacing, end in ends.items()}
    assert errors["edm"] < 0.5 * errors["linspace"]
