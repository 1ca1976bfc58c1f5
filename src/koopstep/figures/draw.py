"""Every kind of view, drawn: into a file, or on axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koopstep.analysis import findings as views
from koopstep.analysis.findings import View
from koopstep.figures import films, lines, planes, points, spectra, strips, tables
from koopstep.figures.sheet import Sheet, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DRAWN_BY: dict[type, Callable[[Any, Sheet], None]] = {
    views.Bars: lines.bars,
    views.Clouds: points.clouds,
    views.Curves: lines.curves,
    views.Eigenvalues: spectra.eigenvalues,
    views.Images: tables.rows_of_images,
    views.LevelRates: spectra.rates,
    views.Movie: films.last_frame,
    views.NoiseSpace: points.noise_space,
    views.OutlierMap: points.outlier_map,
    views.Pairs: tables.image_pairs,
    views.Fields: strips.fields,
    views.PointPairs: points.paired_scatter,
    views.PointStrips: strips.point_strips,
    views.ResidualPlanes: planes.residual_planes,
}


def draw_on(view: View, axes: Axes | Sequence[Axes] | None = None) -> Figure:
    """Draw a view on axes, or on a new figure, and return the figure.

    Nothing of matplotlib's state is changed: neither its settings nor its backend, and pyplot knows nothing of a new figure.

    Args:
        view: what is to be seen; of moving pictures the last frame.
        axes: one axes, which several panels share out among them, or as many as the view has panels.

    Raises:
        UsageError: matplotlib is not installed, the number of axes is wrong, or the view cannot be drawn.
    """
    with styled():
        sheet = Sheet(axes)
        _DRAWN_BY[type(view)](view, sheet)
    return sheet.figure


def draw(view: View, folder: Path) -> Path:
    """Draw a view into ``folder`` under its own name; returns the file."""
    path = folder / view.file
    if isinstance(view, views.Movie):
        return films.movie(view, path)
    with styled():
        sheet = Sheet()
        _DRAWN_BY[type(view)](view, sheet)
        return sheet.save(path)


def draw_all(shown: Iterable[View], folder: Path) -> list[Path]:
    """Draw views into ``folder``, in order; returns the files."""
    return [draw(view, folder) for view in shown]
