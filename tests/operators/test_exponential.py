"""The exponentials against independent ones: mpmath with 40 digits, scipy, and their own laws."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm as scipy_expm
from torch import Tensor

from koopstep.operators.exponential import (
    expm,
    expm_with_integral,
    rotation,
    rotation_integral,
)

# the norms at which the algorithm behind torch.matrix_exp changes lie at 0.005, 0.05, 0.2, 0.6, 1.1 and 3.9
NORMS = [
    1e-6,
    1e-3,
    0.004,
    0.02,
    0.04,
    0.06,
    0.1,
    0.25,
    0.4,
    0.499,
    0.501,
    0.59,
    0.7,
    1.0,
    1.2,
    3.0,
    5.0,
    20.0,
]


def random_matrix(seed: int, size: int, norm: float, dtype: torch.dtype = torch.float64) -> Tensor:
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (matrix * (norm / torch.linalg.matrix_norm(matrix, 1))).to(dtype)


def precise(matrix: Tensor) -> Tensor:
    with mpmath.workdps(40):
        result = mpmath.expm(mpmath.matrix(matrix.double().tolist()))
        rows = [[float(result[i, j]) for j in range(result.cols)] for i in range(result.rows)]
    return torch.tensor(rows, dtype=torch.float64)


def relative(got: Tensor, wanted: Tensor) -> float:
    return float((got.double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(("theta", "dtype", "tolerance"), [(0.5, torch.float32, 2e-7), (0.04, torch.float64, 1e-15)])
def test_single_small_rotation(theta: float, dtype: torch.dtype, tolerance: float) -> None:
    """Regression for pytorch#196592: torch.matrix_exp of one such matrix is off by 5e-5 and 2e-10."""
    matrix = torch.tensor([[0, theta], [-theta, 0]], dtype=dtype)
    cosine, sine = math.cos(theta), math.sin(theta)
    wanted = torch.tensor([[cosine, sine], [-sine, cosine]], dtype=torch.float64)
    for got in (expm(matrix), expm(matrix[None])[0], expm(matrix.expand(3, 2, 2))[1]):
        # the entries of the input are themselves rounded
        assert float((got.double() - wanted).abs().max()) < tolerance


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_against_forty_digits(norm: float, size: int) -> None:
    for seed in range(2):
        matrix = random_matrix(seed, size, norm)
        assert relative(expm(matrix), precise(matrix)) < 1e-13 * max(1, norm)
        single = matrix.float()
        assert relative(expm(single), precise(single)) < 1e-6 * max(1, norm)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 24),
    exponents=st.lists(st.floats(-6, math.log10(20)), min_size=1, max_size=3),
    skew=st.booleans(),
)
def test_batched_is_single(seed: int, size: int, exponents: list[float], skew: bool) -> None:
    matrices = [random_matrix(seed + i, size, 10**exponent) for i, exponent in enumerate(exponents)]
    if skew:
        matrices = [(matrix - matrix.T) / 2 for matrix in matrices]
    batch = torch.stack(matrices)
    together, alone = expm(batch), torch.stack([expm(matrix) for matrix in matrices])
    torch.testing.assert_close(together, alone, rtol=1e-13, atol=1e-13)
    for matrix, got in zip(matrices, together, strict=True):
        norm = max(1.0, float(torch.linalg.matrix_norm(matrix, 1)))
        assert relative(got, torch.from_numpy(np.asarray(scipy_expm(matrix.numpy())))) < 1e-12 * norm
        inverse = got @ expm(-matrix) - torch.eye(size, dtype=torch.float64)
        assert float(inverse.abs().max()) < 1e-12 * norm * float(got.norm() * expm(-matrix).norm())
    single = expm(batch.float())
    assert relative(single, together) < 5e-6 * max(1, 10 ** max(exponents))


def test_mean_over_the_way_is_the_augmented_exponential() -> None:
    """exp of [[A, I], [0, 0]] holds the integral of exp(sA) in its corner (Van Loan 1978)."""
    for norm in NORMS:
        matrix = random_matrix(3, 4, norm)
        augmented = torch.zeros(8, 8, dtype=torch.float64)
        augmented[:4, :4], augmented[:4, 4:] = matrix, torch.eye(4)
        exponential, integral = expm_with_integral(matrix)
        wanted = precise(augmented)
        assert relative(exponential, wanted[:4, :4]) < 1e-13 * max(1, norm)
        assert relative(integral, wanted[:4, 4:]) < 1e-13 * max(1, norm)


def test_edges() -> None:
    assert torch.equal(expm(torch.zeros(3, 3)), torch.eye(3))
    assert expm(torch.zeros(0, 3, 3)).shape == (0, 3, 3)
    assert expm(torch.zeros(2, 3, 4, 4)).shape == (2, 3, 4, 4)
    assert bool(torch.isnan(expm(torch.full((2, 2), math.nan))).all())
    assert not bool(torch.isfinite(expm(torch.full((2, 2), math.inf))).any())
    assert expm(torch.eye(2, dtype=torch.bfloat16)).dtype == torch.bfloat16
    nilpotent = torch.tensor([[0.0, 1e-8], [0.0, 0.0]])
    assert torch.equal(expm(nilpotent), torch.eye(2) + nilpotent)


@pytest.mark.parametrize("norm", [0.0, 1e-3, 0.3, 0.8, 4.0])
def test_gradients(norm: float) -> None:
    matrix = random_matrix(1, 3, norm).requires_grad_()
    assert torch.autograd.gradcheck(expm, (matrix,))
    assert torch.autograd.gradgradcheck(expm, (matrix,))
    assert torch.autograd.gradcheck(expm_with_integral, (matrix,))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    alpha=st.floats(-3, 3),
    beta=st.floats(-9, 9),
    du=st.floats(-2, 2),
    scale=st.sampled_from([1.0, 1e-4, 1e-9]),
)
def test_block_closed_form(alpha: float, beta: float, du: float, scale: float) -> None:
    a, b = torch.tensor(alpha * scale).double(), torch.tensor(beta * scale).double()
    generator = torch.stack([torch.stack([a, b]), torch.stack([-b, a])])
    exponential, integral = expm_with_integral(generator * du)
    step = torch.tensor(du, dtype=torch.float64)
    whole, half = as_block(*rotation(a, b, step)), as_block(*rotation(a, b, step / 2))
    torch.testing.assert_close(whole, exponential, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(as_block(*rotation_integral(a, b, step)), du * integral, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(half @ half, whole, rtol=1e-13, atol=1e-14)


def as_block(cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """[[cosine, sine], [-sine, cosine]]."""
    return torch.stack([torch.stack([cosine, sine]), torch.stack([-sine, cosine])])


def test_block_integral_near_zero() -> None:
    zero = torch.zeros(2, dtype=torch.float64)
    cosine, sine = rotation_integral(zero, zero, torch.tensor(0.7, dtype=torch.float64))
    assert torch.equal(as_block(cosine[0], sine[0]), 0.7 * torch.eye(2, dtype=torch.float64))
    one = torch.ones((), dtype=torch.float64)
    for size in (1e-30, 1e-12, 1e-3, 0.35, 0.36, 3.0):  # |z| = 0.5 lies between the two in the middle
        real, imag = rotation_integral(size * one, size * one, one)
        with mpmath.workdps(80):
            z = mpmath.mpc(size, size)
            wanted = mpmath.expm1(z) / z
        assert math.isclose(float(real), float(wanted.real), rel_tol=1e-14)
        assert math.isclose(float(imag), float(wanted.imag), rel_tol=1e-14)
    for start in (0.0, 1e-9, 0.3, 0.6):
        inputs = tuple(torch.full((2,), start * f, dtype=torch.float64, requires_grad=True) for f in (1.0, 0.7))
        step = torch.tensor([0.8, 0.9], dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(rotation_integral, (*inputs, step))
        assert torch.autograd.gradcheck(rotation, (*inputs, step))
