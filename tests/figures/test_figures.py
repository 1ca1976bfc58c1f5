"""Figures show what they were given: every kind of view is drawn, and read back from the axes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from koopstep.analysis.findings import (
    Bars,
    Clouds,
    Curves,
    Eigenvalues,
    ImageRow,
    Images,
    LevelRates,
    Movie,
    NoiseSpace,
    OutlierMap,
    Pairs,
    PointPairs,
    View,
    image_rows,
)
from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian
from koopstep.data.checkerboard import CELLS, EXTENT, sample
from koopstep.figures.draw import _DRAWN_BY, draw
from koopstep.figures.images import pixels
from koopstep.figures.lines import loss_curves
from koopstep.figures.points import scatter
from koopstep.figures.style import CATEGORIES, FAINT, LINES, colours_of
from koopstep.figures.tables import differences, hatched, heat
from koopstep.operators.factorised import FactorisedConfig
from koopstep.operators.rates import Rates
from koopstep.operators.spectrum import Spectrum
from koopstep.operators.table import build_operator

NOISE, POINTS = gaussian(0, range(600), (2,)), sample(0, 600)
NUMBERS = CELLS.filled(POINTS)
IMAGES = gaussian(0, range(12), (1, 4, 4)).clamp(-1, 1)
RATES = Rates(
    torch.tensor([-0.5, 0.2]).view(2, 1, 1).expand(2, 2, 2), torch.tensor([3.0, -1.0]).view(2, 1, 1).expand(2, 2, 2)
)
SPECTRUM = build_operator(FactorisedConfig(), (16,), 0).spectrum()
RECORDS = [
    {"step": s, "total": 3 / s, "terms": {"latent": 1 / s, "adversarial": -1.0}, "seconds": 0.1} for s in range(1, 50)
]
Drawn = Callable[[View], list[Axes]]


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """Figures as they would be written; nothing is rendered."""
    figures: list[Figure] = []

    def savefig(figure: Figure, file: Any, **options: Any) -> None:
        figures.append(figure)
        file.write(b"a picture")

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


@pytest.fixture
def drawn(saved: list[Figure], tmp_path: Path) -> Drawn:
    def axes_of(view: View) -> list[Axes]:
        assert draw(view, tmp_path) == tmp_path / view.file
        return saved[-1].axes

    return axes_of


def titles(axes: list[Axes]) -> list[str]:
    return [panel.get_title(loc="left") for panel in axes]


def colours(panel: Axes) -> list[str]:
    """Of the dots of a panel's first cloud, in order."""
    return [to_hex(colour).upper() for colour in panel.collections[0].get_facecolors()]  # type: ignore[attr-defined]


def offsets(panel: Axes) -> np.ndarray:
    return np.asarray(panel.collections[0].get_offsets())


def test_every_kind_of_view_is_drawn() -> None:
    assert set(_DRAWN_BY) == set(get_args(View))


def test_curves(drawn: Drawn) -> None:
    panels = {
        "one": {"a": ([0, 1, 2], [1.0, 2.0, 4.0]), "mean": ([0, 1, 2], [2.0, 2.0, 2.0])},
        "two": {"a": ([0, 1, 2], [1.0, 10.0, 100.0])},
    }
    first, second = drawn(Curves("a.png", panels, across="x", up="y", logarithmic=["two"], faint=["mean"]))
    assert titles([first, second]) == ["one", "two"]
    line, mean = first.get_lines()
    assert np.array_equal(np.asarray(line.get_xydata()), [[0, 1], [1, 2], [2, 4]])
    assert (line.get_color(), line.get_linestyle(), mean.get_linestyle()) == (LINES[1], "-", "--")
    assert (first.get_xlabel(), first.get_ylabel(), second.get_ylabel()) == ("x", "y", "")
    assert first.get_ylim()[0] == 0 and (first.get_yscale(), second.get_yscale()) == ("linear", "log")
    legend = first.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["a", "mean"]
    assert second.get_legend() is None
    lines = {"a": ([0, 1], [1.0, 2.0]), "b": ([0, 1], [2.0, 1.0])}
    both = {"one": lines, "two": lines | {"teacher": ([0, 1], [1.0, 1.0])}}
    first, second = drawn(Curves("c.png", both, across="x", faint=["teacher"]))
    legend = second.get_legend()
    assert first.get_legend() is None and legend is not None  # one for both
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "teacher"]
    (free,) = drawn(Curves("b.png", {"one": {"a": ([0, 1], [5.0, 6.0])}}, across="x", from_zero=False))
    assert free.get_ylim()[0] > 4


def test_bars(drawn: Drawn) -> None:
    (panel,) = drawn(
        Bars("a.png", {"one": {"a": [1.0, 2.0], "b": [3.0, 4.0]}}, ["g", "h"], up="y", spread=("l", 2.0, 5.0))
    )
    assert [bar.get_height() for bar in panel.patches][:4] == [1, 2, 3, 4]  # type: ignore[attr-defined]
    assert [text.get_text() for text in panel.get_xticklabels()] == ["g", "h"]
    assert panel.get_ylim() == (0, pytest.approx(5.4))


def test_images_in_rows(drawn: Drawn) -> None:
    changes = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:2, :2] = True
    rows = [
        ImageRow("a", IMAGES[:3]),
        ImageRow("less", -IMAGES[:3], "differences"),
        ImageRow("moved", changes[1:], "changes", skip=1, gap=0.5),
    ]
    (panel,) = drawn(Images("a.png", rows, columns=["1", "2", "3"], title="title", mask=mask))
    shown = [np.asarray(image.get_array()) for image in panel.get_images()]
    assert np.array_equal(shown[0], pixels(IMAGES)[0]) and np.array_equal(shown[3], differences(-IMAGES[:1])[0])
    assert np.array_equal(shown[7], heat(changes[2:], 2.0)[0])
    assert [image.get_extent()[0] // 1 for image in panel.get_images()] == [0, 1, 2, 0, 1, 2, 1, 2]  # type: ignore[operator]
    assert min(panel.get_images()[-1].get_extent()[2:]) > 2.5
    assert len(panel.get_lines()) == 2 * 4  # the mask's edge, on the changes
    assert [text.get_text() for text in panel.texts] == ["a", "less", "moved", "1", "2", "3"]
    assert titles([panel]) == ["title"]


def test_pairs_of_images_stand_above_each_other(drawn: Drawn) -> None:
    (panel,) = drawn(Pairs("a.png", IMAGES, -IMAGES, titles=("u", "l")))
    tops = [min(image.get_extent()[2:]) // 1 for image in panel.get_images()]
    assert tops == [0] * 10 + [1] * 10 + [2] * 2 + [3] * 2  # bands of ten
    shown = [np.asarray(image.get_array()) for image in panel.get_images()]
    assert np.array_equal(shown[3], pixels(IMAGES)[3]) and np.array_equal(shown[13], pixels(-IMAGES)[3])
    assert [text.get_text() for text in panel.texts] == ["u", "l", "u", "l"]


def test_images_of_another_range(drawn: Drawn) -> None:
    view = Images("a.png", image_rows({"a": (IMAGES + 1) / 2}), data_range=(0.0, 1.0))
    assert np.array_equal(np.asarray(drawn(view)[0].get_images()[0].get_array()), pixels(IMAGES)[0])


def test_what_is_missing_and_what_changed() -> None:
    hole = torch.zeros(4, 4, dtype=torch.bool)
    hole[0] = True
    shown = pixels(torch.ones(1, 1, 4, 4) * -1)
    over = hatched(shown, hole)
    assert (over[:, 0] > 200).all() and (over[:, 1:] == 0).all() and len(np.unique(over[0, 0], axis=0)) == 2
    none, most = heat(torch.arange(2.0).view(2, 1, 1, 1), 1.0)
    assert (none == 1).all() and to_hex(most[0, 0]).upper() == LINES[1]
    less, more = differences(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)).reshape(2, 3)
    assert less[2] > less[0] and more[0] > more[2]


def test_clouds_share_a_window_and_a_point_its_colour(drawn: Drawn) -> None:
    first, gap, second = drawn(Clouds("a.png", {"a": POINTS, "": POINTS, "b": POINTS.flip(0)}, columns=3))
    assert titles([first, second]) == ["a", "b"] and not gap.axison
    assert first.get_xlim() == second.get_xlim() == first.get_ylim()
    colours = [np.asarray(panel.collections[0].get_facecolors()) for panel in (first, second)]
    assert np.array_equal(colours[0], colours[1]) and len(np.unique(colours[0], axis=0)) > 3
    assert np.array_equal(offsets(first), offsets(second)[::-1])


@pytest.mark.parametrize("sets", [[IMAGES[:6].view(3, 2, 1, 4, 4)] * 2, [torch.randn(3, 50, 2)] * 2])
def test_movies(sets: list[torch.Tensor], tmp_path: Path) -> None:
    with Image.open(draw(Movie("a.gif", sets), tmp_path)) as movie:
        assert movie.n_frames == 3  # type: ignore[attr-defined]
        assert movie.size == ((96, 96) if sets[0].ndim == 5 else (288, 144))
        assert movie.info["duration"] == 120
        frame = np.asarray(movie.convert("RGB"))
    if sets[0].ndim == 5:
        assert np.abs(frame[0:48:12, 0:48:12].astype(int) - pixels(sets[0][0])[0]).max() <= 4  # a GIF has 256 colours
    else:
        assert (frame == 25).any() and (frame == 255).any()


def test_eigenvalues_and_the_hollow_ones_that_are_only_set(drawn: Drawn) -> None:
    (panel,) = drawn(Eigenvalues("a.png", [SPECTRUM]))
    lifted, values = panel.collections
    assert len(lifted.get_facecolors()) == 0 and len(lifted.get_offsets()) == len(SPECTRUM.lifted)  # type: ignore
    found = np.asarray(values.get_offsets())
    assert np.allclose(found[:, 0] + 1j * found[:, 1], SPECTRUM.eigenvalues.numpy())
    plain = Spectrum(eigenvalues=SPECTRUM.eigenvalues).pinned("a normalisation")
    one, two = drawn(Eigenvalues("b.png", [plain, SPECTRUM]))
    assert len(one.collections) == 1
    assert "gauge: fixed by a normalisation" in titles([one])[0] and "gauge: free" in titles([two])[0]


def test_rates(drawn: Drawn) -> None:
    (panel,) = drawn(LevelRates("a.png", "plane", ["level"], [RATES], "free"))
    assert {tuple(row) for row in offsets(panel).round(3)} == {(-0.5, 3.0), (0.2, 1.0)}
    assert titles([panel]) == ["level"] and panel.get_xlim()[0] == -panel.get_xlim()[1]
    growth, rotation, *_ = drawn(LevelRates("b.png", "maps", ["level"], [RATES], "free"))
    assert np.allclose(np.asarray(growth.get_images()[0].get_array()), -0.15)
    assert np.allclose(np.asarray(rotation.get_images()[0].get_array()), 2.0)
    half, double, period = drawn(LevelRates("c.png", "times", ["level"], [RATES], "free"))
    assert [float(panel.get_lines()[0].get_ydata()[-1]) for panel in (half, double, period)] == [0.5, 0.5, 1.0]  # type: ignore


def test_losses_have_a_line_a_term(saved: list[Figure], tmp_path: Path) -> None:
    loss_curves(tmp_path / "a.png", RECORDS)
    (panel,) = saved[-1].axes
    assert [line.get_label() for line in panel.get_lines()] == ["total", "latent", "adversarial"]
    assert np.isnan(np.asarray(panel.get_lines()[2].get_ydata(), float)).all()  # never positive
    loss_curves(tmp_path / "b.png", RECORDS, names=["latent"])
    assert [line.get_label() for line in saved[-1].axes[0].get_lines()] == ["latent"]
    for records in ([], [{"step": 1}], [{"total": 1.0}]):
        with pytest.raises(UsageError, match="no step with a loss"):
            loss_curves(tmp_path / "d.png", records)


def test_a_cell_has_one_colour_in_every_figure(drawn: Drawn) -> None:
    """Read literally, two keys on one page say that noise at the top becomes the bottom cell."""
    key = {int(number): colour for number, colour in zip(NUMBERS, colours_of(NUMBERS, CELLS), strict=True)}
    assert set(key.values()) == set(CATEGORIES[:8])
    some = NUMBERS[0] != NUMBERS  # not all cells occur in all figures

    def check(panel: Axes, points: torch.Tensor, numbers: torch.Tensor) -> None:
        by_place = {tuple(place): int(number) for place, number in zip(points.tolist(), numbers, strict=True)}
        assert len(offsets(panel)) > 10
        for place, colour in zip(offsets(panel).tolist(), colours(panel), strict=True):
            assert colour == key[by_place[tuple(place)]]

    left, right = drawn(PointPairs("a.png", POINTS[some], -POINTS[some], outcomes=NUMBERS[some], cells=CELLS))
    check(left, POINTS[some], NUMBERS[some])
    check(right, -POINTS[some], NUMBERS[some])
    (panel,) = drawn(NoiseSpace("b.png", NOISE, {"teacher": NUMBERS}, cells=CELLS))
    check(panel, NOISE, NUMBERS)
    mask = torch.arange(600) < 100
    samples, noise = drawn(OutlierMap("c.png", NOISE, {"t": POINTS}, {"t": mask}, {"t": NUMBERS}, CELLS))
    check(samples, POINTS, NUMBERS)
    check(noise, NOISE, NUMBERS)
    assert {tuple(row) for row in np.asarray(samples.collections[1].get_offsets()).tolist()} == {
        tuple(row) for row in POINTS[:100].tolist()
    }  # crosses
    assert "100 outliers of 600" in samples.get_xlabel()
    (panel,) = drawn(Clouds("d.png", {"a": -POINTS}, colours=POINTS, cells=CELLS))
    check(panel, -POINTS, NUMBERS)
    assert {patch.get_x() for patch in samples.patches} == {x for x, _, _ in CELLS.squares}  # type: ignore[attr-defined]
    assert samples.get_xlim()[1] > EXTENT


def test_colours() -> None:
    assert colours_of(torch.tensor([5, -1, 3])).tolist() == [CATEGORIES[5], FAINT, CATEGORIES[3]]
    everywhere = colours_of(torch.arange(16), CELLS).tolist()
    assert len(set(everywhere)) == 16
    assert colours_of(torch.tensor([3]), CELLS)[0] == everywhere[3]  # whatever else occurs


def test_noise_of_many_dimensions_has_a_legend_of_names(drawn: Drawn) -> None:
    high, outcomes = gaussian(1, range(300), (1, 4, 4)), torch.arange(300) % 3
    one, two = drawn(NoiseSpace("a.png", high, {"a": outcomes, "b": outcomes.flip(0)}, names=["x", "y", "z"]))
    legend = two.get_legend()
    assert legend is not None and one.get_legend() is None
    assert [text.get_text() for text in legend.get_texts()] == ["x", "y", "z"]
    assert "discriminant" in one.get_xlabel() and len(offsets(one)) == 150  # fitted on the other half


def test_a_file_is_written_whole_and_alike(tmp_path: Path) -> None:
    view = PointPairs("a.png", POINTS, POINTS + 0.1, outcomes=NUMBERS, cells=CELLS)
    first, second = draw(view, tmp_path / "new"), draw(view, tmp_path / "other")
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    with Image.open(first) as image:
        assert image.format == "PNG" and round(image.info["dpi"][0]) == 150
        picture = np.asarray(image.convert("RGB")).astype(int)
    assert (picture != 255).any()
    border = np.concatenate([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3)])
    assert (border == 255).all(), "something is cut off at the edge"


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (PointPairs("a.png", POINTS, POINTS[:5]), "give pairs"),
        (PointPairs("a.png", gaussian(0, range(3), (3,)), POINTS), r"\(N, 2\)"),
        (Pairs("a.png", IMAGES, IMAGES[:5]), "give pairs"),
        (Images("a.png", image_rows({"a": IMAGES.expand(-1, 2, -1, -1)})), "1 or 3"),
    ],
)
def test_wrong_shapes(view: View, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        draw(view, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"koopstep\[analysis\]"):
        scatter(tmp_path / "a.png", POINTS)
    assert not list(tmp_path.iterdir())
