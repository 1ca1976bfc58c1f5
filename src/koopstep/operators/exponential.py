"""Matrix exponentials: a dense one that holds for every norm, and the closed form of a 2x2 block.

Own scaling and squaring rather than `torch.matrix_exp`: that one is wrong for a single matrix of small norm
(pytorch#196592, degree-8 path: 5e-5 off in float32, 2e-10 in float64), which is the very case of a Koopman
generator, and its gradient costs an exponential of twice the size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SCALED_NORM = 0.5  # the series below reaches rounding error for every matrix of at most this 1-norm
_MOST_HALVINGS = 64  # a larger norm overflows any float; the bound only keeps the loop finite
_NEAR_ZERO = 0.5  # |z| under which (e^z - 1)/z is summed as a series
_SERIES_TERMS = 16


def expm(matrix: Tensor) -> Tensor:
    """Returns the exponential of square matrices, differentiable any number of times.

    Scaling, a Taylor series (Paterson-Stockmeyer) and squaring; each matrix of a batch is scaled by its own
    norm, so a result does not depend on what else is in the batch. Autocast does not apply inside.

    Args:
        matrix: shape (..., d, d), float32 or float64 (half types are computed in float32).

    Returns:
        Shape (..., d, d), the dtype of `matrix`.
    """
    return _scale_and_square(matrix, with_integral=False)[0]


def expm_with_integral(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Returns exp(A) and its mean over the way, the integral of exp(sA) for s from 0 to 1.

    The second is phi_1(A) = sum A^k / (k+1)!, so the integral of exp(sA) from 0 to h is h * phi_1(hA): what
    an affine generator dz/du = Az + b adds. No inverse of A is taken; singular generators are fine.

    Args:
        matrix: shape (..., d, d), float32 or float64 (half types are computed in float32).

    Returns:
        Two tensors of shape (..., d, d), the dtype of `matrix`.
    """
    exponential, integral = _scale_and_square(matrix, with_integral=True)
    return exponential, integral


def _scale_and_square(matrix: Tensor, *, with_integral: bool) -> tuple[Tensor, Tensor]:
    with torch.autocast(device_type=matrix.device.type, enabled=False):
        work = matrix if matrix.dtype == torch.float64 else matrix.float()
        halvings = _halvings(work)
        scaled = work * torch.exp2(-halvings)[..., None, None]
        if with_integral:
            integral = _series(scaled, shift=1)
            exponential = _eye_like(scaled) + scaled @ integral
        else:
            exponential = integral = _series(scaled, shift=0)
        most = int(halvings.max()) if halvings.numel() else 0
        for step in range(most):
            active = (step < halvings)[..., None, None]
            if with_integral:  # phi_1(2X) = (phi_1(X) + phi_1(X) e^X) / 2
                integral = torch.where(active, (integral + integral @ exponential) / 2, integral)
            exponential = torch.where(active, exponential @ exponential, exponential)
        return exponential.to(matrix.dtype), integral.to(matrix.dtype)


def _halvings(matrix: Tensor) -> Tensor:
    """How often each matrix is halved to bring its 1-norm under `_SCALED_NORM`; 0 where it is not finite."""
    norm = matrix.detach().abs().sum(dim=-2).amax(dim=-1)
    halvings = torch.log2(norm / _SCALED_NORM).ceil()
    return torch.nan_to_num(halvings, nan=0.0, posinf=0.0, neginf=0.0).clamp(0, _MOST_HALVINGS)


def _series(matrix: Tensor, *, shift: int) -> Tensor:
    """Sums matrix^k / (k + shift)! over k < width^2: 16 terms in float64, 9 in float32."""
    width = 4 if matrix.dtype == torch.float64 else 3
    powers = [_eye_like(matrix), matrix]
    while len(powers) <= width:
        powers.append(powers[-1] @ matrix)
    total: Tensor | None = None
    for block in reversed(range(width)):
        part = sum(
            (powers[k] / math.factorial(block * width + k + shift) for k in range(1, width)),
            start=powers[0] / math.factorial(block * width + shift),
        )
        total = part if total is None else part + powers[width] @ total
    if total is None:
        raise ValueError("a series has at least one block")
    return total


def _eye_like(matrix: Tensor) -> Tensor:
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return eye.expand_as(matrix)


def rotation(alpha: Tensor, beta: Tensor, du: Tensor) -> tuple[Tensor, Tensor]:
    """Returns e^{alpha du} cos(beta du) and e^{alpha du} sin(beta du), the entries of one 2x2 block.

    Args:
        alpha: growth rates per unit of u, any shape.
        beta: angular frequencies in radians per unit of u, broadcastable to `alpha`.
        du: steps, broadcastable to both.
    """
    growth = torch.exp(alpha * du)
    return growth * torch.cos(beta * du), growth * torch.sin(beta * du)


def rotation_integral(alpha: Tensor, beta: Tensor, du: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the integrals over s in [0, du] of e^{alpha s} cos(beta s) and e^{alpha s} sin(beta s).

    They are the real and imaginary part of du (e^z - 1)/z with z = (alpha + i beta) du. Exact at z = 0, and
    with finite gradients there: near zero a series is summed, elsewhere e^z - 1 is formed without
        cancellation.
    """
    x, y = alpha * du, beta * du
    square = x * x + y * y
    near = square < _NEAR_ZERO**2
    # where() multiplies the gradient of the branch not taken by zero, so that branch must stay finite: it
    # gets z = 1
    far_x, far_y = torch.where(near, 1.0, x), torch.where(near, 0.0, y)
    far_square = far_x * far_x + far_y * far_y
    real = torch.expm1(far_x) * torch.cos(far_y) - 2 * torch.sin(far_y / 2) ** 2
    imag = torch.exp(far_x) * torch.sin(far_y)
    quotient_real = (real * far_x + imag * far_y) / far_square
    quotient_imag = (imag * far_x - real * far_y) / far_square
    near_x, near_y = torch.where(near, x, 0.0), torch.where(near, y, 0.0)
    series_real = torch.full_like(near_x, 1 / math.factorial(_SERIES_TERMS))
    series_imag = torch.zeros_like(near_y)
    for order in reversed(range(1, _SERIES_TERMS)):
        series_real, series_imag = (
            series_real * near_x - series_imag * near_y + 1 / math.factorial(order),
            series_real * near_y + series_imag * near_x,
        )
    return (
        du * torch.where(near, series_real, quotient_real),
        du * torch.where(near, series_imag, quotient_imag),
    )
