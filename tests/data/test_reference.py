"""Real data that a user gives: anything of the right shape, and never silently something else."""

from __future__ import annotations

import io
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from koopstep.core.errors import UsageError
from koopstep.core.pixels import DataRange
from koopstep.data.reference import load_reference

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (6, 8, 4, 3), dtype=np.uint8)
PLANAR = torch.from_numpy(BYTES).permute(0, 3, 1, 2)
WANTED = PLANAR.float() / 127.5 - 1


@dataclass(frozen=True)
class Data:
    shape: tuple[int, ...] = (3, 8, 4)
    num_classes: int = 0
    data_range: DataRange | None = (-1.0, 1.0)


def loaded(given: Any, kind: Data | None = None, said: str = "") -> torch.Tensor:
    """What is read, after exactly this was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data, _ = load_reference(given, kind or Data()).reference()
    assert [str(one.message) for one in caught] == ([said] if said else [])
    assert data.dtype == torch.float32 and data.is_contiguous()
    return data


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("form", ["tensor", "array", "npy", "npz", "folder", "zip"])
def test_pictures_come_in_any_form(tmp_path: Path, form: str) -> None:
    given: Any = PLANAR
    if form == "array":
        given = PLANAR.numpy()
    elif form == "npy":
        given = saved(tmp_path / "x.npy", PLANAR.numpy())
    elif form == "npz":
        given = tmp_path / "x.npz"
        np.savez(given, images=BYTES, labels=np.arange(6))
    elif form == "folder":
        given = tmp_path
        for number, picture in enumerate(BYTES):
            Image.fromarray(picture).save(tmp_path / f"{number}.png")
    elif form == "zip":
        given = tmp_path / "x.zip"
        with zipfile.ZipFile(given, "w") as archive:
            for number, picture in enumerate(BYTES):
                buffer = io.BytesIO()
                Image.fromarray(picture).save(buffer, format="PNG")
                archive.writestr(f"{number}.png", buffer.getvalue())
    torch.testing.assert_close(loaded(given), WANTED)
    torch.testing.assert_close(loaded(str(given) if isinstance(given, Path) else given), WANTED)


def test_floats_are_in_the_teacher_s_own_units() -> None:
    torch.testing.assert_close(loaded(WANTED.double()), WANTED)
    half = loaded(WANTED / 2 + 0.5, Data(data_range=(0.0, 1.0)))
    torch.testing.assert_close(half, WANTED)  # as every source has pictures
    torch.testing.assert_close(loaded(WANTED.bfloat16()), WANTED, atol=0.01, rtol=0)
    vectors = torch.randn(20, 5)
    assert torch.equal(loaded(vectors, Data((5,))), vectors)
    latents = torch.randn(20, 4, 8, 8)
    assert torch.equal(loaded(latents, Data((4, 8, 8), data_range=None)), latents)


def test_channels_may_be_last_and_a_plane_of_grey_may_be_left_out() -> None:
    torch.testing.assert_close(
        loaded(BYTES, said="array: (6, 8, 4, 3) is taken as (N, H, W, C), channels last"), WANTED
    )
    grey = Data((1, 8, 4))
    for given in (PLANAR[:, :1], PLANAR[:, 0], BYTES[:, :, :, :1]):
        torch.testing.assert_close(loaded(given, grey), WANTED[:, :1])
    square = torch.from_numpy(RNG.integers(0, 256, (6, 3, 3, 3), dtype=np.uint8))
    torch.testing.assert_close(loaded(square, Data((3, 3, 3))), square.float() / 127.5 - 1)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (PLANAR[:, :2], Data(), r"has shape \(6, 2, 8, 4\), wanted \(N, 3, 8, 4\) or, channels last, \(N, 8, 4, 3\)"),
        (torch.randn(6, 4), Data((5,)), r"wanted \(N, 5\)$"),
        (PLANAR.float(), Data(), "numbers from 0 to 255, the teacher's images go from -1 to 1; bring them"),
        (
            WANTED * 1.3,
            Data(),
            r"if those are the tails of noise in it, cut them off with x\.clip\(-1, 1\); else bring",
        ),
        (PLANAR.int(), Data(), "holds int32; give floats, or bytes"),
        (torch.full((6, 5), float("nan")), Data((5,)), "NaN or infinity"),
        (torch.zeros(1, 5), Data((5,)), "at least 2"),
        (torch.zeros(6, 5, dtype=torch.uint8), Data((5,)), "the samples are no pictures"),
        (PLANAR, Data(data_range=None), "the samples are no pictures"),
        ("digits", Data((4, 8, 8), data_range=None), "holds images and the student makes none"),
        ("digits", Data((1, 8, 4)), r"'digits' has shape \(1, 8, 8\)"),
        ("nowhere", Data(), "no data 'nowhere'"),
    ],
)
def test_what_does_not_fit_is_refused(given: Any, kind: Data, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_reference(given, kind)


def test_numbers_that_fill_little_of_the_range_are_said() -> None:
    said = "tensor: its numbers go from 0 to 1, the teacher's images from -1 to 1; are they in another range?"
    assert float(loaded((WANTED + 1) / 2, said=said).min()) == 0


def test_classes_must_be_the_teacher_s(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", data=WANTED.numpy(), class_labels=np.arange(6))
    source = load_reference(tmp_path / "x.npz", Data(num_classes=6))
    assert source.num_classes == 6 and source.reference()[1] is not None
    with pytest.raises(UsageError, match="has 6 classes, the student's data 10"):
        load_reference(tmp_path / "x.npz", Data(), num_classes=10)
    np.savez(tmp_path / "y.npz", data=WANTED.numpy(), labels=np.arange(5))
    with pytest.raises(UsageError, match="labels must be 6 whole numbers"):
        load_reference(tmp_path / "y.npz", Data())
    np.savez(tmp_path / "z.npz", a=WANTED.numpy(), b=WANTED.numpy())
    with pytest.raises(UsageError, match="no array 'images' or 'data' inside"):
        load_reference(tmp_path / "z.npz", Data())
    (tmp_path / "x.pt").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"give a folder or \.zip"):
        load_reference(tmp_path / "x.pt", Data())


def test_pictures_of_other_sizes_are_cut_and_resized_and_it_is_said(tmp_path: Path) -> None:
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, 12:20] = 255  # of which the middle 8 columns are kept
    Image.fromarray(wide).save(tmp_path / "a.png")
    Image.fromarray(BYTES[0]).save(tmp_path / "b.png")
    said = f"{tmp_path.name}: 1 of 2 pictures are not 4 x 8: cut to their middle and resized"
    data = loaded(tmp_path, said=said)
    assert bool((data[0] == 1).all())
    torch.testing.assert_close(data[1], WANTED[0])


def test_transparency_is_dropped_and_it_is_said(tmp_path: Path) -> None:
    for number, alpha in enumerate((255, 100)):
        layer = np.full((8, 4, 1), alpha, np.uint8)
        Image.fromarray(np.concatenate([BYTES[number], layer], axis=2)).save(tmp_path / f"{number}.png")
    said = f"{tmp_path.name}: 1 of 2 pictures are transparent in places, which was dropped"
    torch.testing.assert_close(loaded(tmp_path, said=said), WANTED[:2])
