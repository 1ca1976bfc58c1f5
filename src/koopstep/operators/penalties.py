"""Penalties on eigenvalues: pure functions of their real and imaginary parts, in any order.

They act on what `Operator.controlled_eigenvalues` gives. For KDM-F those are the lifted ones, which are not
the eigenvalues of the map applied.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_DIRECTIONS = 16


def unit_disk_target(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns a fixed sample of the unit disk, uniform by area and closed under conjugation.

    Closed, since the spectrum of a real map is: a target without that could not be reached. An odd count has
        one
    point on the real axis.

    Args:
        count: number of points.
        seed: names the sample; the same on every machine.

    Returns:
        Real and imaginary parts, float64, shape (count,) each, on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    half = count // 2
    radius = torch.sqrt(torch.rand(half + 1, generator=generator, dtype=torch.float64))
    angle = math.pi * torch.rand(half + 1, generator=generator, dtype=torch.float64)
    real, imag = (radius * torch.cos(angle))[:half], (radius * torch.sin(angle))[:half]
    single = (radius * torch.sign(torch.cos(angle)))[half:][: count % 2]
    return torch.cat([real, real, single]), torch.cat([imag, -imag, torch.zeros_like(single)])


def uniform_target_penalty(real: Tensor, imag: Tensor, seed: int) -> Tensor:
    """Returns the squared distance of the eigenvalues to a fixed uniform sample of the unit disk, a scalar.

    Both sets are projected on 16 directions evenly spread over a half turn, sorted there, and compared in
        order: the sliced
    Wasserstein distance. It does not depend on the order of the eigenvalues, needs no eigendecomposition and
    no assignment, and is zero when the sets agree. Twice the mean over directions is taken, which is the mean
    |distance|^2 for a shift. The published code pairs unsorted eigenvalues with targets by index.

    Args:
        real: real parts, shape (d,).
        imag: imaginary parts, shape (d,).
        seed: names the target sample.
    """
    target_real, target_imag = unit_disk_target(real.shape[0], seed)
    angles = torch.arange(_DIRECTIONS, dtype=torch.float64) * (math.pi / _DIRECTIONS)
    cosine, sine = torch.cos(angles)[:, None], torch.sin(angles)[:, None]
    target = (cosine * target_real + sine * target_imag).sort(dim=1).values.to(real)
    placed = (cosine.to(real) * real + sine.to(real) * imag).sort(dim=1).values
    return 2 * (placed - target).square().mean()


def unit_circle_penalty(real: Tensor, imag: Tensor) -> Tensor:
    """Returns mean (|lambda| - 1)^2, the squared distance to the unit circle, a scalar.

    The published code measures the distance to the point 1 instead. At lambda = 0, which has no nearest
    point, the gradient is zero.
    """
    return (_modulus(real, imag) - 1).square().mean()


def bound_penalty(real: Tensor, imag: Tensor) -> Tensor:
    """Returns mean relu(|lambda| - 1)^2, a scalar: zero for every map that does not expand."""
    return torch.relu(_modulus(real, imag) - 1).square().mean()


def _modulus(real: Tensor, imag: Tensor) -> Tensor:
    square = real.square() + imag.square()
    zero = square == 0  # the root has no gradient there; 0 is taken
    return torch.where(zero, 0.0, torch.sqrt(torch.where(zero, 1.0, square)))
