"""The block operator's closed form against an independent exponential, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from koopstep.core.errors import NumericsError, UsageError
from koopstep.operators.block import BlockConfig, BlockOperator
from koopstep.operators.rates import Rates, advance

CASES = 10_000


def block(shape: tuple[int, ...], **config: object) -> BlockOperator:
    return BlockOperator(BlockConfig.parse(config, "operator"), shape, torch.Generator())


def _random_cases() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    alpha, beta = (6 * torch.rand(2, CASES, generator=generator, dtype=torch.float64) - 3).unbind()
    du = 4 * torch.rand(CASES, generator=generator, dtype=torch.float64) - 2
    return alpha, beta, du, torch.randn(CASES, 2, generator=generator, dtype=torch.float64)


def _advance(state: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor, du: torch.Tensor) -> torch.Tensor:
    """Each case as a row with one pair of channels."""
    rates = Rates(alpha.view(-1, 1, 1, 1), beta.view(-1, 1, 1, 1))
    return advance(state.view(-1, 2, 1, 1), rates, du).view(-1, 2)


def _apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float(((ours - theirs).norm(dim=1) / theirs.norm(dim=1)).max())


def test_the_closed_form_is_the_exponential() -> None:
    alpha, beta, du, state = _random_cases()
    blocks = np.stack([np.stack([alpha, beta], -1), np.stack([-beta, alpha], -1)], -2) * du.numpy()[:, None, None]
    expected = torch.from_numpy(np.einsum("nij,nj->ni", expm(blocks), state.numpy()))
    assert _apart(_advance(state, alpha, beta, du), expected) <= 1e-12


def test_semigroup_and_inverse() -> None:
    alpha, beta, du, state = _random_cases()
    more = du.roll(1)
    twice = _advance(_advance(state, alpha, beta, du), alpha, beta, more)
    assert _apart(twice, _advance(state, alpha, beta, du + more)) <= 1e-12
    assert _apart(_advance(_advance(state, alpha, beta, du), alpha, beta, -du), state) <= 1e-12


@pytest.mark.parametrize("sharing", ["position", "channel", "low_rank", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zero_rates_change_no_bit(sharing: str, dtype: torch.dtype) -> None:
    operator = block((4, 3, 5), sharing=sharing, rank=2)
    latent = (100 * torch.randn(2, 4, 3, 5)).to(dtype)
    for du in (0.0, 1.0, -0.3, torch.tensor([0.2, 1.0])):
        assert torch.equal(operator.evolve(latent, du), latent)
        with torch.no_grad():
            assert torch.equal(operator.eval().evolve(latent, du), latent)


@pytest.mark.parametrize(
    ("sharing", "numbers"), [("position", 4 * 64 * 64), ("channel", 4), ("low_rank", 4 + 64 * 64), ("none", 0)]
)
def test_sizes(sharing: str, numbers: int) -> None:
    operator = block((4, 64, 64), sharing=sharing)
    assert sum(p.numel() for p in operator.parameters()) == numbers


def test_shared_rates_take_any_resolution() -> None:
    operator = block((4, 8, 8), sharing="channel")
    torch.nn.init.normal_(operator.alpha)
    large = torch.randn(2, 4, 16, 12)
    torch.testing.assert_close(operator.evolve(large, 0.7)[:, :, :8, :8], operator.evolve(large[:, :, :8, :8], 0.7))
    with pytest.raises(UsageError, match=r"wanted \(batch, 4, 8, 8\)"):
        block((4, 8, 8)).evolve(large)


def test_low_rank_is_the_sum_of_products() -> None:
    operator = block((4, 3, 5), sharing="low_rank", rank=2)
    torch.nn.init.normal_(operator.channel_factors)
    alpha, beta = operator.rates().alpha, operator.rates().beta
    for which, rates in enumerate((alpha, beta)):
        expected = sum(operator.channel_factors[which, :, r, None, None] * operator.place_factors[r] for r in range(2))
        torch.testing.assert_close(rates, expected)
    assert int(torch.linalg.matrix_rank(alpha.flatten(1))) == 2


@pytest.mark.parametrize("modulation", ["pooled", "local"])
def test_rates_that_look_at_the_state(modulation: str) -> None:
    operator = block((4, 2, 2), modulation=modulation)
    latent = torch.randn(3, 4, 2, 2)
    assert torch.equal(operator.evolve(latent), latent)  # it starts at zero too
    torch.nn.init.normal_(operator.modulation.weight)  # type: ignore[union-attr, arg-type]
    rates = operator.rates(latent)
    assert float(operator.rates(1000 * latent).alpha.detach().abs().max()) <= 1.0
    places = (1, 1) if modulation == "pooled" else (2, 2)
    assert (
        operator.modulation(latent.mean(dim=(2, 3), keepdim=True) if modulation == "pooled" else latent).shape[2:]
        == places
    )  # type: ignore[misc]
    assert rates.alpha.shape == (3, 2, 2, 2)
    half = torch.tensor(0.5)
    held = advance(advance(latent, rates, half), rates, half)
    torch.testing.assert_close(held, operator.evolve(latent, 1.0))  # linear along a step


def test_kept_factors_follow_the_rates() -> None:
    operator = block((2, 1, 1)).eval()
    latent = torch.ones(1, 2, 1, 1)
    with torch.no_grad():
        assert torch.equal(operator.evolve(latent, 1.0), latent)
        operator.alpha.fill_(1.0)
        torch.testing.assert_close(operator.evolve(latent, 1.0), latent * torch.e)
        torch.testing.assert_close(operator.evolve(latent, 0.5), latent * torch.e**0.5)
        assert operator.double().evolve(latent.double(), 1.0).dtype == torch.float64


def test_eigenvalues_are_those_of_the_blocks() -> None:
    operator = block((4, 2, 2))
    for rates in (operator.alpha, operator.beta):
        torch.nn.init.normal_(rates)
    spectrum = operator.spectrum()
    assert spectrum.eigenvalues.shape == (16,) and spectrum.gauge == "free"
    matrix = operator.evolve(torch.eye(16).view(16, 4, 2, 2)).view(16, 16).T
    expected = torch.linalg.eigvals(matrix.detach().double())
    found = sorted(spectrum.eigenvalues.tolist(), key=lambda v: (round(v.real, 4), v.imag))
    wanted = sorted(expected.tolist(), key=lambda v: (round(v.real, 4), v.imag))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    with torch.no_grad():
        operator.beta[0, 0, 0] = torch.nan
    with pytest.raises(NumericsError, match="NaN or infinity"):
        operator.spectrum()


def test_refusals() -> None:
    with pytest.raises(UsageError, match="even number of them, got 3"):
        block((3, 2, 2))
    operator = block((6,))
    assert operator.evolve(torch.ones(2, 6)).shape == (2, 6)
    with pytest.raises(UsageError, match=r"shape \(2, 4\); wanted"):
        operator.evolve(torch.ones(2, 4))
    with pytest.raises(UsageError, match=r"takes levels \(C,\) or \(C, H, W\), got shape \(4, 2\)"):
        block((4, 2))
