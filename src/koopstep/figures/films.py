"""Moving pictures."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.files import write_atomic
from koopstep.figures.images import pixels


def moving_picture(path: Path, frames: Tensor, *, milliseconds: int = 120) -> Path:
    """Write frames (F, R, N, C, H, W) in [-1, 1] as an animated GIF: R rows of N samples, at least 48 pixels each.

    Raises:
        UsageError: if these are no images.
    """
    if frames.ndim != 6:
        raise UsageError(f"moving pictures have frames of rows of images, got shape {tuple(frames.shape)}")
    zoom = max(1, -(-48 // frames.shape[-1]))
    pages = []
    for frame in frames:
        page = torch.cat([torch.cat(list(line), dim=-1) for line in frame], dim=-2)
        page = page.repeat_interleave(zoom, dim=-1).repeat_interleave(zoom, dim=-2)
        (values,) = pixels(page[None])
        pages.append(Image.fromarray(values[..., 0] if page.shape[0] == 1 else values))
    buffer = io.BytesIO()
    times = [milliseconds] * (len(pages) - 1) + [milliseconds * 8]  # the last frame stays a while
    pages[0].save(buffer, format="GIF", save_all=True, append_images=pages[1:], duration=times, loop=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())
    return path


def cloud_frames(points: Tensor, reach: float, *, side: int = 144) -> Tensor:
    """Points (F, N, 2) as dark dots on light pictures (F, 1, side, side) in [-1, 1]; those outside ``reach`` are left out."""
    frames = torch.ones(len(points), 1, side, side)
    places = ((points / reach * 0.5 + 0.5) * side).floor().long()
    for frame, place in zip(frames, places, strict=True):
        x, y = place[((place >= 0) & (place < side)).all(dim=1)].T
        frame[0, side - 1 - y, x] = -0.8
    return frames
