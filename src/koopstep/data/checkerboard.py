"""The checkerboard: eight filled squares in the plane, the toy data set of the flow-matching papers.

Geometry. The board is 4 x 4 cells of side ``CELL`` = 1/0.45 = 2.2222, so it covers [-4.4444, 4.4444) in both
coordinates. Column ``c`` counts along the first coordinate and row ``r`` along the second, both 0..3
upwards; the number of a cell is ``4 r + c``. Cells are half open: a lower edge belongs to its cell, an upper
edge to the next.

Which cells are filled. The flow-matching examples draw, with U uniform in [0, 1) and k in {0, 1},
``x1 = 4 U - 2``, ``x2 = U' - 2 k + (floor(x1) mod 2)`` and return ``(x1, x2) / 0.45``. In columns where
floor(x1) is even (c = 0, 2) x2 falls in [0, 1) or [-2, -1), which are rows 2 and 0; where it is odd
(c = 1, 3) in [1, 2) or [-1, 0), rows 3 and 1. So a cell is filled exactly where ``c`` and ``r`` have the same
parity.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.noise import integers, stream_seed
from koopstep.data.cells import Cells

SIDE = 4
"""Cells along each coordinate."""
CELL = 1.0 / 0.45
"""Side of a cell in data units (2.2222)."""
EXTENT = SIDE * CELL / 2
"""The board covers [-EXTENT, EXTENT) in both coordinates (4.4444)."""
FILLED: tuple[bool, ...] = tuple((number // SIDE - number % SIDE) % 2 == 0 for number in range(SIDE * SIDE))
"""For each cell number 0..15: is it filled? Eight of them are."""

_STEPS = 2**20
_FILLED_NUMBERS = tuple(number for number, full in enumerate(FILLED) if full)


def sample(seed: int, indices: int | Sequence[int] | np.ndarray | Tensor) -> Tensor:
    """Draws points of the checkerboard; a point depends on ``(seed, index)`` only.

    Within its cell a point lies on the centres of a 2^20 x 2^20 grid, so that rounding to float32 can never
    carry it over an edge.

    Args:
        seed: The seed; independent of the Gaussian noise with the same seed.
        indices: Which points (any whole numbers >= 0), or a count ``N`` for points 0..N-1.

    Returns:
        float32 (N, 2), uniform over the eight filled cells.

    Raises:
        UsageError: A negative count.
    """
    if isinstance(indices, int):
        if indices < 0:
            raise UsageError(f"checkerboard: cannot draw {indices} points, the count must be 0 or more")
        indices = np.arange(indices, dtype=np.int64)
    cell = torch.tensor(_FILLED_NUMBERS)[integers(_stream(seed, "cell"), indices, len(_FILLED_NUMBERS))]
    corner = torch.stack([cell % SIDE, cell // SIDE], dim=1).to(torch.float64)
    steps = [integers(_stream(seed, axis), indices, _STEPS) for axis in ("first", "second")]
    inside = (torch.stack(steps, dim=1).to(torch.float64) + 0.5) / _STEPS
    return ((corner + inside - SIDE / 2) * CELL).to(torch.float32)


def cell_of(points: Tensor) -> Tensor:
    """Numbers the cell each point lies in.

    Args:
        points: (..., 2) floating point, in data units.

    Returns:
        int64 (...): the cell number 0..15, or -1 outside the board (NaN and infinity included).

    Raises:
        UsageError: The last dimension is not 2.
    """
    if points.ndim < 1 or points.shape[-1] != 2:
        raise UsageError(f"checkerboard: points of shape (..., 2) are needed, got {tuple(points.shape)}")
    grid = torch.floor(points.detach().to(torch.float64) / CELL) + SIDE / 2
    inside = ((grid >= 0) & (grid < SIDE)).all(dim=-1)
    whole = torch.where(inside.unsqueeze(-1), grid, torch.zeros_like(grid)).to(torch.int64)
    return torch.where(inside, SIDE * whole[..., 1] + whole[..., 0], torch.full_like(whole[..., 0], -1))


def filled(points: Tensor) -> Tensor:
    """Tells which points lie in a filled cell.

    Args:
        points: (..., 2) floating point, in data units.

    Returns:
        bool (...); False outside the board.

    Raises:
        UsageError: The last dimension is not 2.
    """
    cells = cell_of(points)
    table = torch.tensor((*FILLED, False), device=cells.device)
    return table[cells]


def _filled_cell(points: Tensor) -> Tensor:
    cells = cell_of(points)
    return torch.where(filled(points), cells, torch.full_like(cells, -1))


def _nearest_cell(points: Tensor) -> Tensor:
    inside = EXTENT * (1 - 1e-6)
    return cell_of(points.clamp(-inside, inside))


CELLS = Cells(
    tuple(
        ((number % SIDE) * CELL - EXTENT, (number // SIDE) * CELL - EXTENT, CELL)
        for number in range(SIDE * SIDE)
        if FILLED[number]
    ),
    _filled_cell,
    _nearest_cell,
)
"""The eight filled cells."""


def _stream(seed: int, purpose: str) -> int:
    return stream_seed("checkerboard", purpose, seed)
