"""One picture: what is read and what is refused before it is decoded."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from koopstep.core.errors import UsageError
from koopstep.formats import images, pictures

RNG = np.random.default_rng(0)


def saved(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_is_read_as_pillow_reads_it(mode: str) -> None:
    colour = Image.fromarray(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    image = colour.convert(mode)
    data = saved(image, "JPEG" if mode == "CMYK" else "PNG")
    found = pictures.decode(data, "F")
    grey = mode in ("1", "L", "LA")
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("L" if grey else "RGB"))
    assert found.dtype == np.uint8 and found.shape == (5, 7, 1 if grey else 3)
    assert np.array_equal(found, wanted[..., None] if grey else wanted)
    assert pictures.size(data, "F") == (5, 7)


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "EPS"])
def test_other_formats_are_no_pictures_whatever_their_name(tmp_path: Path, form: str) -> None:
    data = saved(Image.fromarray(np.zeros((16, 16, 3), np.uint8)), form)
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UsageError, match=r"a\.png: cannot be read as an image: it is no PNG or JPEG"):
        pictures.read_picture(tmp_path / "a.png")


def test_the_largest_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("1", (40, 25)))
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1_000)
    assert pictures.decode(data, "F").shape == (25, 40, 1)
    with pytest.raises(UsageError, match="F: has 40 x 26 pixels, at most 1000 are read"):
        pictures.decode(saved(Image.new("1", (40, 26))), "F")


def test_a_jpeg_of_a_thousand_scans() -> None:
    data = saved(Image.new("L", (8, 8)), "JPEG")
    scans = data[data.index(b"\xff\xda") : -2] * 1_000
    with pytest.raises(UsageError, match="more than 256 scans"):
        pictures.decode(data[:-2] + scans + data[-2:], "F")


def test_pictures_are_bounded_in_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(20):
        (tmp_path / f"{index}.png").write_bytes(saved(Image.new("L", (300, 300))))
    assert images.load(tmp_path).images.shape == (20, 1, 300, 300)
    monkeypatch.setattr(images, "SMALL", 0)
    with pytest.raises(UsageError, match=r"0\.png: 20 pictures of 300 x 300 pixels are far more than \d+ bytes hold"):
        images.load(tmp_path)


def test_a_class_above_every_number_of_classes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved(Image.new("L", (8, 8))))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", 2**70]]}))
    with pytest.raises(UsageError, match=r"the class of a\.png is 1180591620717411303424"):
        images.load(tmp_path)
    np.savez(tmp_path / "x.npz", images=np.zeros((1, 8, 8), np.uint8), labels=np.array([2**63], np.uint64))
    with pytest.raises(UsageError, match="'labels' must be"):
        images.load(tmp_path / "x.npz")
