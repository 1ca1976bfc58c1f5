"""What is to be seen of residuals: eigenvalues of one step in the plane, over the pseudospectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LevelPlane:
    """A level's eigenvalues of a step, in the upper half of the plane.

    Attributes:
        name: of the level.
        eigenvalues: complex (n,), the learned ones.
        residual: (n,), of each.
        passed: bool (n,).
        fitted: complex (m,), those of a fresh EDMD fit.
        grid: complex (A * U,): A real parts, U imaginary ones of each.
        smallest: (A * U,), the smallest residual at each.
        shape: (A, U).
    """

    name: str
    eigenvalues: Tensor
    residual: Tensor
    passed: Tensor
    fitted: Tensor
    grid: Tensor
    smallest: Tensor
    shape: tuple[int, int]


@dataclass(frozen=True)
class ResidualPlanes:
    """Panels of levels.

    Attributes:
        file: name of the picture.
        levels: one a panel.
        threshold: residuals up to it may pass.
        title: over everything.
    """

    file: str
    levels: Sequence[LevelPlane]
    threshold: float
    title: str = ""
