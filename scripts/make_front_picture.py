"""Write docs/images/demo.png: the report's samples of two runs, one above the other.

koopstep demo --out runs/demo
python scripts/make_front_picture.py runs/demo/checkerboard/run runs/demo/digits/run
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / "demo.png"
WIDTH, GAP = 1000, 24


def stacked(files: list[Path]) -> Image.Image:
    """The pictures at one width, below each other on white."""
    pictures = []
    for file in files:
        with Image.open(file, formats=("PNG",)) as opened:
            picture = opened.convert("RGB")
        pictures.append(
            picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        )
    page = Image.new("RGB", (WIDTH, sum(picture.height + GAP for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        page.paste(picture, (0, top))
        top += picture.height + GAP
    return page


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python scripts/make_front_picture.py RUN RUN")
    stacked([Path(run) / "report" / "samples.png" for run in sys.argv[1:]]).save(TARGET, optimize=True)
    print(f"wrote {TARGET}")
