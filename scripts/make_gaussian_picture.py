"""Make docs/images/gaussian-path.png: how a Gaussian's axes shrink along the path, in closed form.

python scripts/make_gaussian_picture.py
"""

from __future__ import annotations

from pathlib import Path

import torch

from koopstep.core.levels import karras_sigmas
from koopstep.figures.sheet import Sheet, styled
from koopstep.figures.style import LINES
from koopstep.teachers.gaussian_path import gaussian_path_factors

TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / "gaussian-path.png"
VARIANCES = torch.tensor([1.0, 0.25, 0.04, 0.0025], dtype=torch.float64)
STEPS = 120  # drawn finer than a path is solved


def main() -> None:
    """Draw the standard deviation of the states along each axis, and the same over its value at the end."""
    levels = karras_sigmas(STEPS)
    u = torch.linspace(0, 1, STEPS + 1)
    sizes = gaussian_path_factors(VARIANCES, levels) * (VARIANCES + levels[0] ** 2).sqrt()
    with styled():
        sheet = Sheet()
        left, right = sheet.panels(3.6, 2.8, columns=2)
        for variance, size, colour in zip(VARIANCES.tolist(), sizes.T, LINES[1:], strict=False):
            left.plot(u, size, color=colour, label=f"λ = {variance:g}")
            right.plot(u, size / size[-1], color=colour)
        left.plot(u[:-1], levels[:-1], color=LINES[0], linestyle=":", label="noise σ")
        left.set_title("standard deviation of the states")
        right.set_title("the same over its value at the end")
        for panel, low, high in ((left, 0.02, 120.0), (right, 0.9, 200.0)):
            panel.set_yscale("log")
            panel.set_ylim(low, high)
            panel.set_xlabel("progress u")
            panel.grid(True, axis="y")
        left.legend(loc="lower left")
        sheet.save(TARGET)
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
