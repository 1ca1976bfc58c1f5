"""Images as pixels and as picture files: what is written is what was given, in any range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from koopstep.core.errors import UsageError
from koopstep.core.pixels import byte_values
from koopstep.figures.images import pixels, write_grid, write_images

GREY = torch.linspace(-1, 1, 3 * 16).view(3, 1, 4, 4)
COLOUR = torch.linspace(-1, 1, 2 * 48).view(2, 3, 4, 4)


def test_pixels_are_the_bytes_of_the_range() -> None:
    assert np.array_equal(pixels(GREY), np.repeat(byte_values(GREY).numpy().transpose(0, 2, 3, 1), 3, axis=3))
    assert np.array_equal(pixels((GREY + 1) / 2, (0.0, 1.0)), pixels(GREY))
    assert (pixels(torch.full((1, 1, 2, 2), torch.nan)) == 255).all()


@pytest.mark.parametrize(("images", "mode"), [(GREY, "L"), (COLOUR, "RGB")])
def test_files_hold_the_pixels(images: torch.Tensor, mode: str, tmp_path: Path) -> None:
    files = write_images(tmp_path / "new", images, digits=6)
    assert [file.name for file in files] == [f"{index:06d}.png" for index in range(len(images))]
    for file, wanted in zip(files, pixels(images), strict=True):
        with Image.open(file) as picture:
            assert picture.mode == mode
            assert np.array_equal(np.asarray(picture.convert("RGB")), wanted)


def test_a_grid_holds_every_image_enlarged_on_white(tmp_path: Path) -> None:
    with Image.open(write_grid(tmp_path / "grid.png", GREY)) as picture:
        page = np.asarray(picture)
    assert page.shape == (2 * 66 + 2, 2 * 66 + 2)  # two rows of two places, 16 times as large
    for index, wanted in enumerate(pixels(GREY)[..., 0]):
        top, left = 2 + index // 2 * 66, 2 + index % 2 * 66
        assert np.array_equal(page[top : top + 64 : 16, left : left + 64 : 16], wanted)
    assert (page[:2] == 255).all() and (page[68:, 68:] == 255).all()


@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (3, 4, 4), (0, 1, 4, 4)])
def test_what_is_no_image(shape: tuple[int, ...], tmp_path: Path) -> None:
    for write in (write_images, write_grid):
        with pytest.raises(UsageError, match="1 or 3"):
            write(tmp_path / "a", torch.zeros(shape))  # type: ignore[operator]
    assert not (tmp_path / "a").exists()
