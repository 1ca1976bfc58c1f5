"""Points in the plane: samples, noise by what it becomes, outliers.

Outcomes are whole numbers, a cell or a class; a negative one means none and is drawn in grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from koopstep.analysis.findings import Clouds, NoiseSpace, OutlierMap, PointPairs
from koopstep.analysis.projection import held_out_view
from koopstep.core.errors import UsageError
from koopstep.data.cells import Cells, Square
from koopstep.figures.sheet import Sheet, styled
from koopstep.figures.style import CATEGORIES, INK, PALE, array, colours_of, cyclic, plane, reach_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_POINTS = 20_000
_MOST_IN_CLOUD = 4000


def paired_scatter(view: PointPairs, sheet: Sheet) -> None:
    """Draw points side by side with their partners from the same noise; colours mix where the right ones differ.

    Raises:
        UsageError: if these are no pairs of points in the plane.
    """
    left, right = _points(view.left), _points(view.right)
    if left.shape != right.shape:
        raise UsageError(f"figure: points of shape {left.shape} and {right.shape}; give pairs")
    shown = _thin(len(left))
    colours = np.full(len(shown), CATEGORIES[0], dtype=object)
    if view.outcomes is not None:
        colours = colours_of(array(view.outcomes)[shown], view.cells)
    squares = squares_of(view.cells)
    reach = reach_of(np.concatenate([left, right]), squares)
    for panel, points, title in zip(sheet.panels(4.0, 4.2, columns=2), (left, right), view.titles, strict=True):
        board(panel, squares)
        _dots(panel, points[shown], colours)
        plane(panel, reach, title)
        _axes_names(panel, view.axes)


def scatter(path: Path, points: Tensor) -> Path:
    """Draw points (N, 2) in data units, all in one colour, into a file."""
    places = _points(points)
    shown = _thin(len(places))
    with styled():
        sheet = Sheet()
        (panel,) = sheet.panels(4.0, 4.2)
        _dots(panel, places[shown], np.full(len(shown), CATEGORIES[0], dtype=object))
        plane(panel, reach_of(places, ()), f"{len(places):,} samples")
        return sheet.save(path)


def clouds(view: Clouds, sheet: Sheet) -> None:
    """Draw sets of points (N, 2) in panels of one window, a point in the same colour in each."""
    rows = view.sets
    first = next(iter(rows.values())) if view.colours is None else view.colours
    colours = cloud_colours(first[:_MOST_IN_CLOUD], view.cells)
    known = [points for name, points in rows.items() if name and not bool(points.isnan().any())]
    reaches = [1.05 * float(points.abs().flatten()[:100_000].quantile(0.995)) for points in known]
    reach = max(1e-6, min(max(reaches), 2 * reaches[0]))
    columns = min(view.columns, len(rows))
    axes = sheet.panels(2.2, 2.45, rows=-(-len(rows) // columns), columns=columns)
    for panel in axes:
        panel.set_axis_off()
    for panel, (label, points) in zip(axes, rows.items(), strict=False):
        if not label:
            continue
        panel.set_axis_on()
        x, y = array(points)[:_MOST_IN_CLOUD].T
        board(panel, squares_of(view.cells))
        panel.scatter(x, y, s=3, linewidths=0, c=colours)
        plane(panel, reach, "")
        panel.set_title(label, fontsize=8)
    for panel in axes[len(rows) - columns : len(rows)]:
        panel.set_xlabel(view.axes[0], fontsize=8)
    for panel in axes[::columns]:
        panel.set_ylabel(view.axes[1], fontsize=8)
    if view.cells is None:
        direction_bar(sheet, axes[columns - 1])
    sheet.title(view.title)


def cloud_colours(points: Tensor, cells: Cells | None) -> np.ndarray:
    """The colour of each point's cell; of its direction from the mean, on a circle of colours, where there are no cells."""
    if cells is not None:
        return colours_of(cells.nearest(points), cells)
    offset = array(points - points.mean(dim=0))
    turn = np.arctan2(offset[:, 1], offset[:, 0]) / (2 * np.pi) + 0.5
    return np.asarray(cyclic()(turn))


def direction_bar(sheet: Sheet, panel: Axes) -> None:
    """Say what the colours of data without cells mean."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(-180, 180), cyclic())
    sheet.bar(panel, scale, "direction from the mean", ticks=(-180, -90, 0, 90, 180)).yaxis.set_major_formatter(
        "{x:.0f}°"
    )


def noise_space(view: NoiseSpace, sheet: Sheet) -> None:
    """Draw the noise, coloured by what it becomes, one panel a map, all on the same axes.

    Noise in the plane is drawn as it is. Other noise is projected on the linear discriminants of one panel's outcomes,
    fitted on one half of the rows; the other half is drawn.
    """
    flat = view.noise[0].numel() == 2
    names = list(view.outcomes)
    coordinates, rows = held_out_view(view.noise, view.outcomes[view.separates or names[0]])
    shown = _thin(len(rows))
    points = array(coordinates)[shown]
    reach = 3.5 if flat else reach_of(points, ())
    panels = sheet.panels(3.6, 3.9, columns=len(names))
    for panel, (title, values) in zip(panels, view.outcomes.items(), strict=True):
        _dots(panel, points, colours_of(values.cpu()[rows[shown]], view.cells))
        plane(panel, reach, title)
        panel.set_xlabel("noise x_T, first coordinate" if flat else "first discriminant of x_T, held-out rows")
    panels[0].set_ylabel("second coordinate" if flat else "second discriminant")
    if view.names:
        known = np.unique(np.concatenate([array(values) for values in view.outcomes.values()]))
        numbers = known[known >= 0]
        colours = colours_of(numbers, view.cells)
        _legend(panels[-1], [(view.names[one], colour) for one, colour in zip(numbers, colours, strict=True)])


def outlier_map(view: OutlierMap, sheet: Sheet) -> None:
    """Draw samples with rings around the outliers, and the noise they come from, a row of two panels for each set."""
    origins, squares = _points(view.noise), squares_of(view.cells)
    reach = reach_of(np.concatenate([_points(points) for points in view.samples.values()]), squares)
    ringed = origins[np.any([array(mask) for mask in view.masks.values()], axis=0)]
    window = max(3.5, 1.05 * float(np.abs(ringed).max(initial=0)))  # outliers come from the tails, too
    panels = sheet.panels(4.0, 4.4, rows=len(view.samples), columns=2)
    for row, (name, points) in enumerate(view.samples.items()):
        mask = array(view.masks[name]).astype(bool)
        colours = colours_of(view.outcomes[name], view.cells)
        shown = _thin(len(mask))
        regular = shown[~mask[shown]]
        places = ((_points(points), reach, f"{name}: samples x_0"), (origins, window, f"{name}: their noise x_T"))
        for column, (coordinates, half_width, title) in enumerate(places):
            panel = panels[2 * row + column]
            board(panel, squares if column == 0 else ())
            _dots(panel, coordinates[regular], colours[regular], alpha=0.55)
            x, y = coordinates[mask].T  # each is drawn, with its colour inside a thin ring
            panel.scatter(x, y, s=11, c=list(colours[mask]), edgecolors=INK, linewidths=0.5)
            plane(panel, half_width, title)
        count = f"ringed: {mask.sum()} outliers of {len(mask)} samples ({mask.mean():.2%})"
        panels[2 * row].set_xlabel(count, loc="left")


def _axes_names(panel: Axes, names: tuple[str, str]) -> None:
    panel.set_xlabel(names[0])
    panel.set_ylabel(names[1])


def squares_of(cells: Cells | None) -> Sequence[Square]:
    """The squares that data fills; none where it has no cells."""
    return () if cells is None else cells.squares


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


def board(panel: Axes, squares: Sequence[Square]) -> None:
    """Draw the squares that data fills, behind all else."""
    from matplotlib.patches import Rectangle

    for x, y, side in squares:
        panel.add_patch(Rectangle((x, y), side, side, facecolor=PALE, edgecolor="none", zorder=0))


def _legend(panel: Axes, entries: Sequence[tuple[str, str]]) -> None:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], marker="o", ls="", ms=4, color=colour, label=name) for name, colour in entries]
    panel.legend(handles=marks, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0, handletextpad=0.1)
