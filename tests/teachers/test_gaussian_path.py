"""The path of a Gaussian in closed form, and where its Koopman modes are finitely many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.operators.variable_projection import fit_exponentials
from koopstep.teachers.analytic import gaussian_teacher
from koopstep.teachers.functions import from_velocity
from koopstep.teachers.gaussian_path import (
    exponential_sigmas,
    gaussian_modes,
    gaussian_path,
    gaussian_path_factors,
)

SIGMA_MAX, STEPS = 10.0, 12
MEAN = torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
U = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)


def covariance(*variances: float) -> Tensor:
    start = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = torch.linalg.qr(start).Q
    full = basis * torch.tensor(variances, dtype=torch.float64) @ basis.T
    return (full + full.T) / 2


def noise(rows: int = 16) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_flow_s_closed_form_is_what_a_solver_tends_to() -> None:
    spread = covariance(1.5, 0.3, 0.02)

    def velocity(x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """``E[data - noise | x]`` by regression on ``x = (1 - t) noise + t data``."""
        now, unit = float(t[0]), torch.eye(3, dtype=torch.float64)
        total = (1 - now) ** 2 * unit + now**2 * spread
        data = MEAN + now * (x - now * MEAN) @ torch.linalg.inv(total) @ spread
        return (data - x) / (1 - now)

    teacher = from_velocity(velocity, (3,), solver="midpoint", dtype=torch.float64)
    errors = []
    for steps in (20, 80):
        levels = torch.tensor(teacher.levels(steps), dtype=torch.float64)
        exact = gaussian_path(MEAN, spread, levels, noise())
        errors.append(float((teacher.path(noise(), steps=steps) - exact).abs().max()))
    assert errors[0] < 0.05
    assert errors[1] < 0.2 * errors[0]


@pytest.mark.parametrize("variances", [(0.5, 0.5, 0.5), (1.0, 0.1, 0.1), (1.0, 1.0, 1e-4)])
def test_one_or_two_variances_have_one_or_two_modes(variances: tuple[float, ...]) -> None:
    spread = covariance(*variances)
    levels = exponential_sigmas(torch.tensor(variances), SIGMA_MAX, STEPS)
    assert (float(levels[0]), float(levels[-1])) == (SIGMA_MAX, 0.0)
    assert bool((levels.diff() < 0).all())
    modes, start = gaussian_modes(MEAN, spread, SIGMA_MAX), SIGMA_MAX * noise()
    assert len(modes.rates) == len(set(variances))
    exact = gaussian_path(MEAN, spread, levels, start)
    torch.testing.assert_close(modes.states(start, U), exact, rtol=0, atol=1e-6)
    torch.testing.assert_close(MEAN + modes.images(start).sum(dim=0), start)


def test_the_rate_of_one_variance_is_half_a_logarithm() -> None:
    modes = gaussian_modes(MEAN, covariance(0.5, 0.5, 0.5), SIGMA_MAX)
    torch.testing.assert_close(modes.rates, 0.5 * torch.tensor([0.5 / 100.5], dtype=torch.float64).log())
    torch.testing.assert_close(modes.images(noise())[0], noise() - MEAN)


def test_two_exponentials_fit_two_variances_and_not_three() -> None:
    """The converse of the closed form: on the very levels that suit two variances a third has no finite sum."""
    suited = exponential_sigmas(torch.tensor([1.0, 0.1]), SIGMA_MAX, STEPS)
    two = gaussian_path_factors(torch.tensor([1.0, 0.1]), suited)
    three = gaussian_path_factors(torch.tensor([1.0, 0.1, 0.4]), suited)
    fit = fit_exponentials(two[:, None], U, 1, real=1, weights=1 / two.square().mean(dim=1))
    analytic = gaussian_modes(MEAN, covariance(1.0, 0.1, 0.1), SIGMA_MAX).rates
    torch.testing.assert_close(fit.alpha[1:].sort().values, analytic.sort().values, rtol=1e-6, atol=0)
    errors = [float((fit_.states(U) - known[:, None]).abs().max()) for fit_, known in (
        (fit, two), (fit_exponentials(three[:, None], U, 1, real=1), three)
    )]  # fmt: skip
    assert errors[0] < 1e-8
    assert errors[1] > 1e-3


def test_more_variances_are_refused_and_so_is_a_point() -> None:
    for make in (
        lambda: gaussian_modes(MEAN, covariance(1.0, 0.5, 0.1), SIGMA_MAX),
        lambda: gaussian_teacher(MEAN, covariance(1.0, 0.5, 0.1), spacing="exponential"),
    ):
        with pytest.raises(UsageError, match=r"one or two different variances .* 0\.1, 0\.5, 1: use spacing='edm'"):
            make()
    with pytest.raises(UsageError, match="is a point"):
        exponential_sigmas(torch.zeros(3), SIGMA_MAX, STEPS)


@pytest.mark.parametrize("spacing", ["edm", "exponential"])
def test_an_exact_teacher_s_path_is_the_closed_form(spacing: str) -> None:
    spread = covariance(1.0, 0.1, 0.1)
    teacher = gaussian_teacher(MEAN, spread, sigma_max=SIGMA_MAX, solver="exact", spacing=spacing)  # type: ignore[arg-type]
    levels = torch.tensor(teacher.levels(STEPS), dtype=torch.float64)
    exact = gaussian_path(MEAN, spread, levels, SIGMA_MAX * noise())
    torch.testing.assert_close(teacher.path(noise(), steps=STEPS), exact.float())
    assert (teacher.noise_scale, teacher.evaluations(STEPS)) == (SIGMA_MAX, STEPS)
    assert teacher.solver == ("exact" if spacing == "edm" else "exact spacing=exponential")
    solved = gaussian_teacher(MEAN, spread, sigma_max=SIGMA_MAX, spacing=spacing)  # type: ignore[arg-type]
    assert solved.levels(STEPS) == teacher.levels(STEPS)
