"""Samples of any shape have something that can be drawn of them."""

from __future__ import annotations

import pytest
import torch

from koopstep.analysis.display import display_of
from koopstep.figures.images import pixels
from koopstep.students.student import DataFacts


def correlated(shape: tuple[int, ...], count: int = 400) -> torch.Tensor:
    """Gaussian rows of which the last two directions are by far the widest."""
    generator = torch.Generator().manual_seed(0)
    numbers = int(torch.tensor(shape).prod())
    rows = 0.1 * torch.randn(count, numbers, generator=generator)
    rows[:, -1] *= 50
    rows[:, -2:-1] *= 20
    return (rows + 3).reshape(count, *shape)


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 4, 4)])
def test_points_and_pictures_are_shown_as_they_are(shape: tuple[int, ...]) -> None:
    data = correlated(shape)
    show = display_of(DataFacts(shape=shape), data)
    assert show(data) is data and show.note == ""
    assert show.kind == ("points" if len(shape) == 1 else "images")


@pytest.mark.parametrize("shape", [(5,), (512,), (3, 2), (1500,)])
def test_vectors_are_shown_by_their_widest_directions(shape: tuple[int, ...]) -> None:
    data = correlated(shape)
    show = display_of(DataFacts(shape=shape), data)
    points = show(data)
    assert points.shape == (400, 2) and points.dtype == data.dtype
    flat = data.flatten(1) - data.flatten(1).mean(dim=0)
    for column, direction in enumerate((-1, -2)):
        together = torch.corrcoef(torch.stack([points[:, column], flat[:, direction]]))[0, 1]
        assert together > 0.99  # with this sign, on any machine
    assert "first two principal components of the teacher's data" in show.note and "%" in show.note
    film = show(data.reshape(4, 100, *shape))  # a path of states
    assert torch.allclose(film.reshape(-1, 2), points, atol=1e-4)


def test_one_number_is_a_point_on_a_line() -> None:
    data = correlated((1,))
    points = display_of(DataFacts(shape=(1,)), data)(data)
    assert points.shape == (400, 2) and bool((points[:, 1] == 0).all()) and float(points[:, 0].std()) > 1


@pytest.mark.parametrize("planes", [2, 4, 16])
def test_latents_are_shown_as_pictures_of_their_widest_directions(planes: int) -> None:
    data = correlated((8, 8, planes)).movedim(-1, 1)
    facts = DataFacts(shape=(planes, 8, 8), data_scale=0.7, data_range=None)
    show = display_of(facts, data)
    pictures = show(data)
    assert show.kind == "images" and pictures.shape == (400, 3, 8, 8) and show.data_range == (-1.4, 1.4)
    assert float(pictures[:, 0].std()) == pytest.approx(0.7, rel=0.05)  # red fills what is drawn
    assert abs(float(pictures[:, 0].mean())) < 0.05
    assert pixels(pictures[:5], show.data_range).shape == (5, 8, 8, 3)
    assert f"components of the {planes} planes" in show.note
    assert show(data.reshape(4, 100, planes, 8, 8)).shape == (4, 100, 3, 8, 8)


def test_data_without_spread_is_shown_all_the_same() -> None:
    for shape in ((5,), (4, 8, 8)):
        show = display_of(DataFacts(shape=shape), torch.ones(10, *shape))
        assert bool(torch.isfinite(show(torch.randn(3, *shape))).all())
