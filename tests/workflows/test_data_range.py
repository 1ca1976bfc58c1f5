"""Images of any range: pictures, byte metrics and real data go by the teacher's, and a twin in [-1, 1] is the measure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_references import image_recipe, images_of, measure
from tiny_way import train_tiny
from torch import Tensor

from jobs import QUIET
from koopstep.analysis.findings import Pairs
from koopstep.analysis.pairs import pairs_view
from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.core.pixels import DataRange, byte_values, from_plain_range, in_plain_range
from koopstep.data.collect import CollectSettings, collect
from koopstep.data.sources import in_range, load_source
from koopstep.nets.mlp import MLPConfig
from koopstep.runs.subject import RunSubject
from koopstep.students.files import load_student
from koopstep.teachers.files import TeacherHeader, read_teacher_file, save_teacher
from koopstep.teachers.flow import FlowConfig, build_flow
from koopstep.teachers.functions import from_velocity
from koopstep.workflows.sample import sample_run

RANGES: list[DataRange] = [(-1.0, 1.0), (-0.5, 0.5), (0.0, 1.0), (0.0, 255.0)]


def bars(low: float, high: float) -> Callable[..., Tensor]:
    """A velocity towards pictures whose pixels are the noise's signs: ``low`` or ``high``."""

    def velocity(x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        t = t.reshape(-1, 1, 1, 1)
        return (torch.where(x > (low + high) / 2 * t, high, low) - x) / (1 - t)

    return velocity


def store_of(folder: Path, data_range: DataRange | None, made: DataRange, reference: Path) -> Path:
    teacher = from_velocity(
        bars(*made), (1, 8, 8), data_range=data_range, data_scale=(made[1] - made[0]) / 2, dtype=torch.float64
    )
    teacher.training_data = load_source(str(reference)).identity()
    list(collect(teacher, folder, CollectSettings(count=40, steps=2, hold_out=20)))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Path]:
    """A hardly trained student for each range, and one of data that are no images."""
    folder = tmp_path_factory.mktemp("ranges")
    pictures = images_of("real.npz", folder, seed=3)
    found: dict[Any, Path] = {}
    for data_range in [*RANGES, None]:
        made = (-1.0, 1.0) if data_range is None else data_range
        store = store_of(folder / f"store {data_range}", data_range, made, pictures)
        recipe = image_recipe(str(pictures), "training.steps=1")
        found[data_range] = folder / f"run {data_range}"
        train_tiny(recipe, store, found[data_range])
    return found


def test_the_range_reaches_the_student(runs: dict[Any, Path]) -> None:
    for data_range, run in runs.items():
        student, described = load_student(run / "student")
        assert student.facts.data_range == data_range
        assert ("data_range" in dump(described)["facts"]) == (data_range != (-1.0, 1.0))


def test_metrics_are_those_of_the_twin(runs: dict[Any, Path]) -> None:
    names = ["frechet_pixel", "sliced_wasserstein", "mmd"]
    twin = measure(runs[-1.0, 1.0], metrics=names)["teacher"]
    for data_range in RANGES[1:]:
        found = measure(runs[data_range], metrics=names)["teacher"]
        assert found == pytest.approx(twin, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("data_range", RANGES, ids=str)
def test_samples_are_written_by_the_range(runs: dict[Any, Path], data_range: DataRange, tmp_path: Path) -> None:
    run = runs[data_range]
    for out in ("numbers.npz", "pictures"):
        sample_run(run, count=3, seed=0, class_labels=None, out=tmp_path / out, job=QUIET)
    samples = torch.from_numpy(np.load(tmp_path / "numbers.npz")["samples"])
    for sample, path in zip(samples, sorted((tmp_path / "pictures").iterdir()), strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), byte_values(sample, data_range)[0].numpy())
    view = pairs_view(RunSubject(run, job=QUIET))
    assert isinstance(view, Pairs)
    assert view.data_range == data_range


def test_what_is_no_image_makes_no_picture(runs: dict[Any, Path], tmp_path: Path) -> None:
    for out in (tmp_path / "grid.png", tmp_path / "folder"):
        with pytest.raises(UsageError, match="no images"):
            sample_run(runs[None], count=2, seed=0, class_labels=None, out=out, job=QUIET)
    sample_run(runs[None], count=2, seed=0, class_labels=None, out=tmp_path / "x.npz", job=QUIET)


def test_a_store_of_another_range_is_not_compared_with(runs: dict[Any, Path]) -> None:
    other = runs[0.0, 1.0].parent / "store (-0.5, 0.5)"
    with pytest.raises(UsageError, match=r"images in the range \(-0.5, 0.5\), the student makes them in \(0.0, 1.0\)"):
        measure(runs[0.0, 1.0], data=other)


@pytest.mark.parametrize("data_range", RANGES, ids=str)
def test_real_data_comes_in_the_range(data_range: DataRange) -> None:
    digits = load_source("digits")
    moved = in_range(digits, data_range)
    plain, labels = digits.reference(50)
    data, same = moved.reference(50)
    low, high = data_range
    torch.testing.assert_close(data, (plain + 1) / 2 * (high - low) + low)
    torch.testing.assert_close(in_plain_range(data, data_range), plain)
    torch.testing.assert_close(moved.batch(1, 2, 8)[0], from_plain_range(digits.batch(1, 2, 8)[0], data_range))
    assert labels is not None and same is not None and torch.equal(labels, same)
    assert moved.identity() == digits.identity()  # the data of record is the same
    assert in_range(load_source("checkerboard"), data_range).reference(4)[0].shape == (4, 2)


def test_a_teacher_file_says_its_range(tmp_path: Path) -> None:
    network = MLPConfig(width=8, depth=2)
    for data_range in (*RANGES, None):
        config = FlowConfig(shape=(4,), network=network, data_range=data_range)
        header = TeacherHeader(config=config, name="mine")
        save_teacher(tmp_path / "t.safetensors", header, build_flow(config))
        assert read_teacher_file(tmp_path / "t.safetensors").teacher.identity(2).data_range == data_range
        assert ("data_range" in dump(header)["config"]) == (data_range != (-1.0, 1.0))
    with pytest.raises(UsageError, match=r"field 'data_range'.*what black and white are"):
        FlowConfig.parse({**dump(config), "data_range": [1, -1]}, "here")
