"""Teachers that would fill a store with something else than they say are refused or named before they do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from linear_teacher import LinearTeacher
from torch import Tensor, nn

from koopstep.core.config import dump
from koopstep.core.errors import NumericsError, UsageError
from koopstep.core.pixels import DataRange
from koopstep.data.collect import CollectSettings, collect
from koopstep.data.commits import root_digest
from koopstep.data.manifest import Manifest
from koopstep.data.store import Store
from koopstep.teachers.analytic import MixtureDenoiser
from koopstep.teachers.base import Teacher
from koopstep.teachers.functions import from_denoiser, from_velocity

SETTINGS = CollectSettings(count=64, steps=3, unit_size=32)


def fill(folder: Path, teacher: object, settings: CollectSettings = SETTINGS) -> Store:
    for _ in collect(teacher, folder, settings):  # type: ignore[arg-type]
        pass
    return Store.open(folder)


def bars(low: float, high: float) -> Callable[..., Tensor]:
    """A velocity towards pictures whose pixels are the noise's signs: ``low`` or ``high``."""

    def velocity(x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        data = torch.where(x > (low + high) / 2 * t.reshape(-1, 1, 1, 1), high, low)
        return (data - x) / (1 - t).reshape(-1, 1, 1, 1)

    return velocity


class Levels(LinearTeacher):
    """The linear teacher with a grid of one's choice."""

    def __init__(self, *levels: float) -> None:
        super().__init__()
        self._levels = levels

    def levels(self, steps: int) -> tuple[float, ...]:
        return self._levels


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ((0.0, 0.5, 1.0), "must have 4 levels, got 3"),
        ((0.0, 0.5, 0.4, 1.0), "fall from sigma to 0, or rise"),
        ((0.0, 100.0, 500.0, 1000.0), "rise as times from 0 to 1; got 0, 100, 500, 1000, ... 1000"),
        ((80.0, 5.0, 1.0, 0.002), "fall from sigma to 0"),
        ((80.0, 5.0, float("nan"), 0.0), "fall from sigma to 0"),
    ],
)
def test_a_grid_that_is_none(levels: tuple[float, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        fill(tmp_path, Levels(*levels))
    assert not (tmp_path / "manifest.json").exists()


def test_dropout_that_was_left_on(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 64), nn.Dropout(0.1), nn.Linear(64, 2))
    teacher = from_denoiser(lambda x, sigma, _: network(x / (1 + sigma[:, None])), (2,))
    with pytest.raises(UsageError, match=r"does not repeat itself.*is dropout on \(call .eval\(\)\)"):
        fill(tmp_path / "on", teacher)
    assert not list((tmp_path / "on").rglob("*.safetensors"))
    network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an untrained network makes what it makes
        assert fill(tmp_path / "off", teacher).count == 64


def test_a_batch_normalisation_in_training_mode(tmp_path: Path) -> None:
    norm = nn.BatchNorm1d(2)
    with pytest.raises(UsageError, match="depend on what else is in the batch"):
        fill(tmp_path, from_velocity(lambda x, t, _: norm(x), (2,)))


def test_nan_and_other_returns(tmp_path: Path) -> None:
    with pytest.raises(NumericsError, match="NaN or infinity in rows 0 to 31"):
        fill(tmp_path / "nan", from_velocity(lambda x, t, _: x / (x > 0), (2,)))
    with pytest.raises(UsageError, match="must return shape"):
        fill(tmp_path / "shape", from_velocity(lambda x, t, _: x[:, :1], (2,)))
    with pytest.raises(UsageError, match="floating point"):
        fill(tmp_path / "complex", from_velocity(lambda x, t, _: x + 1j, (2,)))


class Typed(LinearTeacher):
    """A teacher with a path of its own, in a number format of its own."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def path(self, noise: Tensor, class_labels: Tensor | None = None, *, steps: int) -> Tensor:
        return super().path(noise, class_labels, steps=steps).to(self._dtype)


def test_paths_in_other_number_formats(tmp_path: Path) -> None:
    usual, double = fill(tmp_path / "float32", LinearTeacher()), fill(tmp_path / "float64", Typed(torch.float64))
    assert double.root == usual.root
    for dtype in (torch.float16, torch.bfloat16, torch.complex64):
        with pytest.raises(UsageError, match=f"must be float32 or float64, got {dtype}"):
            fill(tmp_path / "other", Typed(dtype))


@pytest.mark.parametrize(("given", "said"), [(0.1, "0.1"), (5.0, "5"), (0.8, None), (0.5, None)])
def test_a_wrong_data_scale_is_said_aloud(given: float, said: str | None, tmp_path: Path) -> None:
    teacher = LinearTeacher()
    teacher.data_scale = given
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fill(tmp_path, teacher)
    words = [str(warning.message) for warning in caught]
    if said is None:
        assert not words
    else:
        (line,) = words
        assert f"standard deviation of {said}, its samples have 0.7" in line and "data_scale=0.7" in line


def of_offset(x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
    """Narrow data far from 0 in two dimensions: 0.1 wide around (9, -9)."""
    offset = torch.tensor([9.0, -9.0])
    data = offset + 0.1 * torch.sign(x - t.reshape(-1, 1) * offset)
    return (data - x) / (1 - t).reshape(-1, 1).clamp(min=1e-3)


@pytest.mark.parametrize("given", [0.1, 9.0])
def test_either_way_to_measure_will_do(given: float, tmp_path: Path) -> None:
    fill(tmp_path, from_velocity(of_offset, (2,), data_scale=given))  # a warning would be an error here


@pytest.mark.parametrize(
    ("made", "said", "right"),
    [
        ((-0.5, 0.5), (-1.0, 1.0), False),
        ((-0.5, 0.5), (-0.5, 0.5), True),
        ((0.0, 1.0), (-1.0, 1.0), False),
        ((0.0, 1.0), (0.0, 1.0), True),
        ((0.0, 255.0), (-1.0, 1.0), False),
        ((-1.0, 1.0), (0.0, 1.0), False),
        ((-1.0, 1.0), (-1.0, 1.0), True),
        ((-7.0, 7.0), None, True),
    ],
)
def test_a_wrong_data_range_is_said_aloud(made: DataRange, said: DataRange | None, right: bool, tmp_path: Path) -> None:
    scale = (made[1] - made[0]) / 2
    teacher = from_velocity(bars(*made), (1, 4, 4), data_range=said, data_scale=scale)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = fill(tmp_path, teacher)
    words = [str(warning.message) for warning in caught]
    assert (not words) if right else ("its images are in" in words[0] and "data_range=" in words[0])
    assert store.manifest.teacher.data_range == said


def test_a_coarse_grid_does_not_hide_a_wrong_range(tmp_path: Path) -> None:
    signs = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)).sign()
    exact = MixtureDenoiser(0.5 * signs, torch.ones(8), spread=0.02)

    def denoiser(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        return exact(x.flatten(1), sigma).reshape(x.shape)

    settings = SETTINGS.model_copy(update={"steps": 4})
    with pytest.warns(UserWarning, match=r"images are in \[-1, 1\], its samples go from -0.5"):
        store = fill(tmp_path / "usual", from_denoiser(denoiser, (1, 4, 4)), settings)
    assert float(store.batch(store.training_rows()).data.abs().max()) > 0.6  # the stored ends overshoot
    fill(tmp_path / "right", from_denoiser(denoiser, (1, 4, 4), data_range=(-0.5, 0.5)), settings)


def test_a_store_of_the_usual_range_is_what_it_was(tmp_path: Path) -> None:
    manifest = fill(tmp_path, LinearTeacher()).manifest
    assert "data_range" not in dump(manifest)["teacher"]
    other = manifest.model_copy(update={"teacher": manifest.teacher.model_copy(update={"data_range": (0.0, 1.0)})})
    assert root_digest(manifest, []) != root_digest(other, [])
    assert Manifest.parse(dump(other), "again") == other
    assert other.differing_field(manifest) == "teacher.data_range: [0.0, 1.0] there, [-1.0, 1.0] here"


def test_stopping_comes_before_trying(tmp_path: Path) -> None:
    calls: list[int] = []

    class Counted(LinearTeacher):
        def states(self, noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
            calls.append(len(noise))
            yield from super().states(noise, class_labels, steps)

    fill(tmp_path, Counted())
    assert calls == [32, 4, 4, 2, 32]  # the first unit, the trial, the second unit
    calls.clear()
    fill(tmp_path, Counted())
    assert not calls  # nothing left to make, nothing to try


def test_another_function_of_the_same_name_cannot_go_on_with_a_store(tmp_path: Path) -> None:
    """Functions have no digest: what a store holds of one is compared with what the next one makes."""
    settings = CollectSettings(count=40, steps=4, unit_size=10)

    def teacher(mean: float) -> Teacher:
        return from_denoiser(lambda x, sigma, c: mean + (x - mean) / (1 + sigma[:, None] ** 2), (5,), data_scale=1.0)

    next(report for report in collect(teacher(0.0), tmp_path / "store", settings) if report.done)
    with pytest.raises(UsageError, match="begun by another function"):
        list(collect(teacher(3.0), tmp_path / "store", settings))
    assert list(collect(teacher(0.0), tmp_path / "store", settings))[-1].complete
    with pytest.raises(UsageError, match="begun by another function"):
        list(collect(teacher(3.0), tmp_path / "store", settings))
