"""Figures are files that show what they were given: size, colours, crosses, titles that fit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian, integers
from koopstep.data.checkerboard import EXTENT, cell_of, filled, sample
from koopstep.figures import lines, spectra, tables
from koopstep.figures import points as figures
from koopstep.figures.style import CATEGORIES, FAINT, INK, LINES, colours_of, palette
from koopstep.operators.factorised import FactorisedConfig
from koopstep.operators.spectrum import Spectrum
from koopstep.operators.table import build_operator

NOISE = gaussian(0, range(600), (2,))
POINTS = sample(0, 600)
CELLS = cell_of(POINTS)
IMAGES = gaussian(0, range(7), (1, 8, 8))
COLOUR_IMAGES = gaussian(0, range(3), (3, 8, 8))
HIGH = gaussian(1, range(300), (1, 4, 4))
RECORDS = [
    {"step": s, "total": 3 / s, "terms": {"latent": 1 / s, "adversarial": -1.0}, "seconds": 0.1} for s in range(1, 50)
]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert round(image.info["dpi"][0]) == 150
        return np.asarray(image.convert("RGB")).astype(int)


def close_to(picture: np.ndarray, colour: str, tolerance: int = 12) -> int:
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return int((np.abs(picture - wanted).max(axis=2) <= tolerance).sum())


DRAWINGS: dict[str, Callable[[Path], Path]] = {
    "paired": lambda path: figures.paired_scatter(
        path, POINTS, POINTS + 0.1, outcomes=CELLS, squares=figures.checkerboard_squares()
    ),
    "paired-plain": lambda path: figures.paired_scatter(path, POINTS.numpy(), POINTS.numpy()),
    "gray": lambda path: tables.image_pairs(path, IMAGES, IMAGES, columns=4),
    "colour": lambda path: tables.image_pairs(path, IMAGES.expand(-1, 3, -1, -1), IMAGES.expand(-1, 3, -1, -1)),
    "noise": lambda path: figures.noise_space(path, NOISE, {"untrained": -CELLS, "teacher": CELLS, "student": CELLS}),
    "noise-high": lambda path: figures.noise_space(
        path,
        gaussian(1, range(300), (1, 4, 4)),
        {"teacher": integers(0, range(300), 3)},
        names=["a", "b", "c"],
    ),
    "outliers": lambda path: figures.outlier_map(
        path, NOISE, {"teacher": POINTS, "student": POINTS}, {"teacher": CELLS == 0, "student": CELLS == 2}
    ),
    "losses": lambda path: lines.loss_curves(path, RECORDS),
    "eigenvalues": lambda path: spectra.eigenvalues(path, [build_operator(FactorisedConfig(), 16, 0).spectrum()] * 4),
}


@pytest.mark.parametrize("name", sorted(DRAWINGS))
def test_every_figure_is_written_whole_and_alike(name: str, tmp_path: Path) -> None:
    first = DRAWINGS[name](tmp_path / "new" / "first.png")
    second = DRAWINGS[name](tmp_path / "second.png")
    assert first.read_bytes() == second.read_bytes()
    picture = pixels(first)
    assert (picture != 255).any()
    border = np.concatenate([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3)])
    assert (border == 255).all(), "something is cut off at the edge"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["first.png"]


def test_points_have_the_colour_of_their_outcome(tmp_path: Path) -> None:
    left = torch.tensor([[-1.0, 0.0]]).expand(300, 2) + 0.2 * gaussian(0, range(300), (2,))
    points, outcomes = torch.cat([left, -left]), torch.arange(600) // 300
    picture = pixels(figures.paired_scatter(tmp_path / "a.png", points, points, outcomes=outcomes))
    half = picture[:, : picture.shape[1] // 2]
    tint = [np.argwhere(np.abs(half - rgb(CATEGORIES[i])).max(axis=2) < 60)[:, 1].mean() for i in (0, 1)]
    assert tint[0] < tint[1]


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])


def test_images_are_shown_teacher_above_student(tmp_path: Path) -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    picture = pixels(tables.image_pairs(tmp_path / "a.png", red, -red))
    red_rows = np.argwhere(np.abs(picture - [255, 0, 0]).max(axis=2) == 0)[:, 0]
    cyan_rows = np.argwhere(np.abs(picture - [0, 255, 255]).max(axis=2) == 0)[:, 0]
    assert len(red_rows) > 2000
    assert red_rows.max() < cyan_rows.min()


def test_outliers_are_black_crosses(tmp_path: Path) -> None:
    def draw(mask: torch.Tensor) -> int:
        path = tmp_path / "a.png"
        figures.outlier_map(path, NOISE, {"t": POINTS}, {"t": mask}, outcomes={"t": CELLS})
        return close_to(pixels(path), INK)

    some = torch.zeros(600, dtype=torch.bool)
    some[:100] = True
    assert draw(some) > draw(torch.zeros_like(some)) + 2000


def test_loss_curves_have_one_line_a_term(tmp_path: Path) -> None:
    picture = pixels(lines.loss_curves(tmp_path / "a.png", RECORDS))
    # total, latent and adversarial, which is never positive: in the legend only
    assert min(close_to(picture, colour) for colour in LINES[:3]) > 50
    picture = pixels(lines.loss_curves(tmp_path / "b.png", RECORDS, names=["latent"]))
    assert close_to(picture, LINES[1]) == 0
    pixels(lines.loss_curves(tmp_path / "c.png", RECORDS[:1]))
    for records in ([], [{"step": 1}], [{"total": 1.0}]):
        with pytest.raises(UsageError, match="no step with a loss"):
            lines.loss_curves(tmp_path / "d.png", records)


def test_lifted_eigenvalues_are_hollow(tmp_path: Path) -> None:
    spectrum = build_operator(FactorisedConfig(), 16, 0).spectrum()
    with_lifted = pixels(spectra.eigenvalues(tmp_path / "a.png", [spectrum]))
    plain = Spectrum(eigenvalues=spectrum.eigenvalues).pinned("a normalisation of the observables at every u " * 2)
    without = pixels(spectra.eigenvalues(tmp_path / "b.png", [plain]))
    assert close_to(with_lifted, LINES[2], 60) > 100
    assert close_to(without, LINES[2], 60) == 0


def test_colours() -> None:
    few = palette([torch.tensor([5, 3, -1, 3])])
    assert few == {3: CATEGORIES[0], 5: CATEGORIES[1]}
    assert colours_of(torch.tensor([5, -1, 9]), few).tolist() == [CATEGORIES[1], FAINT, FAINT]
    many = palette([torch.arange(16), torch.arange(16)[8:].repeat(5)])
    assert len(set(many.values())) == 16
    assert {many[name] for name in range(8, 16)} == set(CATEGORIES[:8])  # the frequent ones
    assert palette([torch.tensor([-1])]) == {}


def test_squares_are_the_filled_cells() -> None:
    squares = figures.checkerboard_squares()
    middles = torch.tensor([[x + s / 2, y + s / 2] for x, y, s in squares])
    assert bool(filled(middles).all())
    assert len(squares) == 8
    assert min(x for x, _, _ in squares) == -EXTENT


def test_wrong_shapes_and_a_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(UsageError, match="give pairs"):
        figures.paired_scatter(path, POINTS, POINTS[:5])
    with pytest.raises(UsageError, match=r"\(N, 2\)"):
        figures.paired_scatter(path, gaussian(0, range(3), (3,)), POINTS)
    with pytest.raises(UsageError, match="give pairs"):
        tables.image_pairs(path, IMAGES, IMAGES[:5])
    with pytest.raises(UsageError, match="1 or 3"):
        tables.image_pairs(path, *[IMAGES.expand(-1, 2, -1, -1)] * 2)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"koopstep\[analysis\]"):
        lines.loss_curves(path, RECORDS)
    assert not path.exists()
