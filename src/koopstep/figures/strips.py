"""What moves in the plane: points at some moments in rows of small windows, and fields of arrows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from koopstep.analysis.findings import Fields, PointStrips
from koopstep.figures.points import board, cloud_colours, direction_bar, squares_of
from koopstep.figures.sheet import Sheet
from koopstep.figures.style import FAINT, array, plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDE = 1.25  # inches of a window
_MOST_POINTS, _MOST_ARROWS = 1500, 300
_WITHIN = 0.985  # of all points lie within the windows
_LETTER = 0.075  # inches, of a title at the left


def point_strips(view: PointStrips, sheet: Sheet) -> None:
    """Draw rows of small windows, all of the same size around 0, with the rows' titles at their left."""
    points = [array(one)[:, :_MOST_POINTS] for one in view.rows.values()]
    colours = cloud_colours(view.colours[:_MOST_POINTS], view.cells)
    reach = 1.05 * max(float(np.quantile(np.abs(one), _WITHIN)) for one in points)
    margin = _LETTER * max(len(line) for title in view.rows for line in title.split("\n"))
    count = len(view.heads)
    axes = sheet.panels((count * _SIDE + margin) / count, _SIDE, rows=len(points), columns=count)
    engine: Any = sheet.figure.get_layout_engine()
    if engine is not None:  # of a figure of our own
        engine.set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    for row, (title, states) in enumerate(zip(view.rows, points, strict=True)):
        for column, state in enumerate(states):
            panel = axes[row * count + column]
            _window(panel, reach)
            board(panel, squares_of(view.cells) if row < 2 else ())
            panel.scatter(state[:, 0], state[:, 1], s=1.6, linewidths=0, c=colours)
            if row == 0:
                panel.set_title(view.heads[column], fontsize=8, loc="center", pad=3)
        look: Any = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 8, "linespacing": 1.15}
        axes[row * count].set_ylabel(title, **look)
    if view.cells is None:
        direction_bar(sheet, axes[count - 1])
    sheet.title(view.title)


def fields(view: Fields, sheet: Sheet) -> None:
    """Draw fields of arrows, each in units of its root mean square, in the colours of what the points become."""
    at = array(view.at)[:_MOST_ARROWS]
    colours = cloud_colours(view.colours[:_MOST_ARROWS], view.cells)
    columns = min(view.columns, len(view.fields))
    axes = sheet.panels(2.2, 2.45, rows=-(-len(view.fields) // columns), columns=columns)
    reach = 1.05 * float(np.quantile(np.abs(at), 0.995))
    for panel in axes[len(view.fields) :]:
        panel.set_axis_off()
    for number, (panel, (title, arrows)) in enumerate(zip(axes, view.fields.items(), strict=False)):
        size = float(arrows.square().sum(dim=1).mean().sqrt())
        u, v = (array(arrows)[:_MOST_ARROWS] / max(size, 1e-12)).T
        panel.quiver(
            *at.T, u, v, color=list(colours), angles="xy", scale_units="xy", scale=1.6, width=0.006, headwidth=4
        )
        plane(panel, reach, "")
        panel.set_title(title, fontsize=8)
        if number >= len(view.fields) - columns:
            panel.set_xlabel(view.axes[0], fontsize=8)
        if number % columns == 0:
            panel.set_ylabel(view.axes[1], fontsize=8)
    sheet.title(view.title)


def _window(panel: Axes, reach: float) -> None:
    plane(panel, reach, "")
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)
