"""Teachers in closed form: the exact flow of a Gaussian, the posterior mean of a mixture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.levels import karras_sigmas
from koopstep.teachers.analytic import (
    GaussianDenoiser,
    MixtureDenoiser,
    gaussian_teacher,
    mixture_teacher,
)
from koopstep.teachers.gaussian_path import gaussian_path, gaussian_path_factors

VARIANCES = torch.tensor([1.5, 0.3, 0.02], dtype=torch.float64)


def rotation(dimension: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)).Q


def test_the_path_tends_to_the_exact_flow() -> None:
    basis, mean = rotation(3), torch.tensor([0.4, -0.2, 0.1], dtype=torch.float64)
    teacher = gaussian_teacher(mean, basis * VARIANCES @ basis.T, sigma_max=20.0)
    noise = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
    errors = []
    for steps in (20, 40, 160):
        sigmas = torch.tensor(teacher.levels(steps), dtype=torch.float64)
        path = teacher.path(noise, steps=steps)
        exact = gaussian_path(mean, basis * VARIANCES @ basis.T, sigmas, noise * 20.0)
        torch.testing.assert_close(path[0], exact[0].float())
        errors.append(float((path - exact).abs().max()))
    assert errors[0] < 0.1
    assert errors[1] < 0.4 * errors[0]
    assert errors[2] < 1e-3
    assert errors[2] < 0.15 * errors[1]


def test_the_factors_solve_the_path_equation() -> None:
    sigmas = torch.linspace(5.0, 0.0, 2001, dtype=torch.float64)
    factors = gaussian_path_factors(VARIANCES, sigmas)
    assert bool((factors[0] == 1).all())
    middle, steps = 0.5 * (sigmas[1:] + sigmas[:-1])[:, None], sigmas.diff()[:, None]
    slope = middle / (VARIANCES + middle**2) * 0.5 * (factors[1:] + factors[:-1])
    torch.testing.assert_close(factors.diff(dim=0) / steps, slope, rtol=1e-2, atol=1e-6)
    data = factors[-1] * (VARIANCES + sigmas[0] ** 2).sqrt()  # states of the whole path carry the right variances
    torch.testing.assert_close(data, VARIANCES.sqrt())


def test_samples_have_the_gaussian_s_moments() -> None:
    basis, mean = rotation(3), torch.tensor([0.4, -0.2, 0.1], dtype=torch.float64)
    covariance = basis * VARIANCES @ basis.T
    teacher = gaussian_teacher(mean, covariance)
    noise = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(1))
    data = teacher.path(noise, steps=30)[-1].double()
    torch.testing.assert_close(data.mean(dim=0), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(data.T.cov(), covariance, rtol=0.05, atol=0.03)
    assert teacher.data_scale == pytest.approx(float(VARIANCES.mean()) ** 0.5)


def test_gaussian_denoiser_is_the_regression_on_the_noisy_state() -> None:
    basis = rotation(3)
    covariance = basis * VARIANCES @ basis.T
    mean = torch.tensor([0.4, -0.2, 0.1], dtype=torch.float64)
    denoiser, sigma = GaussianDenoiser(mean, covariance), torch.tensor([0.01, 0.5, 40.0], dtype=torch.float64)
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = [
        mean + covariance @ torch.linalg.inv(covariance + s**2 * torch.eye(3).double()) @ (row - mean)
        for row, s in zip(x, sigma, strict=True)
    ]
    torch.testing.assert_close(denoiser(x, sigma), torch.stack(rows))


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0, 50.0])
def test_mixture_denoiser_is_the_posterior_mean(sigma: float) -> None:
    """By brute force: E[data | x] as a ratio of integrals over a fine grid of data."""
    means, spread = torch.tensor([[-1.0], [0.2], [1.5]], dtype=torch.float64), 0.2
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None] * max(1.0, sigma)
    grid = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    density = (weights[:, None] * torch.exp(-0.5 * ((grid - means) / spread) ** 2)).sum(dim=0)
    log_likelihood = -0.5 * ((x - grid) / sigma) ** 2
    posterior = density * torch.exp(log_likelihood - log_likelihood.amax(dim=1, keepdim=True))
    expected = (posterior * grid).sum(dim=1) / posterior.sum(dim=1)
    denoised = MixtureDenoiser(means, weights, spread)(x, torch.full((7,), sigma))
    torch.testing.assert_close(denoised[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_one_component_is_a_gaussian() -> None:
    mean = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    mixture, gaussian = mixture_teacher(mean, 0.3), gaussian_teacher(mean[0], 0.09 * torch.eye(2).double())
    noise = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixture.path(noise, steps=9), gaussian.path(noise, steps=9))
    assert mixture.data_scale == pytest.approx(gaussian.data_scale)


def test_a_mixture_s_samples_lie_at_its_components_by_weight() -> None:
    means, spread = torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.1
    teacher = mixture_teacher(means, spread, torch.tensor([1, 3]))
    noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    data = teacher.path(noise, steps=25)[-1]
    nearest = torch.cdist(data, means).argmin(dim=1)
    assert float((nearest == 1).float().mean()) == pytest.approx(0.75, abs=0.03)
    deviation = data - means[nearest]
    assert float(deviation.std()) == pytest.approx(spread, rel=0.1)
    assert teacher.data_scale == pytest.approx(float(data.var(dim=0).mean()) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    "covariance",
    [
        torch.eye(3),
        torch.tensor([[1.0, 0.5], [0.2, 1.0]]),
        torch.tensor([[1.0, 2.0], [2.0, 1.0]]),
        torch.ones(2),
    ],
)
def test_impossible_covariances_are_named(covariance: Tensor) -> None:
    with pytest.raises(UsageError, match="symmetric, positive and 2 x 2"):
        gaussian_teacher(torch.zeros(2), covariance)


def test_impossible_mixtures_are_named() -> None:
    for means, spread in ((torch.zeros(3), 0.1), (torch.zeros(3, 2), 0.0)):
        with pytest.raises(UsageError, match="positive spread"):
            mixture_teacher(means, spread)
    for weights in (torch.ones(2), torch.tensor([1.0, -1.0, 1.0]), torch.tensor([1.0, 0.0, 2.0])):
        with pytest.raises(UsageError, match="3 numbers above 0"):
            mixture_teacher(torch.zeros(3, 2), 0.1, weights)


def test_levels_are_edm_s() -> None:
    teacher = gaussian_teacher(torch.zeros(2), torch.eye(2), sigma_max=3.0)
    torch.testing.assert_close(
        torch.tensor(teacher.levels(12), dtype=torch.float64), karras_sigmas(12, sigma_max=3.0), rtol=0, atol=0
    )
    with pytest.raises(UsageError, match=r"sigma_min 0\.002 must be below sigma_max 0\.001"):
        gaussian_teacher(torch.zeros(2), torch.eye(2), sigma_max=0.001)
