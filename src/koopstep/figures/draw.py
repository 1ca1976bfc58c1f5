"""Every kind of view, drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from koopstep.analysis import findings as views
from koopstep.analysis.findings import View
from koopstep.figures import films, lines, points, spectra, tables

_DRAWN_BY: dict[type, Callable[[Any, Path], Path]] = {
    views.Bars: lines.bars,
    views.Clouds: points.clouds,
    views.Curves: lines.curves,
    views.Eigenvalues: spectra.eigenvalues,
    views.Images: tables.rows_of_images,
    views.LevelRates: spectra.rates,
    views.Movie: films.movie,
    views.NoiseSpace: points.noise_space,
    views.OutlierMap: points.outlier_map,
    views.Pairs: tables.image_pairs,
    views.PointPairs: points.paired_scatter,
}


def draw(view: View, folder: Path) -> Path:
    """Draw a view into ``folder`` under its own name; returns the file."""
    return _DRAWN_BY[type(view)](view, folder / view.file)


def draw_all(shown: Iterable[View], folder: Path) -> list[Path]:
    """Draw views into ``folder``, in order; returns the files."""
    return [draw(view, folder) for view in shown]
