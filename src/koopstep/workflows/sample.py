"""``koopstep sample``: samples as a grid, as a folder of pictures, or as numbers, by the name of the file."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from koopstep.core.devices import Place
from koopstep.core.errors import UsageError
from koopstep.core.files import make_folder, write_atomic
from koopstep.figures.points import scatter
from koopstep.sampling.fewstep import ONE_STEP, Stepping
from koopstep.sampling.onestep import generate
from koopstep.workflows.console import Console
from koopstep.workflows.run import open_run


def sample_run(
    run: Path,
    *,
    count: int,
    seed: int,
    class_labels: list[int] | None,
    out: Path,
    place: Place,
    console: Console,
    stepping: Stepping = ONE_STEP,
) -> dict[str, Any]:
    """Generate ``count`` samples and write them to ``out``.

    ``*.npz`` holds ``samples`` (N, *shape) float32 (and ``class_labels``); ``*.png`` a grid of images, or a scatter plot of
    2-D samples; any other name is a folder of one PNG a sample.

    Raises:
        UsageError: if the kind of output does not fit the samples, or the student cannot take such steps.
    """
    opened = open_run(run, place.device)
    image = len(opened.student.facts.shape) == 3
    if not image and out.suffix not in (".npz", ".png"):
        raise UsageError(f"{out}: these samples are vectors; write them to a .npz (numbers) or a .png (scatter plot)")
    started = time.perf_counter()
    samples, labels = generate(opened.student, count, seed, class_labels, stepping=stepping)
    seconds = time.perf_counter() - started
    if out.suffix == ".npz":
        files = [_write_npz(out, samples, labels)]
    elif out.suffix == ".png":
        files = [_write_grid(out, samples) if image else scatter(out, samples)]
    else:
        make_folder(out)
        files = [_write_image(out / f"{index:06d}.png", sample) for index, sample in enumerate(samples)]
    console.say(f"{count} samples in {seconds:.2f} s")
    return {
        "seconds": round(seconds, 4),
        "images_per_second": round(count / max(seconds, 1e-9), 1),
        "count": count,
        "files": [str(file) for file in files[:16]],
    }


def _write_npz(path: Path, samples: Tensor, labels: Tensor | None) -> Path:
    arrays = {"samples": samples.numpy()} | ({} if labels is None else {"class_labels": labels.numpy()})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())
    return path


def _pixels(image: Tensor) -> np.ndarray:
    """(C, H, W) in [-1, 1] -> (H, W[, 3]) uint8, as EDM does it (times 127.5 plus 128, cut off)."""
    values = (image * 127.5 + 128).clip(0, 255).to(torch.uint8).movedim(0, -1).numpy()
    return values[..., 0] if values.shape[-1] == 1 else values


def _write_image(path: Path, image: Tensor) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(_pixels(image)).save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())
    return path


def _write_grid(path: Path, images: Tensor) -> Path:
    """One picture of all images, about square, small ones enlarged."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    zoom = max(1, 64 // images.shape[-1])
    channels, height, width = images.shape[1:]
    page = torch.full((channels, rows * (height * zoom + 2) + 2, columns * (width * zoom + 2) + 2), 1.0)
    for index, image in enumerate(images):
        top, left = 2 + index // columns * (height * zoom + 2), 2 + index % columns * (width * zoom + 2)
        large = image.repeat_interleave(zoom, dim=1).repeat_interleave(zoom, dim=2)
        page[:, top : top + height * zoom, left : left + width * zoom] = large
    return _write_image(path, page)
