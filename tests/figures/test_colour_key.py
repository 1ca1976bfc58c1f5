"""The one colour key holds on pages, too, whose pictures are made smaller and given palettes."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
from PIL import Image

from koopstep.analysis.findings import PointPairs
from koopstep.data.checkerboard import CELLS, sample
from koopstep.figures.draw import draw
from koopstep.figures.html_pictures import embedded
from koopstep.formats.pictures import decode


def test_a_page_keeps_the_colours_of_the_cells(tmp_path: Path) -> None:
    points = sample(0, 3000)
    file = draw(PointPairs("a.png", points, points, outcomes=CELLS.filled(points), cells=CELLS), tmp_path)
    page = embedded(file, 1000)
    shown = decode(base64.b64decode(page.address.partition(",")[2]), "page").astype(int)
    with Image.open(file) as whole:
        right = np.asarray(whole.convert("RGB").resize((page.width, page.height), Image.Resampling.LANCZOS)).astype(int)
    coloured = right.max(axis=2) - right.min(axis=2) > 70
    assert coloured.mean() > 0.02
    assert np.abs(shown - right).max(axis=2)[coloured].max() <= 25


def test_a_page_keeps_all_greys(tmp_path: Path) -> None:
    greys = np.linspace(0, 255, 256).astype(np.uint8)[None].repeat(400, axis=0).repeat(5, axis=1)
    file = tmp_path / "a.png"
    Image.fromarray(np.stack([greys] * 3, axis=2)).save(file)
    page = embedded(file, 640)
    shown = decode(base64.b64decode(page.address.partition(",")[2]), "page")
    assert len(np.unique(shown)) > 200
