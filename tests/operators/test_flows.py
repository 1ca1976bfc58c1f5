"""The continuous operators against an independent exponential of their generator."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag
from scipy.linalg import expm as scipy_expm

from koopstep.core.errors import NumericsError, UsageError
from koopstep.operators.dense import DenseConfig, DenseOperator
from koopstep.operators.identity import IdentityConfig
from koopstep.operators.spectral import SpectralConfig, SpectralOperator
from koopstep.operators.table import build_operator


def augmented_flow(generator: np.ndarray, drive: np.ndarray, start: np.ndarray, du: float) -> np.ndarray:
    """Solves dz/du = A z + drive from `start` with one exponential of size d + 1."""
    size = len(generator)
    whole = np.zeros((size + 1, size + 1))
    whole[:size, :size], whole[:size, size] = generator, drive
    return np.asarray(scipy_expm(du * whole) @ np.append(start, 1.0))[:size]


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("du", [-0.6, 0.05, 1.0, 2.0])
@pytest.mark.parametrize("affine", [False, True])
def test_dense_flow(du: float, affine: bool) -> None:
    config = DenseConfig(continuous=True, affine=affine, init="default")
    operator = build_operator(config, (5,), seed=1).double()
    assert isinstance(operator, DenseOperator)
    latent, condition = numbers(3, 5), numbers(3, 5, seed=1)
    bias = np.zeros(5) if operator.offset is None else operator.offset.detach().numpy()
    got = operator.evolve(latent, du, condition).detach().numpy()
    for row in range(3):
        drive = bias + condition[row].numpy()
        wanted = augmented_flow(operator.weight.detach().numpy(), drive, latent[row].numpy(), du)
        np.testing.assert_allclose(got[row], wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("du", [-0.6, 0.05, 1.0, 2.0])
@pytest.mark.parametrize("dimension", [1, 4, 5])
@pytest.mark.parametrize("orthogonal", [False, True])
def test_spectral_flow(du: float, dimension: int, orthogonal: bool) -> None:
    config = SpectralConfig(orthogonal=orthogonal, initial_rate=-0.4, initial_frequency=3.0)
    operator = build_operator(config, (dimension,), seed=1).double()
    assert isinstance(operator, SpectralOperator)
    with torch.no_grad():
        operator.basis_weight.add_(0.1 * numbers(dimension, dimension, seed=5))
        operator.rate_weight.add_(0.3 * numbers(len(operator.rate_weight), seed=6))
    rates, basis = operator.growth().detach().numpy(), operator.basis().detach().numpy()
    blocks = [np.array([[a, b], [-b, a]]) for a, b in zip(rates, operator.frequency.detach().numpy(), strict=False)]
    blocks += [np.array([[rates[-1]]])] if dimension % 2 else []
    generator = basis @ block_diag(*blocks) @ np.linalg.inv(basis)
    latent, condition = numbers(3, dimension), numbers(3, dimension, seed=1)
    got = operator.evolve(latent, du, condition).detach().numpy()
    for row in range(3):
        wanted = augmented_flow(generator, condition[row].numpy(), latent[row].numpy(), du)
        np.testing.assert_allclose(got[row], wanted, rtol=1e-10, atol=1e-11)
    if orthogonal:
        np.testing.assert_allclose(basis.T @ basis, np.eye(dimension), atol=1e-13)


def test_identity_flow() -> None:
    operator = build_operator(IdentityConfig(), (4,), seed=0)
    latent, condition = numbers(3, 4), numbers(3, 4, seed=1)
    torch.testing.assert_close(operator.evolve(latent, 0.3, condition), latent + 0.3 * condition)
    assert operator.state_dict() == {}


def test_zero_generator_adds_the_drive() -> None:
    """A singular generator: phi(du) = du I, no inverse of A is taken."""
    operator = build_operator(DenseConfig(continuous=True), (4,), seed=0).double()
    latent, condition = numbers(3, 4), numbers(3, 4, seed=1)
    torch.testing.assert_close(operator.evolve(latent, 0.3, condition), latent + 0.3 * condition)


@pytest.mark.parametrize("orthogonal", [False, True])
def test_stable_stays_inside_the_circle_in_training(orthogonal: bool) -> None:
    """Pushed outwards on purpose for 200 steps, no eigenvalue leaves the unit disk; P stays orthogonal."""
    operator = build_operator(SpectralConfig(orthogonal=orthogonal), (6,), seed=2)
    optimizer = torch.optim.Adam(operator.parameters(), lr=0.1)
    latent = numbers(8, 6).float()
    for _ in range(200):
        loss = -operator.evolve(latent).square().mean() if orthogonal else -sum(operator.controlled_eigenvalues()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(operator.spectrum().modulus().max()) <= 1.0
    assert isinstance(operator, SpectralOperator)
    if orthogonal:
        basis = operator.basis().detach()
        assert float((basis.T @ basis - torch.eye(6)).abs().max()) < 1e-6


def test_starts() -> None:
    for config in (DenseConfig(), DenseConfig(continuous=True), DenseConfig(affine=True)):
        assert torch.equal(build_operator(config, (5,), seed=0).matrix().detach(), torch.eye(5))
    spectrum = build_operator(SpectralConfig(initial_rate=-0.2, initial_frequency=0.0), (5,), seed=0).spectrum()
    torch.testing.assert_close(spectrum.modulus(), torch.full((5,), math.exp(-0.2), dtype=torch.float64))
    with pytest.raises(UsageError, match="starts below 0"):
        build_operator(SpectralConfig(initial_rate=0.0), (5,), seed=0)


def test_singular_basis_is_explained() -> None:
    operator = build_operator(SpectralConfig(), (4,), seed=0)
    with torch.no_grad():
        operator.get_parameter("basis_weight").zero_()
    with pytest.raises(NumericsError, match="orthogonal: true"):
        operator.evolve(torch.zeros(2, 4))
