"""Make the pictures of docs/images from runs, all in the one colour key of koopstep.figures.

    koopstep demo --out runs/demo                                                   # demo.png
    koopstep collect digits-edm --out data/pictures --count 9000 --steps 12 --hold-out 1000 --keep 5
    koopstep train digits --method hkd --data data/pictures --out runs/pictures \\
        -o training.steps=600                                                       # edit-inpaint.png, edit-mix.png
    koopstep collect checkerboard-edm --out data/board-paths --count 60000 --steps 12 --hold-out 5000 --keep 5
    koopstep train checkerboard --method hkd+ --data data/board-paths --out runs/board-plus \\
        -o training.steps=700                                                       # board-steps.png
    python scripts/make_pictures.py --demo runs/demo --edits runs/pictures --steps runs/board-plus

``--real runs/straight``, a run of docs/editing.md, makes edit-real.png. Only what is named is made. Pictures of MNIST need its
images and hours, and stay as they are.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

TARGET = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDTH, GAP = 1000, 24


def stacked(files: list[Path]) -> Image.Image:
    """The pictures at one width, below each other on white."""
    pictures = []
    for file in files:
        picture = opened(file)
        pictures.append(
            picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        )
    page = Image.new("RGB", (WIDTH, sum(picture.height + GAP for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        page.paste(picture, (0, top))
        top += picture.height + GAP
    return page


def opened(file: Path) -> Image.Image:
    """A PNG, at most as wide as a page of the documentation."""
    with Image.open(file, formats=("PNG",)) as picture:
        shown = picture.convert("RGB")
    if shown.width <= WIDTH:
        return shown
    return shown.resize((WIDTH, round(shown.height * WIDTH / shown.width)), Image.Resampling.LANCZOS)


def koopstep(*words: object) -> None:
    """One command of koopstep, of this very Python."""
    subprocess.run([sys.executable, "-m", "koopstep", *map(str, words)], check=True)


def save(picture: Image.Image, name: str) -> None:
    """Write a picture of the documentation, with a palette; median cut, the default, would turn rare colours grey."""
    picture.quantize(256, method=Image.Quantize.MAXCOVERAGE).save(TARGET / name, optimize=True)
    print(f"wrote {TARGET / name}")


def main() -> None:
    """Make what is named."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--demo", type=Path, help="a folder of `koopstep demo`")
    asked.add_argument("--edits", type=Path, help="an hkd run on the digits")
    asked.add_argument("--real", type=Path, help="an hkd+ run on the digits with objective.linearity")
    asked.add_argument("--steps", type=Path, help="an hkd+ run on the checkerboard")
    runs = asked.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if runs.demo:
            names = [runs.demo / preset / "run" / "report" / "samples.png" for preset in ("checkerboard", "digits")]
            save(stacked(names), "demo.png")
        if runs.edits:
            for edit in ("inpaint", "mix"):
                koopstep("edit", runs.edits, edit, "--count", 100, "--out", folder / edit)
                save(opened(folder / edit / f"{edit}.png"), f"edit-{edit}.png")
        if runs.real:
            koopstep(
                "sample", runs.real, "--count", 12, "--out", folder / "my-digits"
            )  # stands for somebody's pictures
            koopstep("edit", runs.real, "mix", "--image", folder / "my-digits", "--out", folder / "real")
            save(opened(folder / "real" / "mix.png"), "edit-real.png")
        if runs.steps:
            koopstep("analyze", runs.steps, "steps", "--out", folder / "steps")
            save(opened(folder / "steps" / "steps_samples.png"), "board-steps.png")


if __name__ == "__main__":
    main()
