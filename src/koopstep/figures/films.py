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

_SIDE, _WINDOW = 48, 144  # pixels of an image at least, and of a window of points
_MILLISECONDS = 120
_DARK = 25


def movie(view: Movie, path: Path) -> Path:
    """Write an animated GIF: a row of images for each set, at least 48 pixels each; or a window of points for each set."""
    if view.sets[0].ndim == 3:
        reach = 1.1 * max(float(points.abs().flatten()[:100_000].quantile(0.995)) for points in view.sets)
        pages = [
            np.concatenate(panels, axis=1) for panels in zip(*(dots(one, reach) for one in view.sets), strict=True)
        ]
    else:
        zoom = max(1, -(-_SIDE // view.sets[0].shape[-1]))
        rows = [[np.hstack(list(pixels(images, view.data_range))) for images in frames] for frames in view.sets]
        pages = [np.vstack(lines).repeat(zoom, axis=0).repeat(zoom, axis=1) for lines in zip(*rows, strict=True)]
    first, *others = [Image.fromarray(page) for page in pages]
    times = [_MILLISECONDS] * (len(pages) - 1) + [_MILLISECONDS * 8]  # the last frame stays a while
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=times, loop=0)
    write_atomic(path, buffer.getvalue())
    return path


def dots(points: Tensor, reach: float) -> np.ndarray:
    """Points (F, N, 2) as dark dots on white pictures (F, 144, 144, 3); those outside ``[-reach, reach]`` are left out."""
    frames = np.full((len(points), _WINDOW, _WINDOW, 3), 255, np.uint8)
    places = ((points / reach * 0.5 + 0.5) * _WINDOW).floor().long()
    for frame, place in zip(frames, places, strict=True):
        x, y = place[((place >= 0) & (place < _WINDOW)).all(dim=1)].T.numpy()
        frame[_WINDOW - 1 - y, x] = _DARK
    return frames
