"""One look for all figures: colours, fonts and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from koopstep.data.cells import Cells, Square

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

DPI = 150
INK, FAINT, PALE = "#222222", "#B8B8B8", "#EFEFEC"
# Paul Tol's "muted" scheme and a grey: apart for all common kinds of colour blindness, readable on white
CATEGORIES = (
    "#332288",
    "#CC6677",
    "#117733",
    "#88CCEE",
    "#882255",
    "#DDCC77",
    "#44AA99",
    "#AA4499",
    "#999933",
    "#6B6B6B",
)
# Okabe and Ito's scheme, for lines
LINES = ("#222222", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
LESS, MORE = "#2166AB", "#B2172B"
"""What is below and above nothing, on white."""

SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": "#E3E3E0",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.1,
    "text.color": INK,
}


def array(values: Tensor | np.ndarray) -> np.ndarray:
    """Returns a NumPy array on the CPU of a tensor or an array."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def rgb(colour: str) -> np.ndarray:
    """``#RRGGBB`` as three numbers in [0, 1]."""
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255


def colours_of(outcomes: Tensor | np.ndarray, cells: Cells | None = None) -> np.ndarray:
    """The colour (N,) of each outcome (N,), a whole number; light grey where it is negative: no outcome.

    One table for every figure. Without ``cells`` a number's colour is its own. Of numbers of cells the filled ones take the
    first colours, in the order of ``cells.squares``; all others are paler.
    """
    numbers = array(outcomes).astype(int)
    places = {} if cells is None else _places(cells)
    beyond = 0 if cells is None else len(CATEGORIES)
    table = {int(one): _shade(places.get(int(one), beyond + int(one))) for one in np.unique(numbers) if one >= 0}
    return np.array([table.get(int(number), FAINT) for number in numbers], dtype=object)


def _places(cells: Cells) -> dict[int, int]:
    """The number of each filled cell -> its place among them."""
    middles = torch.tensor([[x + side / 2, y + side / 2] for x, y, side in cells.squares])
    return {int(number): place for place, number in enumerate(cells.filled(middles))}


def _shade(index: int) -> str:
    """The colours, then paler and paler rounds of them."""
    colour, paleness = CATEGORIES[index % len(CATEGORIES)], min(0.8, 0.55 * (index // len(CATEGORIES)))
    channels = 255 * (1 - (1 - rgb(colour)) * (1 - paleness))
    return "#" + "".join(f"{round(value):02X}" for value in channels)


def in_order(count: int) -> list[str]:
    """Colours for things that have an order, from dark to light; all readable on white."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](0.85 * index / max(count - 1, 1))).upper() for index in range(count)]


def cyclic() -> Colormap:
    """Colours for angles: the ends meet. Twilight, darkened so that no angle is lost on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    table = colormaps["twilight"](np.linspace(0, 1, 256))
    table[:, :3] *= 0.85
    return ListedColormap(table, name="angles")


def two_sided() -> Colormap:
    """Colours for numbers around nothing: blue is less, white nothing, red more; to be used with limits that are symmetric."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("less and more", [LESS, "#FFFFFF", MORE])


def amounts() -> Colormap:
    """Colours for numbers from 0 up: white is nothing, blue most."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("amounts", ["#FFFFFF", LINES[1]])


def reach_of(points: np.ndarray, squares: Sequence[Square]) -> float:
    """Half width of a window around 0 that holds the cells and all but the farthest points (N, 2)."""
    board = max((max(abs(x), abs(y), abs(x + s), abs(y + s)) for x, y, s in squares), default=0.0)
    finite = points[np.isfinite(points).all(axis=1)]
    spread = float(np.quantile(np.abs(finite), 0.999)) if len(finite) else 1.0
    return 1.06 * max(board, min(spread, 1.5 * board) if board else spread, 1e-6)


def plane(axes: Axes, reach: float, title: str) -> None:
    """Makes axes a square window [-reach, reach]^2 with equal scales and few ticks."""
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    ticks = [-int(reach), 0, int(reach)]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.set_title(title)
