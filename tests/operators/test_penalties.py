"""Penalties on eigenvalues: zeros, orders, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from koopstep.operators.penalties import (
    bound_penalty,
    uniform_target_penalty,
    unit_circle_penalty,
    unit_disk_target,
)


@pytest.mark.parametrize("count", [1, 2, 7, 400])
def test_the_target_is_uniform_in_the_disk_and_closed_under_conjugation(count: int) -> None:
    real, imag = unit_disk_target(count, seed=3)
    assert real.shape == imag.shape == (count,)
    assert float(torch.hypot(real, imag).max()) <= 1
    torch.testing.assert_close(imag.sort().values, (-imag).sort().values)
    if count == 400:
        inside = float((torch.hypot(real, imag) < math.sqrt(0.5)).double().mean())
        assert abs(inside - 0.5) < 0.1  # half of the area
    assert torch.equal(real, unit_disk_target(count, seed=3)[0])
    assert not torch.equal(real, unit_disk_target(count, seed=4)[0])


def test_uniform_target_is_zero_at_the_target_in_any_order() -> None:
    real, imag = unit_disk_target(31, seed=0)
    order = torch.randperm(31, generator=torch.Generator().manual_seed(0))
    assert float(uniform_target_penalty(real[order], imag[order], seed=0)) == 0
    assert float(uniform_target_penalty(real, imag, seed=1)) > 1e-3


def test_uniform_target_measures_a_shift() -> None:
    real, imag = unit_disk_target(31, seed=0)
    for dx, dy in ((0.3, 0.0), (0.0, 0.3), (0.2, -0.1)):
        penalty = float(uniform_target_penalty(real + dx, imag + dy, seed=0))
        assert math.isclose(penalty, dx * dx + dy * dy, rel_tol=1e-9)


def test_uniform_target_is_reached_by_descent() -> None:
    real, imag = (torch.zeros(20).requires_grad_(), torch.linspace(-0.1, 0.1, 20).requires_grad_())
    optimizer = torch.optim.Adam([real, imag], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        loss = uniform_target_penalty(real, imag, seed=0)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 1e-3
    target = torch.complex(*unit_disk_target(20, seed=0))
    reached = torch.complex(real.detach().double(), imag.detach().double())
    assert float((target[:, None] - reached[None]).abs().min(dim=1).values.max()) < 0.15


def test_circle_and_bound_by_hand() -> None:
    real, imag = torch.tensor([0.0, 2.0, 0.0, 0.6]).double(), torch.tensor([1.0, 0.0, 0.0, 0.8]).double()
    assert math.isclose(float(unit_circle_penalty(real, imag)), 0.5)
    assert math.isclose(float(bound_penalty(real, imag)), 0.25)
    assert float(bound_penalty(0.1 * real, imag)) == 0


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    imag = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r, i: uniform_target_penalty(r, i, 0), (real, imag))
    assert torch.autograd.gradcheck(unit_circle_penalty, (real, imag))
    assert torch.autograd.gradcheck(bound_penalty, (real, imag))
    zero = torch.zeros(3, requires_grad=True)
    unit_circle_penalty(zero, zero).backward()
    assert zero.grad is not None
    assert bool(torch.isfinite(zero.grad).all())


def test_float32_and_device_follow_the_eigenvalues() -> None:
    real, imag = torch.rand(5), torch.rand(5)
    assert uniform_target_penalty(real, imag, 0).dtype == torch.float32
