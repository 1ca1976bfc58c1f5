"""Moving pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from koopstep.analysis.findings import Movie
from koopstep.core.files import write_atomic
from koopstep.figures.images import pixels
from koopstep.figures.sheet import Sheet
from koopstep.figures.style import colours_of, rgb

_SIDE, _WINDOW = 48, 144  # pixels of an image at least, and of a window of points
_MILLISECONDS = 120
_DARK = 25


def movie(view: Movie, path: Path) -> Path:
    """Write an animated GIF: a row of images for each set, at least 48 pixels each; or a window of points for each set."""
    pages = _pages(view)
    first, *others = [Image.fromarray(page) for page in pages]
    times = [_MILLISECONDS] * (len(pages) - 1) + [_MILLISECONDS * 8]  # the last frame stays a while
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=times, loop=0)
    write_atomic(path, buffer.getvalue())
    return path


def last_frame(view: Movie, sheet: Sheet) -> None:
    """Draw the last frame."""
    page = _pages(view)[-1]
    (panel,) = sheet.panels(page.shape[1] / 60, page.shape[0] / 60)
    panel.imshow(page, interpolation="nearest")
    panel.set_axis_off()


def _pages(view: Movie) -> list[np.ndarray]:
    """The frames (H, W, 3) of bytes."""
    if view.sets[0].ndim == 3:
        reach = 1.1 * max(float(points.abs().flatten()[:100_000].quantile(0.995)) for points in view.sets)
        colours = None
        if view.outcomes is not None:
            colours = np.array([255 * rgb(colour) for colour in colours_of(view.outcomes, view.cells)], np.uint8)
        windows = [dots(one, reach, colours) for one in view.sets]
        return [np.concatenate(panels, axis=1) for panels in zip(*windows, strict=True)]
    zoom = max(1, -(-_SIDE // view.sets[0].shape[-1]))
    rows = [[np.hstack(list(pixels(images, view.data_range))) for images in frames] for frames in view.sets]
    return [np.vstack(lines).repeat(zoom, axis=0).repeat(zoom, axis=1) for lines in zip(*rows, strict=True)]


def dots(points: Tensor, reach: float, colours: np.ndarray | None = None) -> np.ndarray:
    """Points (F, N, 2) as dots on white pictures (F, 144, 144, 3); those outside ``[-reach, reach]`` are left out.

    ``colours`` are bytes (N, 3); dark without.
    """
    frames = np.full((len(points), _WINDOW, _WINDOW, 3), 255, np.uint8)
    places = ((points / reach * 0.5 + 0.5) * _WINDOW).floor().long()
    for frame, place in zip(frames, places, strict=True):
        inside = ((place >= 0) & (place < _WINDOW)).all(dim=1)
        x, y = place[inside].T.numpy()
        frame[_WINDOW - 1 - y, x] = _DARK if colours is None else colours[inside.numpy()]
    return frames
