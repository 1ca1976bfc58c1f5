"""Filling in: ``koopstep edit RUN inpaint``, ``colorize`` and ``superres``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from koopstep.core.errors import UsageError
from koopstep.core.noise import stream_seed
from koopstep.core.schedule import Schedule
from koopstep.editing import masks, zeroshot
from koopstep.editing.zeroshot import Basis
from koopstep.figures.images import pixels, write_images
from koopstep.figures.tables import Row, hatched, table
from koopstep.workflows.console import Console
from koopstep.workflows.edit_images import (
    EditOptions,
    Perceptual,
    chosen_mask,
    mean_picture,
    real_pictures,
    teacher_network,
)
from koopstep.workflows.run import OpenRun

_STEPS, _COUNT, _DRAWN, _AT_ONCE = 10, 32, 8, 64
_TITLES = {
    "truth": "truth",
    "given": "given",
    "ours": "ours",
    "mean_fill": "mean fill",
    "bicubic": "bicubic",
    "teacher": "teacher,\nsame calls",
    "teacher_denoiser": "teacher's\ndenoiser",
}


def fill_pictures(
    opened: OpenRun, what: str, options: EditOptions, folder: Path, device: torch.device, console: Console
) -> tuple[list[Path], dict[str, Any]]:
    """Fill in real pictures by the student, and by what it is to be compared with.

    Returns:
        The files written, and the values.

    Raises:
        UsageError: if the student, the pictures or the settings do not fit.
    """
    path = opened.student.codec.schedule()
    _check_training(opened)
    basis, hole = _basis(what, options, opened.student.facts.shape)
    steps = _STEPS if options.steps is None else options.steps
    progress = zeroshot.moments(path, steps, options.moment)
    pictures = real_pictures(opened, options, options.count or _COUNT)
    truth, mean = pictures.data, mean_picture(opened)
    console.say(f"filling in {len(truth)} pictures in {steps} network calls each")
    teacher = teacher_network(opened, device)
    start = torch.zeros_like(truth[:1]) if mean.value is None else mean.value
    makers = _makers(opened, teacher.value, path, basis, start.to(device), progress)
    found = {name: _in_parts(make, truth, pictures.class_labels, options.seed, device) for name, make in makers.items()}
    if mean.value is not None:
        found["mean_fill"] = zeroshot.impose(mean.value.expand_as(truth), truth, basis)
    if isinstance(basis, zeroshot.Patches):
        found["bicubic"] = zeroshot.impose(_bicubic(truth, basis.side), truth, basis)
    perceptual = Perceptual(opened.student.facts.shape, device)
    values = {
        "what": what,
        "count": len(truth),
        "images": pictures.told,
        "network_calls": steps,
        "first_moment": progress[0],
        "first_level": path.levels_at(progress)[0],
        "missing": float((~basis.known(basis.forward(truth))).expand_as(basis.forward(truth[:1])[0]).float().mean()),
        "results": _measure(found, truth, basis, perceptual),
        **perceptual.told(),
        **({"teacher_left_out": teacher.reason} if teacher.value is None else {}),
        **({"mean_fill_left_out": mean.reason} if mean.value is None else {}),
    }
    figure = _draw(folder / f"{what}.png", found, truth, basis, hole)
    write_images(folder / "edited", found["ours"])
    return [figure, folder / "edited"], values


def _check_training(opened: OpenRun) -> None:
    """Networks that could start anywhere are not enough: they must have learned to."""
    if opened.config is None:
        return
    objective = opened.config.recipe.objective
    if not (objective.trajectory or objective.intermediate):
        raise UsageError(
            "filling in starts from states within the path, and this student learned from its start only; train one "
            "with --method hkd (objective.trajectory above 0)"
        )


def _basis(what: str, options: EditOptions, shape: tuple[int, ...]) -> tuple[Basis, Tensor | None]:
    """What is known, and the hole (H, W) where pixels are missing."""
    channels, height, width = shape
    if what == "inpaint":
        hole = chosen_mask(options, height, width)
        hole = masks.rectangle(masks.LEFT_HALF, height, width) if hole is None else hole
        if bool(hole.all()):
            raise UsageError("this mask leaves nothing of the picture; `koopstep sample` makes pictures from nothing")
        return zeroshot.Pixels(hole), hole
    if what == "colorize":
        if channels != 3:
            raise UsageError(f"colorize needs a student of colour images (3 planes), this one's have {channels}")
        return zeroshot.Colours(), None
    factor = 2 if options.factor is None else options.factor
    if factor < 2 or height % factor or width % factor:
        raise UsageError(f"--factor must be at least 2 and divide {height} and {width}, got {factor}")
    return zeroshot.Patches(factor), None


Maker = Callable[[Tensor, Tensor | None, int], Tensor]
"""``(truth, class_labels, seed)`` -> filled in."""


def _makers(
    opened: OpenRun,
    teacher: nn.Module | None,
    path: Schedule,
    basis: Basis,
    start: Tensor,
    progress: list[float],
) -> dict[str, Maker]:
    """Ours, and the teacher's two ways, all from the same start by the same levels."""
    student = opened.student

    def ours(truth: Tensor, labels: Tensor | None, seed: int) -> Tensor:
        guess = zeroshot.student_guess(student, labels)
        return zeroshot.fill_in(guess, path, truth, basis, start, progress=progress, seed=seed)

    if teacher is None:
        return {"ours": ours}
    network: nn.Module = teacher

    def by_path(truth: Tensor, labels: Tensor | None, seed: int) -> Tensor:
        return zeroshot.teacher_fill_in(
            network, path, truth, basis, start, progress=progress, seed=seed, class_labels=labels
        )

    def by_denoiser(truth: Tensor, labels: Tensor | None, seed: int) -> Tensor:
        guess = zeroshot.teacher_guess(network, path, labels)
        return zeroshot.fill_in(guess, path, truth, basis, start, progress=progress, seed=seed)

    return {"ours": ours, "teacher": by_path, "teacher_denoiser": by_denoiser}


@torch.no_grad()
def _in_parts(make: Maker, truth: Tensor, labels: Tensor | None, seed: int, device: torch.device) -> Tensor:
    """Some pictures at a time, on the CPU again; each part has noise of its own."""
    parts = []
    for start in range(0, len(truth), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        part_labels = None if labels is None else labels[rows].to(device)
        made = make(truth[rows].to(device), part_labels, stream_seed("edit", seed, start))
        parts.append(made.float().cpu())
    return torch.cat(parts)


def _bicubic(truth: Tensor, side: int) -> Tensor:
    small = functional.avg_pool2d(truth, side)
    return functional.interpolate(small, scale_factor=side, mode="bicubic", align_corners=False).clamp(-1, 1)


def _measure(
    found: Mapping[str, Tensor], truth: Tensor, basis: Basis, perceptual: Perceptual
) -> dict[str, dict[str, float | None]]:
    """Means over pictures: PSNR over what was missing, LPIPS of the whole picture, the largest change of what was known."""
    results: dict[str, dict[str, float | None]] = {}
    for name, pictures in found.items():
        known = zeroshot.impose(pictures, truth, basis)
        results[name] = {
            "psnr": float(zeroshot.psnr(pictures, truth, basis).mean()),
            "lpips": perceptual.distance(pictures, truth),
            "known_error": float((known - pictures).abs().max()),
        }
    return results


def _draw(path: Path, found: Mapping[str, Tensor], truth: Tensor, basis: Basis, hole: Tensor | None) -> Path:
    given = pixels(zeroshot.impose(torch.zeros_like(truth), truth, basis)[:_DRAWN])
    given = given if hole is None else hatched(given, hole)
    rows = [Row(_TITLES["truth"], list(pixels(truth[:_DRAWN]))), Row(_TITLES["given"], list(given))]
    names = [name for name in _TITLES if name in found]
    rows += [
        Row(_TITLES[name], list(pixels(found[name][:_DRAWN])), gap=0.12 if name == "ours" else 0.0) for name in names
    ]
    return table(path, rows)
