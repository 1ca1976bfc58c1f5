"""Pictures of paths and modes: rows of images or clouds of points, curves, bars, and moving pictures."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.files import write_atomic
from koopstep.figures.style import FAINT, INK, LINES, array, figure

Line = tuple[Sequence[float], Sequence[float]]
"""Values along x, and along y."""

_MOST_POINTS = 4000
_COLOURS = tuple(colour for _ in range(4) for colour in LINES[1:])


def picture_rows(
    path: Path,
    rows: Mapping[str, Tensor],
    *,
    heads: Sequence[str] = (),
    title: str = "",
    signed: Collection[str] = (),
) -> Path:
    """Draw sets of images as labelled rows, column by column the same sample.

    Args:
        path: of the PNG.
        rows: label -> (N, C, H, W) in [-1, 1] (clipped for the picture; NaN stays white).
        heads: over the columns.
        title: over everything.
        signed: rows that are differences around 0; of one plane they are drawn from blue over white to red.
    """
    count = len(next(iter(rows.values())))
    top = 0.3 if heads else 0.0
    with figure(path, 0.72 * count + 1.7, 0.72 * (len(rows) + top) + (0.3 if title else 0.1)) as (panel,):
        panel.set_axis_off()
        for line, (label, images) in enumerate(rows.items()):
            pictures = differences(images) if label in signed else pixels(images)
            for column, picture in enumerate(pictures):
                place = (column + 0.04, column + 0.96, line + 0.96, line + 0.04)
                panel.imshow(picture, extent=place, interpolation="nearest")
            panel.text(-0.1, line + 0.5, label, ha="right", va="center", fontsize=8)
        for column, head in enumerate(heads):
            panel.text(column + 0.5, -0.06, head, ha="center", va="bottom", fontsize=8)
        panel.set_xlim(0, count)
        panel.set_ylim(len(rows), -top)
        panel.set_aspect("equal")
        if title:
            panel.set_title(title)
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
    offset = array(first - first.mean(dim=0))[:_MOST_POINTS]
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
            x, y = array(points)[:_MOST_POINTS].T
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


def curves_of(
    path: Path,
    panels: Mapping[str, Mapping[str, Line]],
    *,
    across: str,
    up: str = "",
    logarithmic: bool = False,
    from_zero: bool = True,
    columns: int = 3,
    faint: Collection[str] = (),
    title: str = "",
) -> Path:
    """Draw a panel for each entry, each with named lines.

    Args:
        path: of the PNG.
        panels: title -> name -> line; colours go by place.
        across: names the horizontal axis.
        up: names the vertical one.
        logarithmic: the vertical axis.
        from_zero: whether the vertical axis begins there, where it is not logarithmic.
        columns: of panels.
        faint: names of lines to compare with, drawn dashed: those of wholes and means black, others grey.
        title: over everything.
    """
    from matplotlib.ticker import MaxNLocator

    columns = min(columns, len(panels))
    beside = any(len(lines) > 5 or max(map(len, lines)) > 24 for lines in panels.values())
    with figure(path, 4.3 + 2.4 * beside, 3.0, rows=-(-len(panels) // columns), columns=columns) as axes:
        for panel in axes[len(panels) :]:
            panel.set_axis_off()
        for number, (panel, (head, lines)) in enumerate(zip(axes, panels.items(), strict=False)):
            colours = dict(zip((name for name in lines if name not in faint), _COLOURS, strict=False))
            for name, (x, y) in lines.items():
                look = {"ls": "--", "lw": 1.2} if name in faint else {"lw": 1.5, "marker": "o", "ms": 2.5}
                shade = INK if name.startswith(("whole", "mean")) else FAINT
                panel.plot(x, y, color=colours.get(name, shade), label=name, **look)  # type: ignore[arg-type]
            if logarithmic:
                panel.set_yscale("log")
            elif from_zero:
                panel.set_ylim(bottom=0)
            if all(float(value).is_integer() for x, _ in lines.values() for value in x):
                panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.grid(True, axis="y")
            panel.set_xlabel(across)
            if number % columns == 0:
                panel.set_ylabel(up)
            panel.set_title(head)
            if beside:
                panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
            elif len(lines) > 1:
                panel.legend(loc="best")
        if title:
            axes[0].figure.suptitle(title, fontsize=9)
    return path


def bars(
    path: Path,
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    groups: Sequence[str],
    *,
    up: str,
    line: float | None = None,
    line_name: str = "",
    title: str = "",
) -> Path:
    """Draw grouped bars, a panel for each entry: name -> one value a group; ``line`` is a height to compare with."""
    width = 1.2 + 0.55 * len(groups)
    top = 1.08 * max(line or 0.0, *(max(values) for sets in panels.values() for values in sets.values()))
    with figure(path, max(3.0, width), 3.0, columns=len(panels)) as axes:
        for number, (panel, (head, sets)) in enumerate(zip(axes, panels.items(), strict=True)):
            step = 0.8 / len(sets)
            for index, (name, values) in enumerate(sets.items()):
                places = np.arange(len(groups)) + (index - (len(sets) - 1) / 2) * step
                told = name if len(sets) > 1 else None
                panel.bar(places, list(values), width=0.92 * step, color=_COLOURS[index], label=told)
            if line is not None:
                panel.axhline(line, color=INK, lw=1.0, ls="--", label=line_name)
            slanted = {"rotation": 30, "ha": "right"} if max(len(group) for group in groups) > 8 else {}
            panel.set_xticks(range(len(groups)), groups, **slanted)  # type: ignore[arg-type]
            panel.grid(True, axis="y")
            panel.set_axisbelow(True)
            panel.set_ylim(0, top or 1.0)
            panel.set_title(head)
            if number == 0:
                panel.set_ylabel(up)
            if number == len(panels) - 1 and (len(sets) > 1 or line is not None):
                panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
        if title:
            axes[0].figure.suptitle(title, fontsize=9)
    return path


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
        values = (page * 127.5 + 128).clip(0, 255).to(torch.uint8).movedim(0, -1).cpu().numpy()
        pages.append(Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values))
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


def pixels(images: Tensor) -> np.ndarray:
    """(N, C, H, W) in [-1, 1] -> (N, H, W, 3) in [0, 1], clipped; NaN becomes white."""
    values = (np.nan_to_num(_planes(images), nan=1.0).clip(-1, 1) + 1).transpose(0, 2, 3, 1) / 2
    return np.repeat(values, 3, axis=3) if values.shape[3] == 1 else values


def differences(images: Tensor) -> np.ndarray:
    """(N, C, H, W) around 0, clipped to [-1, 1] -> (N, H, W, 3) in [0, 1]: one plane in blue (less) and red (more)."""
    values = _planes(images).clip(-1, 1)
    if values.shape[1] == 3:
        return (values.transpose(0, 2, 3, 1) + 1) / 2
    plane = values[:, 0, :, :, None]
    red, blue = np.array([0.70, 0.09, 0.17]), np.array([0.13, 0.40, 0.67])
    end = np.where(plane > 0, red, blue)
    return np.asarray(1 - np.abs(plane) * (1 - end))


def _planes(images: Tensor) -> np.ndarray:
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UsageError(f"figure: images of shape (N, 1 or 3, H, W) are needed, got {tuple(images.shape)}")
    return array(images).astype(np.float64)
