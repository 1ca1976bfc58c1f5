"""The parts of the plane that a data set fills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Square = tuple[float, float, float]
"""Lower left corner and side, in data units."""


@dataclass(frozen=True)
class Cells:
    """The numbered parts of a data set in the plane: what its own metric counts and its colours go by.

    Attributes:
        squares: those that the data fills.
        filled: points (N, 2) -> int64 (N,), the number of the filled cell that each lies in; -1 for none.
        nearest: points (N, 2) -> int64 (N,), the number of the cell that each lies in or is nearest to, filled or not.
    """

    squares: tuple[Square, ...]
    filled: Callable[[Tensor], Tensor]
    nearest: Callable[[Tensor], Tensor]
