"""Figures show what they were given: every kind of view is drawn, and read back from the axes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
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
from koopstep.figures.draw import _DRAWN_BY, draw, draw_on
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


def test_points_of_a_movie_have_the_colours_of_their_cells(tmp_path: Path) -> None:
    with Image.open(draw(Movie("a.gif", [POINTS.expand(2, -1, -1)], outcomes=NUMBERS, cells=CELLS), tmp_path)) as movie:
        shown = {to_hex(colour / 255).upper() for colour in np.asarray(movie.convert("RGB")).reshape(-1, 3)}
    assert shown == {*CATEGORIES[:8], "#FFFFFF"}


def test_eigenvalues_and_the_hollow_ones_that_are_only_set(drawn: Drawn) -> None:
    (panel,) = drawn(Eigenvalues("a.png", [SPECTRUM]))
    lifted, values = panel.collections
    assert len(lifted.get_facecolors()) == 0 and len(lifted.get_offsets()) == len(SPECTRUM.lifted)  # type: ignore
    found = np.asarray(values.get_offsets())
    assert np.allclose(found[:, 0] + 1j * found[:, 1], SPECTRUM.eigenvalues.numpy())
    plain = Spectrum(eigenvalues=SPECTRUM.eigenvalues).pinned("a normalisation")
    one, two = drawn(Eigenvalues("b.png", [plain, SPECTRUM]))
    assert len(one.collections) == 1
    assert "identifiable (fixed by a normalisation)" in titles([one])[0] and "not identifiable" in titles([two])[0]


def test_rates(drawn: Drawn) -> None:
    (panel,) = drawn(LevelRates("a.png", "plane", ["level"], [RATES], "free"))
    assert {tuple(row) for row in offsets(panel).round(3)} == {(-0.5, 3.0), (0.2, 1.0)}
    assert titles([panel]) == ["level: 8 modes"] and panel.get_xlim()[0] == -panel.get_xlim()[1]
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
    }
    assert np.asarray(samples.collections[1].get_facecolors()).shape[0] > 1  # ringed, and not covered
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


def test_all_panels_of_the_noise_space_are_one_place(drawn: Drawn) -> None:
    """Teacher and student beside each other: a noise lies at one place, so that its two outcomes can be compared."""
    high, outcomes = gaussian(1, range(300), (1, 4, 4)), torch.arange(300) % 3
    maps = {"untrained": outcomes.flip(0), "teacher": outcomes, "student": (outcomes + 1) % 3}
    first, second, third = drawn(NoiseSpace("a.png", high, maps, separates="teacher"))
    assert np.array_equal(offsets(first), offsets(second)) and np.array_equal(offsets(second), offsets(third))
    assert first.get_xlim() == second.get_xlim() == third.get_xlim()
    assert colours(second) != colours(third)
    (alone,) = drawn(NoiseSpace("b.png", high, {"teacher": outcomes}))
    assert np.array_equal(offsets(alone), offsets(second))  # the plane of the teacher's outcomes


def test_things_in_an_order_have_colours_in_an_order(drawn: Drawn) -> None:
    lines = {name: ([0, 1], [1.0, 2.0]) for name in ("smallest", "middle", "largest")}
    ordered, free = drawn(Curves("a.png", {"one": lines, "two": lines}, across="x", ordered=["one"]))
    light = [sum(to_rgb(line.get_color())) for line in ordered.get_lines()]
    assert light == sorted(light) and len(set(light)) == 3
    assert [line.get_color() for line in free.get_lines()] == list(LINES[1:4])
    (panel,) = drawn(Bars("b.png", {"one": {"effect": [1.0, 2.0, 3.0]}}, ["a", "b", "c"], up="y", ordered=True))
    light = [sum(bar.get_facecolor()) for bar in panel.patches]  # type: ignore[attr-defined]
    assert light == sorted(light) and len(set(light)) == 3


def test_panels_that_are_compared_have_one_height(drawn: Drawn) -> None:
    panels = {name: {"a": ([0, 1], [0.0, top])} for name, top in (("one", 1.0), ("two", 2.0), ("three", 9.0))}
    one, two, three = drawn(Curves("a.png", panels, across="x", alike=[("one", "two")]))
    assert one.get_ylim() == two.get_ylim() and 2 < one.get_ylim()[1] < 3 < 9 < three.get_ylim()[1]


def test_the_teachers_line_is_seen_under_the_students(drawn: Drawn) -> None:
    same = ([0, 1], [1.0, 2.0])
    (panel,) = drawn(Curves("a.png", {"one": {"teacher": same, "student": same}}, across="x"))
    teacher, student = panel.get_lines()
    assert teacher.get_zorder() > student.get_zorder() and teacher.get_markerfacecolor() == "none"
    assert teacher.get_markersize() > 2 * student.get_markersize() and teacher.get_color() != student.get_color()


def test_angles_have_a_circle_of_colours_and_a_bar(drawn: Drawn) -> None:
    turn = torch.linspace(0, 2 * torch.pi, 50)
    ring = torch.stack([turn.cos(), turn.sin()], dim=1)
    panel, *_ = drawn(Clouds("a.png", {"a": ring}))
    shown = [np.array(to_rgb(colour)) for colour in colours(panel)]
    assert max(np.abs(one - two).max() for one, two in zip(shown, [*shown[1:], shown[0]], strict=True)) < 0.2
    assert max(one.min() for one in shown) < 0.8  # none is lost on white
    (bar,) = panel.child_axes
    assert "direction" in bar.get_ylabel()


def test_numbers_shown_as_colours_have_a_bar(drawn: Drawn) -> None:
    rows = [ImageRow("less", -IMAGES[:3], "differences"), ImageRow("moved", IMAGES[:3].abs(), "changes")]
    panel, *_ = drawn(Images("a.png", rows, reach=0.5, scale="what"))
    signed, moved = panel.child_axes
    assert signed.get_ylim() == (-0.5, 0.5) and signed.get_ylabel() == moved.get_ylabel() == "what"
    assert moved.get_ylim() == (0, pytest.approx(float(IMAGES[:3].abs().max())))
    assert not drawn(Images("b.png", image_rows({"a": IMAGES})))[0].child_axes
    growth, rotation, *_ = drawn(LevelRates("c.png", "maps", ["level"], [RATES], "free"))
    low, high = growth.child_axes[0].get_ylim()
    assert low == -high and rotation.child_axes[0].get_ylim()[0] == 0


def test_crowded_eigenvalues_are_shown_larger(drawn: Drawn) -> None:
    angles = torch.linspace(-0.01, 0.01, 20, dtype=torch.float64)
    crowd = Spectrum(eigenvalues=torch.polar(torch.ones_like(angles), angles))
    panel, *_ = drawn(Eigenvalues("a.png", [crowd]))
    (inside,) = panel.child_axes
    low, high = inside.get_ylim()
    assert -0.02 < low < -0.01 and 0.01 < high < 0.02 and inside.get_xlim()[0] < 1 < inside.get_xlim()[1]
    spread, *_ = drawn(Eigenvalues("b.png", [Spectrum(eigenvalues=torch.polar(torch.ones_like(angles), 100 * angles))]))
    assert not spread.child_axes


def test_planes_of_what_is_no_image_are_tiles(drawn: Drawn) -> None:
    planes = gaussian(0, range(3), (4, 4, 4))
    (panel,) = drawn(Images("a.png", image_rows({"a": planes})))
    assert np.asarray(panel.get_images()[0].get_array()).shape == (9, 9, 3)


VIEWS: list[View] = [
    Curves("a.png", {"one": {"a": ([0, 1], [1.0, 2.0])}, "two": {"a": ([0, 1], [1.0, 2.0])}}, across="x", title="t"),
    Bars("a.png", {"one": {"a": [1.0, 2.0]}}, ["g", "h"], up="y"),
    Images("a.png", image_rows({"a": IMAGES}), title="t"),
    Pairs("a.png", IMAGES, -IMAGES),
    PointPairs("a.png", POINTS, -POINTS, outcomes=NUMBERS, cells=CELLS),
    Clouds("a.png", {"a": POINTS, "b": POINTS}),
    Movie("a.gif", [IMAGES.expand(2, -1, -1, -1, -1)]),
    Eigenvalues("a.png", [SPECTRUM, SPECTRUM]),
    LevelRates("a.png", "plane", ["a", "b"], [RATES, RATES], "free"),
    LevelRates("a.png", "maps", ["a", "b"], [RATES, RATES], "free"),
    NoiseSpace("a.png", NOISE, {"teacher": NUMBERS, "student": NUMBERS}, cells=CELLS),
    OutlierMap("a.png", NOISE, {"t": POINTS}, {"t": NUMBERS == 0}, {"t": NUMBERS}, CELLS),
]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: type(view).__name__)
def test_every_view_is_drawn_on_axes_of_ones_own(view: View) -> None:
    page = Figure(layout="constrained")
    left, right = page.subplots(1, 2)
    before, settings = left.get_position().bounds, dict(matplotlib.rcParams)
    assert draw_on(view, right) is page
    drawn = [right, *right.child_axes]
    assert any(panel.has_data() for panel in drawn) and not left.has_data() and left.axison
    assert len(page.axes) - len(right.child_axes) <= 2 and not left.child_axes
    page.draw_without_rendering()
    assert dict(matplotlib.rcParams) == settings
    middle = (left.get_window_extent().x1 + right.get_window_extent().x0) / 2
    assert all(panel.get_window_extent().x0 > middle for panel in drawn) and before
    placed = Figure().add_axes((0.1, 0.1, 0.5, 0.5))  # by hand: no grid to divide
    assert draw_on(view, placed) is placed.figure


def test_panels_can_be_given_one_by_one_and_a_figure_of_its_own_is_no_windows() -> None:
    view = VIEWS[0]
    panels = Figure().subplots(1, 2)
    draw_on(view, list(panels))
    assert titles(list(panels)) == ["one", "two"]
    with pytest.raises(UsageError, match="has 2 panels: give one axes for all of them or 2, not 3"):
        draw_on(view, list(Figure().subplots(1, 3)))
    pyplot = sys.modules.get("matplotlib.pyplot")
    alone = draw_on(view)
    assert len(alone.axes) == 2 and alone.get_suptitle() == "t"
    assert sys.modules.get("matplotlib.pyplot") is pyplot  # pyplot, and with it a window system, is not asked for


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
        (Images("a.png", image_rows({"a": IMAGES[:, 0]})), "1 or 3"),
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
