"""One Gaussian told three ways (denoiser, velocity, epsilon) is one teacher; wrong functions are named."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.core.levels import ddpm_sigmas
from koopstep.teachers.analytic import MixtureDenoiser
from koopstep.teachers.base import Teacher, TeacherIdentity
from koopstep.teachers.functions import from_denoiser, from_epsilon, from_velocity
from koopstep.teachers.solved import DenoiserTeacher

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
        path = teacher.path(noise, steps=16)
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
        (lambda: from_epsilon(epsilon, (2,), alphas_cumprod=torch.linspace(1e-4, 0.02, 1000)), "betas, or reversed"),
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
    """12 and 20 steps against 80, of a network that is exact for eight points on a circle."""
    angles = torch.arange(8) * torch.pi / 4
    circle = MixtureDenoiser(torch.stack([angles.cos(), angles.sin()], dim=1), torch.ones(8), spread=0.1)
    sigmas = ddpm_sigmas(ALPHAS)

    def told(x: Tensor, timestep: Tensor, labels: Tensor | None) -> Tensor:
        level = sigmas[timestep][:, None]
        noisy = x * (1 + level**2).sqrt()
        return (noisy - circle(noisy, level.flatten())) / level

    noise = torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
    even, near = (from_epsilon(told, (2,), alphas_cumprod=ALPHAS, timesteps=t) for t in ("linspace", "edm"))
    exact = even.path(noise, steps=80)[-1]
    for steps in (12, 20):
        errors = [float((teacher.path(noise, steps=steps)[-1] - exact).square().mean()) for teacher in (near, even)]
        assert errors[0] < 0.5 * errors[1], errors


def test_a_function_of_another_number_format_works_or_is_refused() -> None:
    double = torch.nn.Linear(2, 2).double()
    half = torch.nn.Linear(2, 2).half()
    for network in (double, half):
        torch.nn.init.zeros_(network.weight)  # or float16 overflows on the way
    for network, dtype in ((double, torch.float64), (half, torch.float16)):
        for make in (from_denoiser, from_velocity, partial(from_epsilon, alphas_cumprod=ALPHAS)):
            path = make(lambda x, t, _, net=network: net(x), (2,), dtype=dtype).path(NOISE, steps=3)
            assert path.dtype == torch.float32 and bool(path.isfinite().all())
            with pytest.raises(UsageError, match=r"does not take torch.float32 .* name its own with dtype="):
                make(lambda x, t, _, net=network: net(x), (2,)).path(NOISE, steps=3)
    with pytest.raises(UsageError, match="failed: RuntimeError: no such thing") as caught:

        def failing(x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
            raise RuntimeError("no such thing")

        from_denoiser(failing, (2,)).path(NOISE, steps=3)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda x: x[0], r"must return shape \(32, 2\), got \(2,\)"),
        (lambda x: x.to(torch.complex64), "floating point numbers, got torch.complex64"),
        (lambda x: x.round().long(), "floating point numbers, got torch.int64"),
        (lambda x: (x,), "must return a tensor, got tuple"),
        (lambda x: x.numpy(), "must return a tensor, got ndarray"),
        (lambda x: x.to("meta"), "on cpu and returned one on meta"),
    ],
)
def test_wrong_returns_are_named(value: Callable[[Tensor], Tensor], words: str) -> None:
    for make in (from_denoiser, from_velocity, partial(from_epsilon, alphas_cumprod=ALPHAS)):
        with pytest.raises(UsageError, match=words):
            make(lambda x, t, _: value(x), (2,)).path(NOISE, steps=2)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"shape": ()}, "shape is that of one sample"),
        ({"shape": 2}, "shape is that of one sample"),
        ({"shape": (2, 0)}, "shape is that of one sample"),
        ({"num_classes": -1}, "num_classes must be 0"),
        ({"data_scale": 0.0}, "data_scale is a standard deviation"),
        ({"data_scale": float("nan")}, "data_scale must be a finite number"),
        ({"data_range": (1.0, -1.0)}, "what black and white are"),
        ({"data_range": (0.0, float("inf"))}, "what black and white are"),
        ({"dtype": torch.int64}, "floating point one"),
    ],
)
def test_facts_that_cannot_be(facts: dict[str, Any], words: str) -> None:
    for make in (from_denoiser, from_velocity, partial(from_epsilon, alphas_cumprod=ALPHAS)):
        with pytest.raises(UsageError, match=words):
            make(denoiser, **{"shape": (2,), **facts}).path(NOISE, steps=1)


def test_the_range_travels_and_gives_the_scale() -> None:
    assert from_denoiser(denoiser, (1, 4, 4)).data_scale == 0.5
    teacher = from_velocity(velocity, (1, 4, 4), data_range=(0, 255))
    assert (teacher.data_range, teacher.data_scale) == ((0.0, 255.0), 63.75)
    assert teacher.identity(3).data_range == (0.0, 255.0)
    latents = from_velocity(velocity, (4, 8, 8), data_range=None, data_scale=0.9)
    assert latents.identity(3).data_range is None
    usual = from_velocity(velocity, (2,), data_scale=1.42).identity(3)
    assert "data_range" not in dump(usual)  # so that stores of version 0.1 keep their digests
    for identity in (latents.identity(3), teacher.identity(3), usual):
        assert TeacherIdentity.parse(dump(identity), "again") == identity


def test_class_labels_are_whole_numbers() -> None:
    teacher = from_denoiser(lambda x, sigma, labels: x, (2,), num_classes=3)
    with pytest.raises(UsageError, match="whole numbers"):
        teacher.path(NOISE[:2], torch.tensor([0.0, 1.5]), steps=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_function_may_write_into_what_it_is_given(dtype: torch.dtype) -> None:
    noise = torch.randn(2, 5)
    plain, in_place = (
        from_denoiser(fn, (5,), dtype=dtype).path(noise, steps=4)
        for fn in (lambda x, sigma, c: x * 0.3, lambda x, sigma, c: x.mul_(0.3))
    )
    assert torch.equal(plain, in_place)


def test_a_function_that_fails_says_where() -> None:
    def breaks(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        return x @ torch.zeros(3, 2)

    words = r"failed: RuntimeError: .*line \d+ of test_functions.py.*called as fn\(x, level, class_labels\)"
    with pytest.raises(UsageError, match=words):
        from_denoiser(breaks, (2,)).sample(2)
    with pytest.raises(UsageError, match="failed: TypeError"):
        from_denoiser(lambda x, sigma: x, (2,)).sample(2)  # type: ignore[arg-type, misc]

    def full(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with pytest.raises(RuntimeError, match="out of memory"):
        from_denoiser(full, (2,)).sample(2)
