"""Residuals in the plane of a step's eigenvalues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from koopstep.analysis.findings import LevelPlane, ResidualPlanes
from koopstep.figures.sheet import Sheet
from koopstep.figures.style import FAINT, INK, array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS, _CROWD = 3, 30
_LOWEST, _HIGHEST = 1e-3, 1.0  # residuals are drawn within these
_CONTOURS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)


def residual_planes(view: ResidualPlanes, sheet: Sheet) -> None:
    """Draw each level's eigenvalues, filled where they passed and coloured by their residual, over the pseudospectrum.

    Crosses are the eigenvalues of a fresh EDMD fit, the grey arc is the unit circle.
    """
    columns = min(_COLUMNS, len(view.levels))
    panels = sheet.panels(3.9, 3.2, rows=-(-len(view.levels) // columns), columns=columns)
    for panel in panels[len(view.levels) :]:
        panel.set_axis_off()
    for number, (panel, level) in enumerate(zip(panels, view.levels, strict=False)):
        shown = _plane(panel, level)
        panel.set_title(sheet.head(level.name))
        if not sheet.crowded or number + columns >= len(view.levels):
            panel.set_xlabel("real part, of one step")
        if number % columns == 0:
            panel.set_ylabel("imaginary part")
        if number % columns == columns - 1 or number == len(view.levels) - 1:
            sheet.bar(panel, shown, f"residual (passes up to {view.threshold:g})")
    if not sheet.crowded:
        panels[0].legend(
            handles=_marks(), loc="best", handletextpad=0.2, frameon=True, framealpha=0.85, edgecolor="none"
        )
    sheet.title(view.title)


def _plane(panel: Axes, level: LevelPlane) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    norm = LogNorm(_LOWEST, _HIGHEST)
    grid, smallest = array(level.grid).reshape(level.shape), array(level.smallest).reshape(level.shape)
    across, up = grid[:, 0].real, grid[0].imag
    heights = np.clip(smallest.T, _LOWEST, None)
    drawn = [height for height in _CONTOURS if heights.min() < height < heights.max()]
    if drawn:
        lines = panel.contour(across, up, heights, levels=drawn, colors=INK, linewidths=0.6)
        panel.clabel(lines, fontsize=6, fmt="%g")
    turn = np.linspace(0, np.pi, 500)
    panel.plot(np.cos(turn), np.sin(turn), color=FAINT, lw=0.9, zorder=1)
    fitted = array(level.fitted)
    panel.scatter(fitted.real, np.abs(fitted.imag), s=16, marker="x", c=FAINT, linewidths=0.9, zorder=2)
    values, passed = array(level.eigenvalues), array(level.passed).astype(bool)
    residual = np.clip(np.nan_to_num(array(level.residual), nan=_HIGHEST), _LOWEST, _HIGHEST)
    colours = ScalarMappable(norm, "viridis")
    edges = colours.to_rgba(residual)
    faces = np.where(passed[:, None], edges, 0.0)
    look: Any = {"facecolors": faces, "edgecolors": edges, "linewidths": 0.8, "zorder": 3}
    size = 22 if len(values) <= _CROWD else 9
    panel.scatter(values.real, values.imag, s=size, **look)
    panel.set_xlim(across[0], across[-1])
    panel.set_ylim(min(0.0, -0.02 * up[-1]), up[-1])
    panel.locator_params(nbins=5)
    return colours


def _marks() -> list[Any]:
    from matplotlib.lines import Line2D

    look: Any = {"ls": "", "color": INK, "ms": 5}
    return [
        Line2D([], [], marker="o", label="passed", **look),
        Line2D([], [], marker="o", mfc="none", label="did not pass", **look),
        Line2D([], [], marker="x", label="EDMD", **look | {"color": FAINT}),
    ]
