"""Pictures of paths and modes: rows of images, curves, maps of rates over the image, and moving pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from koopstep.analysis.style import LINES, array, figure
from koopstep.core.errors import UsageError
from koopstep.core.files import write_atomic
from koopstep.operators.block import Rates


def picture_rows(path: Path, rows: Mapping[str, Tensor], *, heads: Sequence[str] = (), title: str = "") -> Path:
    """Draw sets of images as labelled rows, column by column the same sample.

    Args:
        path: of the PNG.
        rows: label -> (N, C, H, W) in [-1, 1] (clipped for the picture), or (N, 2) points, drawn as one panel a row.
        heads: over the columns.
        title: over everything.
    """
    first = next(iter(rows.values()))
    if first.ndim == 2:
        return _scatter_rows(path, rows, title)
    count = len(first)
    with figure(path, 0.72 * count + 1.6, 0.72 * len(rows) + (0.35 if heads or title else 0.1)) as (panel,):
        panel.set_axis_off()
        for line, (label, images) in enumerate(rows.items()):
            for column, picture in enumerate(pixels(images)):
                place = (column + 0.04, column + 0.96, line + 0.96, line + 0.04)
                panel.imshow(picture, extent=place, interpolation="nearest")
            panel.text(-0.1, line + 0.5, label, ha="right", va="center", fontsize=8)
        for column, head in enumerate(heads):
            panel.text(column + 0.5, -0.08, head, ha="center", va="bottom", fontsize=8)
        panel.set_xlim(0, count)
        panel.set_ylim(len(rows), -0.25 if heads else 0)
        panel.set_aspect("equal")
        if title:
            panel.set_title(title)
    return path


def curves_of(
    path: Path,
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    *,
    across: str,
    logarithmic: bool = False,
) -> Path:
    """Draw a panel for each entry, each with named lines (x, y); ``across`` names the horizontal axis."""
    with figure(path, 4.4, 3.1, columns=len(panels)) as axes:
        for panel, (title, lines) in zip(axes, panels.items(), strict=True):
            for index, (name, (x, y)) in enumerate(lines.items()):
                colour = LINES[(index + 1) % len(LINES)]
                panel.plot(x, y, color=colour, lw=1.5, marker="o", ms=3, label=name)
            if logarithmic:
                panel.set_yscale("log")
            else:
                panel.set_ylim(bottom=0)
            panel.grid(True, axis="y")
            panel.set_xlabel(across)
            panel.set_title(title)
            if len(lines) > 1:
                panel.legend(loc="best")
    return path


def rate_maps(path: Path, names: Sequence[str], rates: Sequence[Rates], gauge: str) -> Path:
    """Draw where a level grows and turns: mean over pairs of alpha (growth) and of the size of beta (turning) by place."""
    with figure(path, 2.1, 2.1, rows=2, columns=len(names)) as axes:
        for column, (name, level) in enumerate(zip(names, rates, strict=True)):
            growth, turning = array(level.alpha.mean(dim=0)), array(level.beta.abs().mean(dim=0))
            reach = max(float(np.abs(growth).max()), 1e-9)
            for row, (values, colours, low, high, what) in enumerate(
                ((growth, "RdBu_r", -reach, reach, "growth"), (turning, "viridis", 0.0, None, "turning"))
            ):
                panel = axes[row * len(names) + column]
                shown = panel.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
                panel.set_xticks([])
                panel.set_yticks([])
                panel.set_title(f"{name}\n{what}" if row == 0 else what, fontsize=8)
                bar = panel.figure.colorbar(shown, ax=panel, shrink=0.75)
                bar.ax.tick_params(labelsize=6)
        axes[0].figure.suptitle(f"mean rates by place; gauge: {gauge}", fontsize=9)
    return path


def moving_picture(path: Path, frames: Tensor, *, milliseconds: int = 120, zoom: int = 4) -> Path:
    """Write frames (F, N, C, H, W) in [-1, 1] as an animated GIF, the N samples side by side.

    Raises:
        UsageError: if these are no images.
    """
    if frames.ndim != 5:
        raise UsageError("moving pictures are made of images")
    pages = []
    for frame in frames:
        line = torch.cat(list(frame), dim=-1).repeat_interleave(zoom, dim=-1).repeat_interleave(zoom, dim=-2)
        values = (line * 127.5 + 128).clip(0, 255).to(torch.uint8).movedim(0, -1).cpu().numpy()
        pages.append(Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values))
    buffer = io.BytesIO()
    rest = milliseconds * 8  # the last frame stays a while
    times = [milliseconds] * (len(pages) - 1) + [rest]
    pages[0].save(buffer, format="GIF", save_all=True, append_images=pages[1:], duration=times, loop=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())
    return path


def pixels(images: Tensor) -> np.ndarray:
    """(N, C, H, W) in [-1, 1] -> (N, H, W, 3) in [0, 1], clipped."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UsageError(f"figure: images of shape (N, 1 or 3, H, W) are needed, got {tuple(images.shape)}")
    values = (array(images).astype(np.float64).clip(-1, 1) + 1).transpose(0, 2, 3, 1) / 2
    return np.repeat(values, 3, axis=3) if values.shape[3] == 1 else values


def _scatter_rows(path: Path, rows: Mapping[str, Tensor], title: str) -> Path:
    columns = min(4, len(rows))
    reach = max(float(points.abs().quantile(0.995)) for points in rows.values())
    with figure(path, 2.5, 2.7, rows=-(-len(rows) // columns), columns=columns) as axes:
        for panel in axes[len(rows) :]:
            panel.set_axis_off()
        for panel, (label, points) in zip(axes, rows.items(), strict=False):
            values = array(points)
            panel.scatter(values[:, 0], values[:, 1], s=3, linewidths=0, c=LINES[1], alpha=0.7)
            panel.set_xlim(-reach, reach)
            panel.set_ylim(-reach, reach)
            panel.set_aspect("equal")
            panel.set_title(label, fontsize=8)
        if title:
            axes[0].figure.suptitle(title, fontsize=9)
    return path
