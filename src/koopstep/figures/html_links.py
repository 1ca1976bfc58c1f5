"""Noise beside what becomes of it, for a page: pointing at one noise shows its samples in the other panels.

Without a script they are still pictures.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from koopstep.data.cells import Square
from koopstep.figures.html_pictures import picture_address
from koopstep.figures.style import reach_of

_SIDE = 200  # of a panel of points, in units of its own
_EDGE = 2


@dataclass(frozen=True)
class PointLinks:
    """Points in panels, row by row from the same noise.

    Attributes:
        panels: heading -> (N, 2) places; the first is the noise. A line end divides a heading from what explains it.
        colours: N, one for each row, the same in every panel.
        squares: of the data's cells, drawn behind all panels but the first.
        finding: what was found, one sentence.
        text: how to read it.
    """

    panels: Mapping[str, np.ndarray]
    colours: Sequence[str]
    finding: str
    text: str = ""
    squares: Sequence[Square] = ()


@dataclass(frozen=True)
class ImageLinks:
    """Images in grids, each at the same place of every grid from the same noise.

    Attributes:
        panels: heading -> (N, H, W, 3) bytes; the first is the noise.
        finding: what was found, one sentence.
        text: how to read it.
        names: the class of each; empty where there are none.
    """

    panels: Mapping[str, np.ndarray]
    finding: str
    text: str = ""
    names: Sequence[str] = ()


def links_html(links: PointLinks | ImageLinks) -> str:
    """The panels, and their words below."""
    kind, panels, data = _points(links) if isinstance(links, PointLinks) else _images(links)
    words = "Point at, touch, or step with the arrow keys through the noise, and see what becomes of it."
    inside = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    text = f'<p class="soft">{html.escape(links.text)}</p>' if links.text else ""
    few = " two" if len(links.panels) < 3 else ""
    return (
        f'<figure class="links {kind}"><div class="panels{few}" role="group" '
        f'aria-label="The same noise in every panel; arrow keys step through it">{panels}</div>'
        f'<p class="said" aria-live="polite">{words}</p><script type="application/json">{inside}</script>'
        f'<figcaption><p class="finding">{html.escape(links.finding)}</p>{text}</figcaption></figure>'
    )


def _heading(title: str) -> str:
    name, _, more = title.partition("\n")
    return f"<span>{html.escape(name)}{f'<small>{html.escape(more)}</small>' if more else ''}</span>"


def _points(links: PointLinks) -> tuple[str, str, Any]:
    titles = list(links.panels)
    reaches = dict.fromkeys(titles, reach_of(np.concatenate(list(links.panels.values())[1:]), links.squares))
    reaches[titles[0]] = max(3.5, reach_of(links.panels[titles[0]], ()))  # all panels of data share one window
    panels, data = [], []
    for title, places in links.panels.items():
        reach = reaches[title]
        drawn = (np.stack([places[:, 0], -places[:, 1]], axis=1) / reach + 1) * (_SIDE / 2)
        drawn = (
            np.nan_to_num(drawn, nan=_EDGE).clip(_EDGE, _SIDE - _EDGE).round(1)
        )  # what is far off, or no number: at the edge
        squares = links.squares if title != titles[0] else ()
        panels.append(
            f'<div class="panel">{_heading(title)}<div class="plate">{_svg(title, drawn, links, squares, reach)}'
        )
        panels.append("</div></div>")
        data.append({"name": title.partition("\n")[0], "reach": round(reach, 4), "points": drawn.flatten().tolist()})
    threads = '<svg class="threads" aria-hidden="true"><path d=""></path></svg>'
    return "points", "".join(panels) + threads, data


def _svg(title: str, drawn: np.ndarray, links: PointLinks, squares: Sequence[Square], reach: float) -> str:
    """Dots are ends of lines without length, one path a colour."""
    half, colours = _SIDE / 2, np.asarray(links.colours)
    boxes = "".join(
        f'<rect x="{(x / reach + 1) * half:.1f}" y="{(1 - (y + side) / reach) * half:.1f}" width="{side / reach * half:.1f}" '
        f'height="{side / reach * half:.1f}" fill="#e6e6e1"></rect>'
        for x, y, side in squares
    )
    dots = "".join(
        f'<path stroke="{colour}" d="{"".join(f"M{x:g} {y:g}h0" for x, y in drawn[colours == colour])}"></path>'
        for colour in dict.fromkeys(links.colours)
    )
    alt = f"{title.replace(chr(10), ', ')}: {len(drawn)} points, each axis from {-reach:.3g} to {reach:.3g}"
    ticks = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}">{value:.2g}</text>'
        for x, y, anchor, value in ((3, _SIDE - 3, "start", -reach), (_SIDE - 3, _SIDE - 3, "end", reach))
    )
    return (
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" role="img" aria-label="{html.escape(alt)}">{boxes}'
        f'<g stroke-width="4" stroke-linecap="round" stroke-opacity=".85" fill="none">{dots}</g>{ticks}'
        '<circle class="mark" r="5" fill="none" stroke="#d55e00" stroke-width="2.5"></circle></svg>'
    )


def _images(links: ImageLinks) -> tuple[str, str, Any]:
    count = len(next(iter(links.panels.values())))
    columns = _columns(count)
    rows = -(-count // columns)
    grid = {"count": count, "columns": columns, "rows": rows, "names": list(links.names)}
    panels = []
    for title, images in links.panels.items():
        sheet = _sheet(images, columns, rows)
        alt = f"{count} images: {title.replace(chr(10), ', ')}"
        panels.append(
            f'<div class="panel">{_heading(title)}<div class="plate"><img alt="{html.escape(alt)}" '
            f'src="{picture_address(sheet)}" width="{sheet.shape[1]}" height="{sheet.shape[0]}">'
            f'<span class="mark box"></span></div><canvas class="lens" role="img" '
            f'aria-label="{html.escape(title.partition(chr(10))[0])}, the one pointed at, enlarged"></canvas></div>'
        )
    return "images", "".join(panels), grid


def _columns(count: int) -> int:
    return next((columns for columns in (6, 5, 4) if count % columns == 0), min(count, 6))


def _sheet(images: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """Images (N, H, W, 3) in one picture, each with a white margin, in cells of one size."""
    _, height, width, _ = images.shape
    edge = max(1, round(min(height, width) / 8))
    page = np.full((rows * (height + 2 * edge), columns * (width + 2 * edge), 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + 2 * edge) + edge, index % columns * (width + 2 * edge) + edge
        page[top : top + height, left : left + width] = image
    return page
