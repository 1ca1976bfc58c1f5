"""The pictures of editing: tables of images with titles, maps of where something changed, and curves of how much."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.files import write_atomic
from koopstep.figures.style import LINES, PALE, array, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDE = 0.72  # inches of an image
_BETWEEN = 0.04  # of a cell's side, left free around an image
_MISSING = tuple(int(PALE[at : at + 2], 16) / 255 for at in (1, 3, 5))
_EDGE = LINES[2]


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        title: at its left; empty for none.
        pictures: each (H, W, 3) in [0, 1], as :func:`pixels` or :func:`heat` gives them; None leaves a place empty.
        outlined: whether the mask's edge is drawn on them.
        gap: free space above, in cells.
    """

    title: str
    pictures: Sequence[np.ndarray | None]
    outlined: bool = False
    gap: float = 0.0


def pixels(images: Tensor | np.ndarray, missing: Tensor | None = None) -> np.ndarray:
    """Images (N, 1 or 3, H, W) in [-1, 1] (clipped) as (N, H, W, 3) in [0, 1]; ``missing`` (H, W) pixels are pale.

    Raises:
        UsageError: on another shape.
    """
    values = array(images).astype(np.float64)
    if values.ndim != 4 or values.shape[1] not in (1, 3):
        raise UsageError(f"figure: images of shape (N, 1 or 3, H, W) are needed, got {values.shape}")
    shown: np.ndarray = ((values.clip(-1, 1) + 1) / 2).transpose(0, 2, 3, 1)
    shown = np.repeat(shown, 3 // shown.shape[3], axis=3)
    if missing is not None:
        hatch = np.add.outer(np.arange(shown.shape[1]), np.arange(shown.shape[2])) % 2
        paper = np.where(hatch[..., None] == 0, np.array(_MISSING), np.array(_MISSING) * 0.93)
        shown[:, array(missing)] = paper[array(missing)]
    return shown


def heat(changes: Sequence[Tensor | np.ndarray]) -> np.ndarray:
    """Maps (H, W) of change, 0 or above, as (N, H, W, 3) from white (nothing) to blue (the largest of all of them)."""
    values = np.stack([array(change).astype(np.float64) for change in changes])
    share = (values / max(float(values.max()), 1e-12))[..., None] ** 0.5  # small changes are to be seen, too
    dark = np.array([int(LINES[1][at : at + 2], 16) / 255 for at in (1, 3, 5)])
    maps: np.ndarray = 1 - share * (1 - dark)
    return maps


def write_pictures(folder: Path, images: Tensor) -> Path:
    """Writes images (N, 1 or 3, H, W) in [-1, 1] as ``0000.png``, ``0001.png``, ... at their own size into a folder."""
    for index, picture in enumerate(pixels(images)):
        levels = np.rint(picture * 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(levels[..., 0] if images.shape[1] == 1 else levels).save(buffer, format="PNG")
        write_atomic(folder / f"{index:04d}.png", buffer.getvalue())
    return folder


def table(path: Path, rows: Sequence[Row], *, columns: Sequence[str] = (), mask: Tensor | None = None) -> Path:
    """Draws rows of images under column titles.

    Args:
        path: of the PNG.
        rows: from top to bottom, each of as many images.
        columns: titles above the images; none are drawn without.
        mask: bool (H, W), whose edge is drawn on the rows that are to be outlined.
    """
    count = max(len(row.pictures) for row in rows)
    tops = np.cumsum([row.gap + 1 for row in rows]) - 1
    margin = 0.115 * max(len(line) for row in rows for line in row.title.split("\n"))
    head = 0.36 if columns else 0.05
    with figure(path, count * _SIDE + margin + 0.1, (tops[-1] + 1) * _SIDE + head) as (panel,):
        panel.set_aspect("equal")
        panel.set_axis_off()
        for row, top in zip(rows, tops, strict=True):
            for column, picture in enumerate(row.pictures):
                if picture is None:
                    continue
                _image(panel, picture, column, float(top))
                if row.outlined and mask is not None:
                    _outline(panel, array(mask), column, float(top))
            panel.text(-0.1, top + 0.5, row.title, ha="right", va="center", fontsize=8)
        for column, title in enumerate(columns):
            panel.text(column + 0.5, -0.08, title, ha="center", va="bottom", fontsize=8, linespacing=1.1)
        panel.set_xlim(0, count)
        panel.set_ylim(float(tops[-1]) + 1, 0)
    return path


def ratio_curves(
    path: Path,
    panels: Mapping[str, Mapping[str, Sequence[float | None]]],
    ratios: Sequence[float],
    *,
    shares: Sequence[str] = (),
) -> Path:
    """Draws values against the mixing ratio.

    Args:
        path: of the PNG.
        panels: title -> line's name -> one value a ratio; what is None or not positive is a gap.
        ratios: in [0, 1].
        shares: titles of panels that start at 0; the others are logarithmic.
    """
    with figure(path, 3.5, 3.1, columns=len(panels)) as axes:
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            for index, (name, values) in enumerate(lines.items()):
                heights = [value if value is not None and value > 0 else float("nan") for value in values]
                colour = LINES[1 + index % (len(LINES) - 1)]
                axis.plot(list(ratios), heights, color=colour, lw=1.4, marker="o", ms=3.5, label=name)
            if title in shares:
                axis.set_ylim(0, 1.08 * max((v for line in lines.values() for v in line if v is not None), default=1))
            else:
                axis.set_yscale("log")
            axis.grid(True, which="major", axis="y")
            axis.set_xlabel("mixing ratio")
            axis.set_title(title)
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0)
    return path


def _image(panel: Axes, picture: np.ndarray, column: int, top: float) -> None:
    place = (column + _BETWEEN, column + 1 - _BETWEEN, top + 1 - _BETWEEN, top + _BETWEEN)
    panel.imshow(picture, extent=place, interpolation="nearest")


def _outline(panel: Axes, mask: np.ndarray, column: int, top: float) -> None:
    """The border between inside and outside, along the edges of pixels."""
    height, width = mask.shape
    side = 1 - 2 * _BETWEEN
    left, above = column + _BETWEEN, top + _BETWEEN
    lines = []
    for row, col in zip(*np.nonzero(mask[1:] != mask[:-1]), strict=True):
        y = above + side * (row + 1) / height
        lines.append(([left + side * col / width, left + side * (col + 1) / width], [y, y]))
    for row, col in zip(*np.nonzero(mask[:, 1:] != mask[:, :-1]), strict=True):
        x = left + side * (col + 1) / width
        lines.append(([x, x], [above + side * row / height, above + side * (row + 1) / height]))
    for xs, ys in lines:
        panel.plot(xs, ys, color=_EDGE, lw=0.9, solid_capstyle="projecting")
