"""Teachers that are wrong in silence: what is tried before their paths are stored says so, and never of a right one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import koopstep as ks
from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.pixels import DataRange
from koopstep.data.collect import CollectSettings, collect
from koopstep.teachers import files
from koopstep.teachers.analytic import MixtureDenoiser
from koopstep.teachers.base import Teacher
from koopstep.teachers.packaged import SHA256, packaged_teachers

Velocity = Callable[[Tensor, Tensor, Tensor | None], Tensor]
SETTINGS = CollectSettings(count=64, steps=12, hold_out=8)


def said(teacher: Teacher, folder: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in collect(teacher, folder, SETTINGS):
            pass
    return [str(warning.message) for warning in caught]


def straight(name: str) -> tuple[Teacher, Velocity]:
    """A packaged teacher as a velocity on the straight path: ``x_t = (1 - t) noise + t data``, ``sigma = (1 - t) / t``."""
    teacher = ks.load_teacher(name, device="cpu")
    network = teacher.model
    assert network is not None
    if teacher.kind == "flow":
        return teacher, lambda x, t, labels: network(x, t, labels)

    def velocity(x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        t = t.clamp(1e-3, 1 - 1e-3)
        at = t.reshape(-1, *[1] * (x.ndim - 1))
        denoised: Tensor = network(x / at, (1 - t) / t, labels)
        return (denoised - x) / (1 - at)

    return teacher, velocity


def turned(velocity: Velocity) -> Velocity:
    """``velocity`` as it would be trained with t = 1 for noise."""
    return lambda x, t, labels: -velocity(x, 1 - t, labels)


NAMES = sorted(packaged_teachers())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_said_of_a_right_teacher(name: str, tmp_path: Path) -> None:
    teacher, velocity = straight(name)
    assert said(teacher, tmp_path / "as it is") == []
    facts = {"data_scale": teacher.data_scale, "num_classes": teacher.num_classes}
    assert said(ks.from_velocity(velocity, teacher.shape, **facts), tmp_path / "straight") == []  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrong",
    [
        lambda velocity: turned(velocity),
        lambda velocity: lambda x, t, labels: velocity(x, 1 - t, labels),
        lambda velocity: lambda x, t, labels: -velocity(x, t, labels),
    ],
    ids=["turned", "time alone", "sign alone"],
)
def test_a_velocity_whose_time_is_reversed(name: str, wrong: Callable[[Velocity], Velocity], tmp_path: Path) -> None:
    teacher, velocity = straight(name)
    facts = {"data_scale": teacher.data_scale, "num_classes": teacher.num_classes}
    words = said(ks.from_velocity(wrong(velocity), teacher.shape, **facts), tmp_path)  # type: ignore[arg-type]
    assert any("run from data to noise" in line or "standard deviation" in line for line in words), words


def test_a_coupled_velocity_is_none_of_these(tmp_path: Path) -> None:
    """A path that was made straight points to its end from the beginning, however far out that is."""

    def velocity(x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        at = t.reshape(-1, 1)
        return 3.0 * x / (1 + 3.0 * at)  # from n to 4 n

    assert said(ks.from_velocity(velocity, (2,), data_scale=4.0), tmp_path) == []


@pytest.mark.parametrize(
    "teacher",
    [
        ks.from_velocity(lambda x, t, labels: torch.zeros_like(x), (2,)),
        ks.from_denoiser(lambda x, sigma, labels: x, (2,)),
    ],
    ids=["velocity 0", "denoiser that returns its input"],
)
def test_paths_that_end_where_they_start_are_refused(teacher: Teacher, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="samples are the noise itself"):
        said(teacher, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(("sigma_max", "right"), [(1.0, False), (2.0, False), (10.0, True), (80.0, True)])
def test_noise_that_does_not_hide_the_data(sigma_max: float, right: bool, tmp_path: Path) -> None:
    corners = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    words = said(ks.mixture_teacher(corners, 0.2, sigma_max=sigma_max), tmp_path)
    assert bool(words) is not right
    assert right or "sigma_max" in words[0]


@pytest.mark.parametrize(
    ("shape", "right"),
    [((8, 8, 3), False), ((16, 12, 1), False), ((3, 8, 8), True), ((1, 8, 8), True), ((4, 4, 4), True)],
)
def test_channels_that_come_last(shape: tuple[int, ...], right: bool, tmp_path: Path) -> None:
    signs = torch.randn(64, *shape, generator=torch.Generator().manual_seed(0)).sign()
    exact = MixtureDenoiser(signs.flatten(1), torch.ones(len(signs)), spread=0.02)
    teacher = ks.from_denoiser(
        lambda x, sigma, labels: exact(x.flatten(1), sigma).reshape(x.shape), shape, data_scale=1.0
    )
    words = said(teacher, tmp_path)
    assert bool(words) is not right
    assert right or f"shape=({shape[2]}, {shape[0]}, {shape[1]})" in words[0]


@pytest.mark.parametrize(
    ("made", "told", "right"),
    [
        ((0.0, 1.0), (-0.5, 0.5), False),
        ((0.0, 1.0), (-1.0, 1.0), False),
        ((-0.5, 0.5), (0.0, 1.0), False),
        ((-1.0, 1.0), (0.0, 2.0), False),
        ((0.0, 1.0), (0.0, 1.0), True),
        ((-0.5, 0.5), (-0.5, 0.5), True),
    ],
)
@pytest.mark.parametrize("dark", [0.5, 0.8])
def test_a_range_that_is_shifted_by_half(
    made: DataRange, told: DataRange, right: bool, dark: float, tmp_path: Path
) -> None:
    """Of pictures that are half dark, and of ones that are dark in most places, as handwriting is."""
    low, high = made
    bits = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) > dark
    exact = MixtureDenoiser(low + (high - low) * bits, torch.ones(64), spread=0.02)
    teacher = ks.from_denoiser(
        lambda x, sigma, labels: exact(x.flatten(1), sigma).reshape(x.shape),
        (1, 8, 8),
        data_range=told,
        data_scale=(high - low) / 2,
    )
    words = said(teacher, tmp_path)
    assert (words == []) if right else any("its images are in" in line for line in words), words


def test_every_packaged_teacher_has_its_digest() -> None:
    folder = next(iter(packaged_teachers().values())).parent
    assert {path.stem for path in folder.glob("*.safetensors")} == set(SHA256)
    for name in packaged_teachers():
        assert files.sha256_file(packaged_teachers()[name]) == SHA256[name]


def test_a_changed_bit_in_a_packaged_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(packaged_teachers()["digits-edm"].read_bytes())
    data[-1001] ^= 1  # in the last digits of a weight
    copy = tmp_path / "digits-edm.safetensors"
    copy.write_bytes(data)
    assert ks.load_teacher(copy).name == "digits-edm"  # written by version 0.1, which knew no digest
    monkeypatch.setattr("koopstep.teachers.packaged.resources.files", lambda _: tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "digits-edm.safetensors").write_bytes(data)
    with pytest.raises(DamagedError, match="SHA-256"):
        ks.load_teacher("digits-edm")
