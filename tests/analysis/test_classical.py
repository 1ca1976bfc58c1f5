"""EDMD, exact DMD and ResDMD on linear systems whose eigenvalues are known, and against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from koopstep.analysis.classical import (
    edmd,
    exact_dmd,
    hausdorff,
    matched,
    principal,
    pseudospectrum,
    residuals,
    wasserstein,
)

ANGLE = 0.3
TRUE = torch.tensor([0.9 * math.e ** (1j * ANGLE), 0.9 * math.e ** (-1j * ANGLE), 0.5], dtype=torch.complex128)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def linear_system(rows: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """States (rows, 3), the same one step later, and the matrix, which acts from the right and has the eigenvalues `TRUE`."""
    turn = torch.tensor([[math.cos(ANGLE), math.sin(ANGLE)], [-math.sin(ANGLE), math.cos(ANGLE)]], dtype=torch.float64)
    block = torch.block_diag(0.9 * turn, torch.tensor([[0.5]], dtype=torch.float64))
    basis = torch.randn(3, 3, generator=seeded(), dtype=torch.float64)
    matrix = torch.linalg.inv(basis) @ block @ basis
    x = torch.randn(rows, 3, generator=seeded(), dtype=torch.float64)
    return x, x @ matrix, matrix


def bent(x: Tensor, y: Tensor) -> Tensor:
    """A step that is not quite linear."""
    return y + 0.1 * x.square()


def test_edmd_finds_the_map_of_a_linear_system() -> None:
    x, y, matrix = linear_system()
    found = edmd(x, y)
    torch.testing.assert_close(found, matrix)
    eigenvalues, vectors = torch.linalg.eig(found)
    assert hausdorff(eigenvalues, TRUE) < 1e-9
    assert float(residuals(x, y, eigenvalues, vectors).max()) < 1e-9


def test_exact_dmd_finds_eigenvalues_and_forecasts() -> None:
    x, y, matrix = linear_system()
    found = exact_dmd(x, y, rank=3)
    assert hausdorff(found.eigenvalues, TRUE) < 1e-9
    torch.testing.assert_close(found.forecast(x, 4), x @ torch.linalg.matrix_power(matrix, 4))
    assert exact_dmd(x, y, rank=2).modes.shape == (2, 3)


def test_the_residual_is_that_of_its_definition() -> None:
    """Colbrook and Townsend define it by the matrices G = X* W X, A = X* W Y and L = Y* W Y of the quadrature."""
    x, y, _ = linear_system()
    y = bent(x, y)
    eigenvalues, vectors = torch.linalg.eig(edmd(x, y))
    found = residuals(x, y, eigenvalues, vectors)
    weights = torch.full((len(x), 1), 1 / len(x), dtype=torch.float64)
    gram, across, later = ((a.T @ (weights * b)).to(torch.complex128) for a, b in ((x, x), (x, y), (y, y)))
    for index, value in enumerate(eigenvalues):
        g = vectors[:, index]
        top = g.conj() @ (later - value * across.mH - value.conj() * across + value.abs() ** 2 * gram) @ g
        assert float(found[index]) == pytest.approx(float((top.real / (g.conj() @ gram @ g).real).sqrt()), rel=1e-6)
    assert float(found.min()) > 0.01


def test_the_pseudospectrum_is_the_smallest_residual_of_any_combination() -> None:
    x, y, _ = linear_system()
    y = bent(x, y)
    grid = torch.tensor([0.2 + 0.1j, 0.9 + 0.3j, 1.2 - 0.4j], dtype=torch.complex128)
    smallest = pseudospectrum(x, y, grid)
    tried = torch.randn(3, 20_000, generator=seeded(), dtype=torch.complex128)
    for point, least in zip(grid, smallest, strict=True):
        found = residuals(x, y, point.expand(tried.shape[1]), tried)
        assert float(least) <= float(found.min()) <= 1.1 * float(least) + 0.02
    exact = linear_system()
    assert float(pseudospectrum(exact[0], exact[1], TRUE).max()) < 1e-7
    doubled = torch.cat([x, x], dim=1), torch.cat([y, y], dim=1)  # observables that say the same twice change nothing
    torch.testing.assert_close(pseudospectrum(*doubled, grid), smallest)


def test_principal_directions_and_condition() -> None:
    data = torch.randn(200, 3, generator=seeded(), dtype=torch.float64) * torch.tensor([10.0, 1.0, 0.1])
    found = principal(data, most=2)
    assert found.directions.shape == (3, 2) and found.rank == 1
    assert found.condition == pytest.approx(float(torch.linalg.cond(data)), rel=1e-6)
    torch.testing.assert_close(found.directions.T @ found.directions, torch.eye(2, dtype=torch.float64))
    wide = data[:20] @ torch.randn(3, 50, generator=seeded(), dtype=torch.float64)
    assert principal(wide, most=9).directions.shape == (50, 3)  # no more than there are
    torch.testing.assert_close(principal(wide, 3).sizes[:3], torch.linalg.svdvals(wide)[:3])


def test_distances_of_spectra() -> None:
    one, other = torch.tensor([0.0, 1.0, 1j]), torch.tensor([1j + 0.1, 0.0, 1.0])
    assert hausdorff(one, other) == pytest.approx(0.1) == hausdorff(other, one)
    assert wasserstein(one, other) == pytest.approx(0.1 / 3)
    rows, columns = matched(one, other)
    assert columns[rows.argsort()].tolist() == [1, 2, 0]
