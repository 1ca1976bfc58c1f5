"""Make docs/images/path.png: paths of a student of modes, each from one evaluation, beside the teacher's, and their modes.

    koopstep distil digits-edm --method modes --budget 20m --out runs/path
    python scripts/make_front_picture.py runs/path

The rows of noise are the first of a seed that nothing was trained or chosen on. Every state is shown over its standard
deviation, so that noise can be seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import koopstep as ks
from koopstep.figures.sheet import Sheet, styled
from koopstep.figures.style import array

TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / "path.png"
SEED, STEPS, ROWS = 993, 12, 256
SHOWN = (0, 3, 4, 5, 6, 7, 8, 9, 12)
PULLED_APART = 6  # the step whose state is shown as the sum of its modes
_DEVIATIONS = 2.0  # that are drawn black and white
_WIDTH, _PANEL = 9.0, 0.78


def drawn(panel: Any, picture: Tensor, size: float) -> None:
    """One channel, in grey, without axes."""
    panel.imshow(array(picture[0]), cmap="gray", vmin=-_DEVIATIONS * size, vmax=_DEVIATIONS * size)
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)


def paths(figure: Any, told: dict[str, Tensor], sizes: list[float], count: int) -> None:
    """A block of lines for each row of noise: the states (N, B, C, H, W) of each path in turn."""
    heights = [1.1, *[1.0] * (count - 1)]  # the first has words over it
    for row, block in enumerate(figure.subfigures(count, 1, squeeze=False, height_ratios=heights).ravel()):
        panels = block.subplots(len(told), len(SHOWN), squeeze=False)
        for place, (line, (name, states)) in enumerate(zip(panels, told.items(), strict=True)):
            line[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
            for panel, state, size, step in zip(line, states[:, row], sizes, SHOWN, strict=True):
                drawn(panel, state, size)
                if row == place == 0:
                    panel.set_title(f"u = {step / STEPS:.2g}", fontsize=8, loc="center")


def sum_of_modes(figure: Any, student: ks.Student, noise: Tensor, size: float) -> None:
    """The state of the first row as the sum of what its modes are there."""
    modes, u = student.modes(noise[:1]), PULLED_APART / STEPS
    parts = modes.contributions(torch.tensor([u]))[0, 0].cpu()
    panels = figure.subplots(1, len(SHOWN), squeeze=False).ravel()
    drawn(panels[0], parts.sum(dim=0), size)
    panels[0].set_ylabel(f"the student's state\nat u = {u:.2g}", fontsize=8, rotation=0, ha="right", va="center")
    for number, (panel, part) in enumerate(zip(panels[1:], parts, strict=False)):
        drawn(panel, part, size)
        panel.set_title(modes.names[number], fontsize=8, loc="center")
        panel.set_ylabel("+" if number else "=", fontsize=11, rotation=0, ha="center", va="center", labelpad=5)
    for panel in panels[1 + len(parts) :]:
        panel.set_axis_off()


def main() -> None:
    """Draw."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    asked.add_argument("run", type=Path, help="a run of --method modes on images")
    asked.add_argument("--teacher", default="digits-edm")
    asked.add_argument("--rows", type=int, default=2)
    asked.add_argument("--out", type=Path, default=TARGET)
    given = asked.parse_args()
    student, teacher = ks.Student.load(given.run), ks.load_teacher(given.teacher)
    noise = student.noise(ROWS, seed=SEED)
    known = teacher.path(noise, steps=STEPS)
    told = {
        f"teacher,\n{teacher.evaluations(STEPS)} evaluations": known[list(SHOWN)],
        "student,\n1 evaluation": student.path(noise, [step / STEPS for step in SHOWN]),
    }
    sizes = known.flatten(1).std(dim=1).tolist()
    with styled():
        sheet = Sheet()
        sheet.figure.set_size_inches(_WIDTH, _PANEL * (2.35 * given.rows + 1.5))
        above, below = sheet.figure.subfigures(2, 1, height_ratios=[2.35 * given.rows, 1.5])
        paths(above, told, [sizes[step] for step in SHOWN], given.rows)
        sum_of_modes(below, student, noise, sizes[PULLED_APART])
        sheet.save(given.out)
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
