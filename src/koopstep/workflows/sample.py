"""``koopstep sample``: samples as a grid, as a folder of pictures, or as numbers, by the name of the file."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.files import write_atomic
from koopstep.core.job import Job
from koopstep.core.outputs import check_output
from koopstep.figures.images import write_grid, write_images
from koopstep.figures.points import scatter
from koopstep.runs.folder import open_run
from koopstep.sampling.fewstep import ONE_STEP, Stepping
from koopstep.sampling.onestep import generate


def sample_run(
    run: Path,
    *,
    count: int,
    seed: int,
    class_labels: list[int] | None,
    out: Path,
    job: Job,
    stepping: Stepping = ONE_STEP,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Generate ``count`` samples and write them to ``out``.

    ``*.npz`` holds ``samples`` (N, *shape) float32 (and ``class_labels``); ``*.png`` a grid of images, or a scatter plot of
    2-D samples; any other name is a folder of one PNG a sample. What is there already is kept, unless ``overwrite``.

    Raises:
        UsageError: if ``out`` is there, or is the run; if the kind of output does not fit the samples, or the student
            cannot take such steps.
    """
    check_output(out, inputs=[run], overwrite=overwrite, folder=out.suffix not in (".npz", ".png"))
    opened = open_run(run, job.place.device)
    facts = opened.student.facts
    if len(facts.shape) == 3 and not facts.is_image and out.suffix != ".npz":
        raise UsageError(f"{out}: these samples are no images (their data_range is None); write them to a .npz")
    if not facts.is_image and out.suffix not in (".npz", ".png"):
        raise UsageError(f"{out}: these samples are vectors; write them to a .npz (numbers) or a .png (scatter plot)")
    started = time.perf_counter()
    samples, labels = generate(opened.student, count, seed, class_labels, stepping=stepping)
    seconds = time.perf_counter() - started
    if out.suffix == ".npz":
        files = [_write_npz(out, samples, labels)]
    elif out.suffix == ".png":
        files = [write_grid(out, samples, data_range=facts.shown_range) if facts.is_image else scatter(out, samples)]
    else:
        for earlier in out.glob("[0-9]" * 6 + ".png"):  # of a larger count, they would pass for samples of this call
            earlier.unlink()
        files = write_images(out, samples, digits=6, data_range=facts.shown_range)
    job.console.say(f"{count} samples in {seconds:.2f} s")
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
