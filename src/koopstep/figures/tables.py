"""Images in rows with titles: the same sample in each column; pairs, edits, and maps of where something changed."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from koopstep.analysis.findings import Images, Pairs
from koopstep.core.errors import UsageError
from koopstep.figures.images import pixels, tiled_planes
from koopstep.figures.sheet import Sheet
from koopstep.figures.style import LINES, PALE, amounts, array, rgb, two_sided

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

_SIDE = 0.72  # inches of an image
_BETWEEN = 0.04  # of a cell's side, left free around an image
_EDGE = LINES[2]
_LETTERS = 13  # of a title in an inch
_BAND = 10  # pairs side by side


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        title: at its left; empty for none.
        pictures: each (H, W, 3), bytes or in [0, 1]; None leaves a place empty.
        outlined: whether the mask's edge is drawn on them.
        gap: free space above, in cells.
    """

    title: str
    pictures: Sequence[np.ndarray | None]
    outlined: bool = False
    gap: float = 0.0


@dataclass(frozen=True)
class Scale:
    """What the colours of some rows mean: a colour bar beside them.

    Attributes:
        rows: numbers of the rows.
        colours: of the numbers.
        label: names the numbers.
    """

    rows: Sequence[int]
    colours: ScalarMappable
    label: str


def table(
    sheet: Sheet,
    rows: Sequence[Row],
    *,
    columns: Sequence[str] = (),
    mask: Tensor | None = None,
    title: str = "",
    scales: Sequence[Scale] = (),
) -> None:
    """Draw rows of images under column titles.

    Args:
        sheet: where to.
        rows: from top to bottom, each of as many images.
        columns: titles above the images; none are drawn without.
        mask: bool (H, W), whose edge is drawn on the rows that are to be outlined.
        title: over everything.
        scales: of rows whose colours are numbers.
    """
    count = max(len(row.pictures) for row in rows)
    tops = np.cumsum([row.gap + 1 for row in rows]) - 1
    wide = max(24, round(count * _SIDE * _LETTERS))
    title = "\n".join(line for part in title.split("\n") for line in textwrap.wrap(part, wide))
    margin = 0.115 * max(len(line) for row in rows for line in row.title.split("\n"))
    lines = max((head.count("\n") + 1 for head in columns), default=0)
    head = 0.05 + 0.16 * lines + (0.12 + 0.16 * (title.count("\n") + 1) if title else 0)
    beside = 0.9 if scales else 0.1
    (panel,) = sheet.panels(count * _SIDE + margin + beside, (tops[-1] + 1) * _SIDE + head)
    panel.set_axis_off()
    for row, top in zip(rows, tops, strict=True):
        for column, picture in enumerate(row.pictures):
            if picture is None:
                continue
            _image(panel, picture, column, float(top))
            if row.outlined and mask is not None:
                _outline(panel, array(mask), column, float(top))
        panel.text(-0.1, top + 0.5, row.title, ha="right", va="center", fontsize=8)
    for column, text in enumerate(columns):
        panel.text(column + 0.5, -0.08, text, ha="center", va="bottom", fontsize=8, linespacing=1.1)
    low, high = float(tops[-1]) + 1, -0.25 * lines
    panel.set_xlim(0, count)
    panel.set_ylim(low, high)
    panel.set_aspect("equal")
    for scale in scales:
        ends = [(low - float(tops[row]) - below) / (low - high) for row in scale.rows for below in (0.96, 0.04)]
        place = panel.inset_axes((1 + 0.15 / count, min(ends), 0.16 / count, max(ends) - min(ends)))
        bar = sheet.figure.colorbar(scale.colours, cax=place)
        bar.set_label(scale.label, fontsize=7)
        bar.outline.set_visible(False)
        place.tick_params(labelsize=7)
    if title:
        panel.set_title(title, fontsize=9)


def rows_of_images(view: Images, sheet: Sheet) -> None:
    """Draw images in labelled rows: differences from blue over white to red, changes from white to blue."""
    most = max((float(row.images.max()) for row in view.rows if row.kind == "changes"), default=0.0)
    far = [float(row.images.abs().max()) for row in view.rows if row.kind == "differences"]
    reach = max(view.reach or max(far, default=1.0), 1e-12)
    rows = []
    for row in view.rows:
        images = _drawable(row.images, view.data_range[0] if row.kind == "images" else 0.0)
        if row.kind == "images":
            shown = pixels(images, view.data_range)
            shown = shown if row.missing is None else hatched(shown, row.missing)
        else:
            shown = differences(images / reach) if row.kind == "differences" else heat(images, most)
        rows.append(Row(row.title, [None] * row.skip + list(shown), row.kind == "changes", row.gap))
    scales = _scales(view, reach, most)
    table(sheet, rows, columns=view.columns, mask=view.mask, title=view.title, scales=scales)


def _scales(view: Images, reach: float, most: float) -> list[Scale]:
    """A bar for differences of one plane, and one for changes; of three planes no number is a colour."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, PowerNorm

    signed = [number for number, row in enumerate(view.rows) if row.kind == "differences" and row.images.shape[1] != 3]
    moved = [number for number, row in enumerate(view.rows) if row.kind == "changes"]
    scales = [Scale(signed, ScalarMappable(Normalize(-reach, reach), two_sided()), view.scale)] if signed else []
    return scales + ([Scale(moved, ScalarMappable(PowerNorm(0.5, 0, most), amounts()), view.scale)] if moved else [])


def image_pairs(view: Pairs, sheet: Sheet) -> None:
    """Draw images above their partners, in bands of ten.

    Raises:
        UsageError: if the shapes differ, or these are no images.
    """
    if view.upper.shape != view.lower.shape:
        shapes = f"{tuple(view.upper.shape)} and {tuple(view.lower.shape)}"
        raise UsageError(f"figure: images of shape {shapes}; give pairs")
    upper, lower = (_drawable(images, view.data_range[0]) for images in (view.upper, view.lower))
    above, below = pixels(upper, view.data_range), pixels(lower, view.data_range)
    rows = []
    for start in range(0, len(above), _BAND):
        part = slice(start, start + _BAND)
        rows.append(Row(view.titles[0], list(above[part]), gap=0.2 if start else 0.0))
        rows.append(Row(view.titles[1], list(below[part])))
    table(sheet, rows)


def _drawable(images: Tensor, between: float) -> Tensor:
    """Grey or coloured images as they are; the planes of others as tiles of one grey image."""
    return images if images.ndim != 4 or images.shape[1] in (1, 3) else tiled_planes(images, between)


def differences(images: Tensor) -> np.ndarray:
    """(N, 1 or 3, H, W) around 0, clipped to [-1, 1] -> (N, H, W, 3): one plane in blue (less) and red (more), on white.

    Three planes are shown as colours around grey.
    """
    if images.ndim != 4 or images.shape[1] == 3:
        return pixels(images)
    plane = array(images).astype(np.float64).clip(-1, 1)[:, 0]
    return np.asarray(two_sided()(plane / 2 + 0.5))[..., :3]


def heat(changes: Tensor, most: float) -> np.ndarray:
    """Maps of change (N, 1, H, W), 0 or above, as (N, H, W, 3) from white (nothing) to blue (``most``)."""
    share = array(changes).astype(np.float64)[:, 0] / max(most, 1e-12)
    return np.asarray(amounts()(share**0.5))[..., :3]  # the root: small changes are to be seen, too


def hatched(pictures: np.ndarray, missing: Tensor) -> np.ndarray:
    """Pictures (N, H, W, 3) of bytes with the pixels of ``missing`` (H, W) in a pale pattern of their own."""
    hole = array(missing)
    odd = np.add.outer(np.arange(hole.shape[0]), np.arange(hole.shape[1])) % 2
    paper = 255 * rgb(PALE) * np.where(odd[..., None] == 0, 1.0, 0.93)
    return np.where(hole[..., None], paper, pictures).astype(np.uint8)


def _image(panel: Axes, picture: np.ndarray, column: int, top: float) -> None:
    place = (column + _BETWEEN, column + 1 - _BETWEEN, top + 1 - _BETWEEN, top + _BETWEEN)
    panel.imshow(picture, extent=place, interpolation="nearest")


def _outline(panel: Axes, mask: np.ndarray, column: int, top: float) -> None:
    """The border between inside and outside, along the edges of pixels."""
    height, width = mask.shape
    side = 1 - 2 * _BETWEEN
    left, above = column + _BETWEEN, top + _BETWEEN
    for row, col in itertools.product(range(height - 1), range(width)):
        if mask[row, col] != mask[row + 1, col]:
            y = above + side * (row + 1) / height
            _edge(panel, [left + side * col / width, left + side * (col + 1) / width], [y, y])
    for row, col in itertools.product(range(height), range(width - 1)):
        if mask[row, col] != mask[row, col + 1]:
            x = left + side * (col + 1) / width
            _edge(panel, [x, x], [above + side * row / height, above + side * (row + 1) / height])


def _edge(panel: Axes, across: list[float], down: list[float]) -> None:
    panel.plot(across, down, color=_EDGE, lw=0.9, solid_capstyle="projecting")
