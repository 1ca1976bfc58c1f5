"""Noise levels against the published grids; conversions against the definitions they solve."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from koopstep.core import levels
from koopstep.core.errors import UsageError

# EDM's sampler, sigma_min 0.002, sigma_max 80, rho 7: as its own code prints them
EDM_18 = [80, 57.586, 40.786, 28.375, 19.352, 12.910, 8.401, 5.315, 3.257, 1.923, 1.088]
EDM_18 += [0.5853, 0.2964, 0.1395, 0.05995, 0.02294, 0.007528, 0.002, 0]
EDM_40_START, EDM_40_END = [80, 69.451, 60.117, 51.880, 44.630], [0.01081, 0.006437, 0.003677, 0.002, 0]


def test_edm_grids_are_the_published_ones() -> None:
    eighteen, forty = levels.karras_sigmas(18), levels.karras_sigmas(40)
    assert eighteen.dtype == torch.float64
    assert (len(eighteen), len(forty)) == (19, 41)
    torch.testing.assert_close(eighteen, torch.tensor(EDM_18).double(), rtol=3e-4, atol=0)
    torch.testing.assert_close(forty[:5], torch.tensor(EDM_40_START).double(), rtol=3e-4, atol=0)
    torch.testing.assert_close(forty[-5:], torch.tensor(EDM_40_END).double(), rtol=3e-4, atol=0)


@given(
    steps=st.integers(1, 60),
    sigma_min=st.floats(1e-4, 0.1),
    ratio=st.floats(1.5, 1e5),
    rho=st.floats(1.0, 10.0),
)
def test_edm_grids_fall_from_the_top_to_nothing(steps: int, sigma_min: float, ratio: float, rho: float) -> None:
    grid = levels.karras_sigmas(steps, sigma_min, sigma_min * ratio, rho)
    assert grid.shape == (steps + 1,)
    assert float(grid[-1]) == 0.0
    assert bool((grid.diff() < 0).all())
    assert float(grid[0]) == pytest.approx(sigma_min * ratio)
    if steps > 1:
        assert float(grid[-2]) == pytest.approx(sigma_min)
        bent = grid[:-1] ** (1 / rho)  # evenly spaced once unbent
        torch.testing.assert_close(bent.diff(), bent.diff().mean().expand(steps - 1), rtol=1e-6, atol=1e-9)


def test_flow_times() -> None:
    torch.testing.assert_close(levels.flow_times(4), torch.tensor([0, 0.25, 0.5, 0.75, 1]).double(), rtol=0, atol=0)
    assert levels.flow_times(1).tolist() == [0.0, 1.0]


def test_ddpm_sigmas_keep_the_signal_to_noise_ratio() -> None:
    alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)  # DDPM's schedule
    sigmas = levels.ddpm_sigmas(alphas)
    assert bool((sigmas.diff() > 0).all())
    # sqrt(a) (data + sigma eps) has the unit of sqrt(a) data + sqrt(1 - a) eps
    torch.testing.assert_close(alphas.double().sqrt() * sigmas, (1 - alphas.double()).sqrt())
    assert float(sigmas[-1]) == pytest.approx(157.4, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: levels.karras_sigmas(0), "steps"),
        (lambda: levels.karras_sigmas(5, 1.0, 1.0), "sigma_min < sigma_max"),
        (lambda: levels.karras_sigmas(5, 0.0, 1.0), "sigma_min"),
        (lambda: levels.karras_sigmas(5, math.nan, 1.0), "sigma_min"),
        (lambda: levels.karras_sigmas(5, rho=0.0), "rho"),
        (lambda: levels.flow_times(0), "steps"),
        (lambda: levels.ddpm_sigmas(torch.tensor([0.5, 0.0])), "between 0 and 1"),
        (lambda: levels.ddpm_sigmas(torch.full((2, 2), 0.5)), "one row"),
        (lambda: levels.ddpm_sigmas(torch.linspace(1e-4, 0.02, 10)), "betas"),
    ],
)
def test_wrong_levels_are_named(call: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()  # type: ignore[operator]


def parts() -> tuple[Tensor, Tensor, Tensor]:
    """Data (5, 3), noise (5, 3) and a level a row (5, 1), over the whole range of EDM."""
    generator = torch.Generator().manual_seed(3)
    data, noise = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    return data, noise, torch.tensor([0.002, 0.1, 1.0, 9.0, 80.0], dtype=torch.float64)[:, None]


def test_epsilon() -> None:
    data, noise, sigma = parts()
    x = data + sigma * noise
    torch.testing.assert_close(levels.denoised_from_epsilon(x, noise, sigma), data)


def test_v() -> None:
    data, noise, sigma = parts()
    alpha = 1 / (1 + sigma**2).sqrt()  # Salimans and Ho, App. D: v = alpha eps - sigma' data of alpha data + sigma' eps
    v = alpha * noise - alpha * sigma * data
    x = data + sigma * noise
    torch.testing.assert_close(levels.denoised_from_v(x, v, sigma), data, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(levels.denoised_from_v(x[:1], v[:1], 0.002), data[:1])  # a number serves as well


def test_the_variance_preserving_schedule() -> None:
    times = torch.linspace(1e-5, 1, 50, dtype=torch.float64)
    sigmas = levels.vp_sigma(times)
    torch.testing.assert_close(levels.vp_time(sigmas), times, rtol=1e-9, atol=0)
    kept = torch.tensor([math.exp(-0.5 * 19.9 * t**2 - 0.1 * t) for t in times.tolist()]).double()
    torch.testing.assert_close(1 / (1 + sigmas**2), kept, rtol=1e-6, atol=0)  # what is left of the data's variance
    single = levels.vp_time(torch.tensor([1e-3], dtype=torch.float32))
    torch.testing.assert_close(single.double(), levels.vp_time(torch.tensor([1e-3]).double()), rtol=1e-3, atol=0)


def test_improved_ddpm_s_levels() -> None:
    table = levels.iddpm_sigmas()
    assert (table.shape, table.dtype) == ((1001,), torch.float64)
    assert bool((table.diff() < 0).all())
    assert float(table[-1]) == 0.0
    kept = torch.sin(torch.pi / 2 * torch.arange(1001, dtype=torch.float64) / 1008) ** 2
    torch.testing.assert_close(1 / (1 + table[1:] ** 2), kept[1:] / kept[-1], rtol=1e-9, atol=0)
    assert float((1 + table[1] ** 2) / (1 + table[0] ** 2)) == pytest.approx(0.001)  # the last step is cut off
    assert float(table[8]) == pytest.approx(80.2, rel=1e-3)  # where EDM starts from, just above 80


def test_levels_of_a_table_are_the_nearest_while_it_is_dense() -> None:
    table = torch.tensor([10.0, 5.0, 4.0, 2.0, 1.0, 0.5])
    assert levels.nearest_levels(torch.tensor([9.0, 4.4, 1.9, 0.6]), table).tolist() == [10.0, 4.0, 2.0, 0.5]
    assert levels.nearest_levels(torch.tensor([4.9]), table).tolist() == [5.0]


@given(steps=st.integers(1, 60), low=st.floats(0.007, 1.0), ratio=st.floats(60.0, 1e4))
def test_levels_of_a_table_are_all_different(steps: int, low: float, ratio: float) -> None:
    table = levels.iddpm_sigmas()[:-1]
    wanted = levels.karras_sigmas(steps, low, low * ratio)[:-1]
    try:
        found = levels.nearest_levels(wanted, table)
    except UsageError as error:
        assert "steps must be at most" in str(error)
        return
    assert bool((found.diff() < 0).all())
    assert bool(torch.isin(found, table).all())
    nearest = table[(wanted[:, None] - table).abs().argmin(dim=1)]
    assert float(found[0]) == float(nearest[0])
    assert float(found[-1]) == float(nearest[-1])
    if len(nearest.unique()) == steps:
        assert torch.equal(found, nearest)


def test_more_levels_than_the_table_has_are_refused() -> None:
    table = torch.tensor([3.0, 2.0, 1.0])
    assert levels.nearest_levels(torch.tensor([3.0, 2.9, 1.0]), table).tolist() == [3.0, 2.0, 1.0]
    with pytest.raises(UsageError, match=r"steps must be at most 2, .* got 3"):
        levels.nearest_levels(torch.tensor([2.0, 1.5, 1.1]), table)
