"""Points in the plane: samples, noise by what it becomes, outliers. Each function writes one PNG and returns its path.

Outcomes are whole numbers, a cell or a class; a negative one means none and is drawn in grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from koopstep.analysis.projection import held_out_view
from koopstep.core.errors import UsageError
from koopstep.data.checkerboard import CELL, EXTENT, FILLED, SIDE
from koopstep.figures.style import (
    CATEGORIES,
    FAINT,
    INK,
    PALE,
    array,
    colours_of,
    figure,
    palette,
    plane,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Square = tuple[float, float, float]
"""Lower left corner and side, in data units."""
_MOST_POINTS = 20_000
_MOST_IN_CLOUD = 4000


def checkerboard_squares() -> list[Square]:
    """Returns the eight filled cells of the checkerboard."""
    return [
        ((number % SIDE) * CELL - EXTENT, (number // SIDE) * CELL - EXTENT, CELL)
        for number in range(SIDE * SIDE)
        if FILLED[number]
    ]


def paired_scatter(
    path: Path,
    teacher: Tensor | np.ndarray,
    student: Tensor | np.ndarray,
    *,
    outcomes: Tensor | np.ndarray | None = None,
    squares: Sequence[Square] = (),
    titles: tuple[str, str] = ("teacher", "student"),
) -> Path:
    """Draws points of teacher and student from the same noise side by side.

    Args:
        path: of the PNG.
        teacher: (N, 2) in data units.
        student: (N, 2), row by row from the same noise.
        outcomes: int (N,), the teacher's; they colour both panels, so colours mix where the student differs.
        squares: cells drawn behind the points.
        titles: of the panels.
    """
    left, right = _points(teacher), _points(student)
    if left.shape != right.shape:
        raise UsageError(f"figure: teacher has shape {left.shape}, student {right.shape}; give pairs")
    shown = _thin(len(left))
    if outcomes is None:
        colours = np.full(len(shown), CATEGORIES[0], dtype=object)
    else:
        colours = colours_of(array(outcomes)[shown], palette([outcomes]))
    reach = _reach(np.concatenate([left, right]), squares)
    with figure(path, 4.0, 4.2, columns=2) as panels:
        for panel, points, title in zip(panels, (left, right), titles, strict=True):
            _board(panel, squares)
            _dots(panel, points[shown], colours)
            plane(panel, reach, title)
    return path


def scatter(path: Path, points: Tensor | np.ndarray, *, squares: Sequence[Square] = ()) -> Path:
    """Draws points (N, 2) in data units, all in one colour, over the cells given."""
    places = _points(points)
    shown = _thin(len(places))
    with figure(path, 4.0, 4.2) as (panel,):
        _board(panel, squares)
        _dots(panel, places[shown], np.full(len(shown), CATEGORIES[0], dtype=object))
        plane(panel, _reach(places, squares), f"{len(places):,} samples")
    return path


def clouds(
    path: Path, rows: Mapping[str, Tensor], *, colours: Tensor | None = None, columns: int = 4, title: str = ""
) -> Path:
    """Draw sets of points (N, 2) in panels of one window, a point in the same colour in each.

    Args:
        path: of the PNG.
        rows: title -> (N, 2); NaN is left out. An empty title leaves a gap. The window is at most twice the first set's.
        colours: (N, 2), points whose direction from their mean gives the colour; the first set when absent.
        columns: of panels.
        title: over everything.
    """
    first = next(iter(rows.values())) if colours is None else colours
    offset = array(first - first.mean(dim=0))[:_MOST_IN_CLOUD]
    hue = np.arctan2(offset[:, 1], offset[:, 0])
    known = [points for name, points in rows.items() if name and not bool(points.isnan().any())]
    reaches = [1.05 * float(points.abs().flatten()[:100_000].quantile(0.995)) for points in known]
    reach = max(1e-6, min(max(reaches), 2 * reaches[0]))
    columns = min(columns, len(rows))
    with figure(path, 2.2, 2.45, rows=-(-len(rows) // columns), columns=columns) as axes:
        for panel in axes:
            panel.set_axis_off()
        for panel, (label, points) in zip(axes, rows.items(), strict=False):
            if not label:
                continue
            panel.set_axis_on()
            x, y = array(points)[:_MOST_IN_CLOUD].T
            panel.scatter(x, y, s=3, linewidths=0, c=hue, cmap="turbo", vmin=-np.pi, vmax=np.pi)
            panel.set_xlim(-reach, reach)
            panel.set_ylim(-reach, reach)
            panel.set_aspect("equal")
            panel.set_xticks([])
            panel.set_yticks([])
            panel.set_title(label, fontsize=8)
        if title:
            axes[0].figure.suptitle(title, fontsize=9)
    return path


def noise_space(
    path: Path, noise: Tensor, outcomes: Mapping[str, Tensor], *, names: Sequence[str] = (), seed: int = 0
) -> Path:
    """Draws the noise, coloured by what it becomes, one panel a map.

    Noise in the plane is drawn as it is. Other noise is projected on the linear discriminants of the outcomes
    of each panel, fitted on one half of the rows; the other half is drawn.

    Args:
        path: of the PNG.
        noise: (N, *shape), unit variance.
        outcomes: title of the panel -> int64 (N,); for instance untrained, teacher, student.
        names: of outcomes 0, 1, ... for a legend; none is drawn without.
        seed: of the halves.
    """
    table = palette(outcomes.values())
    flat = noise[0].numel() == 2
    with figure(path, 3.6, 3.9, columns=len(outcomes)) as panels:
        for panel, (title, values) in zip(panels, outcomes.items(), strict=True):
            coordinates, rows = held_out_view(noise, values, seed)
            shown = _thin(len(rows))
            points = array(coordinates)[shown]
            colours = colours_of(values.cpu()[rows[shown]], table)
            _dots(panel, points, colours)
            plane(panel, 3.5 if flat else _reach(points, ()), title)
            if not flat:
                panel.set_xlabel("first discriminant, rows held out")
                if panel is panels[0]:
                    panel.set_ylabel("second discriminant")
        if names:
            _legend(panels[-1], [(names[value], table[value]) for value in sorted(table)])
    return path


def outlier_map(
    path: Path,
    noise: Tensor,
    samples: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    *,
    outcomes: Mapping[str, Tensor] | None = None,
    squares: Sequence[Square] = (),
) -> Path:
    """Draws samples and the noise they come from, outliers as black crosses in both (KDM Fig. 5 and 13).

    Args:
        path: of the PNG.
        noise: (N, 2), unit variance; the same for all samples.
        samples: name -> (N, 2) in data units; a row of two panels each.
        masks: name -> bool (N,), the outliers.
        outcomes: name -> int64 (N,), the cells, for the colours.
        squares: cells drawn behind the samples.
    """
    origins = _points(noise)
    reach = _reach(np.concatenate([_points(points) for points in samples.values()]), squares)
    table = {} if outcomes is None else palette(outcomes.values())
    crossed = origins[np.any([array(mask) for mask in masks.values()], axis=0)]
    window = max(3.5, 1.05 * float(np.abs(crossed).max(initial=0)))  # outliers come from the tails, too
    with figure(path, 4.0, 4.4, rows=len(samples), columns=2) as panels:
        for row, (name, points) in enumerate(samples.items()):
            mask = array(masks[name]).astype(bool)
            colours = np.full(len(mask), FAINT, dtype=object)
            if outcomes is not None:
                colours = colours_of(outcomes[name], table)
            shown = _thin(len(mask))
            regular = shown[~mask[shown]]
            places = ((_points(points), reach, f"{name}: samples"), (origins, window, f"{name}: their noise"))
            for column, (coordinates, half_width, title) in enumerate(places):
                panel = panels[2 * row + column]
                _board(panel, squares if column == 0 else ())
                _dots(panel, coordinates[regular], colours[regular], alpha=0.55)
                x, y = coordinates[mask].T
                panel.scatter(x, y, s=16, c=INK, marker="x", linewidths=0.9)
                plane(panel, half_width, title)
            told = f"× {mask.sum()} outliers of {len(mask)} samples ({mask.mean():.2%})"
            panels[2 * row].set_xlabel(told, loc="left")
    return path


def _points(values: Tensor | np.ndarray) -> np.ndarray:
    points = array(values).astype(np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise UsageError(f"figure: points of shape (N, 2) are needed, got {points.shape}")
    return points


def _thin(count: int) -> np.ndarray:
    """Rows to draw, in a mixed order so that no colour lies on top."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[:_MOST_POINTS].numpy()


def _dots(panel: Axes, points: np.ndarray, colours: np.ndarray, alpha: float = 0.8) -> None:
    """Dots whose area makes about the same ink for any number of them."""
    size = float(np.clip(9000 / max(len(points), 1), 0.8, 14))
    panel.scatter(points[:, 0], points[:, 1], s=size, c=list(colours), alpha=alpha, linewidths=0)


def _reach(points: np.ndarray, squares: Sequence[Square]) -> float:
    """Half width of a window that holds the board and all but the farthest points."""
    board = max((max(abs(x), abs(y), abs(x + s), abs(y + s)) for x, y, s in squares), default=0.0)
    finite = points[np.isfinite(points).all(axis=1)]
    spread = float(np.quantile(np.abs(finite), 0.999)) if len(finite) else 1.0
    return 1.06 * max(board, min(spread, 1.5 * board) if board else spread, 1e-6)


def _board(panel: Axes, squares: Sequence[Square]) -> None:
    from matplotlib.patches import Rectangle

    for x, y, side in squares:
        panel.add_patch(Rectangle((x, y), side, side, facecolor=PALE, edgecolor="none", zorder=0))


def _legend(panel: Axes, entries: Sequence[tuple[str, str]]) -> None:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], marker="o", ls="", ms=4, color=colour, label=name) for name, colour in entries]
    panel.legend(handles=marks, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0, handletextpad=0.1)
