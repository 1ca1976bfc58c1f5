"""Pictures of which something is missing, filled in by a student, and by what it is to be compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from koopstep.analysis.findings import Caption, Findings, ImageRow, Images
from koopstep.analysis.words import short
from koopstep.core.errors import UsageError
from koopstep.core.noise import stream_seed
from koopstep.core.pixels import from_plain_range
from koopstep.core.records import Found
from koopstep.core.schedule import Schedule
from koopstep.editing import masks, zeroshot
from koopstep.editing.perceptual import Perceptual
from koopstep.editing.pictures import Pictures, chosen_mask
from koopstep.editing.tables import Edit
from koopstep.editing.zeroshot import Basis, Field
from koopstep.students.student import KoopmanStudent

Task = Literal["inpaint", "colorize", "superres"]

_DRAWN, _AT_ONCE = 8, 64
_SAME_DB = 0.2  # PSNRs nearer than that count as equal
_FEW = 16  # pictures: of fewer a mean says little of others
_BREAK = "\n"
_HEADINGS: dict[str, str] = {
    "inpaint": "Filling in what is missing",
    "colorize": "Colours from grey values",
    "superres": "More pixels from fewer",
}
_DONE: dict[str, str] = {"inpaint": "Filled in", "colorize": "Coloured", "superres": "Made larger"}
_TITLES = {
    "truth": "truth",
    "given": "given",
    "ours": "student",
    "mean_fill": "mean fill",
    "bicubic": "bicubic",
    "teacher": "teacher,\nsame calls",
    "teacher_denoiser": "teacher's\ndenoiser",
}


@dataclass(frozen=True)
class FillOptions:
    """Settings of ``koopstep edit RUN inpaint``, ``colorize`` and ``superres``.

    Attributes:
        count: pictures.
        seed: of all noise, and of which real pictures are taken.
        mask: of ``inpaint``: a picture file, white where something is missing.
        rectangle: of ``inpaint``: the same as corners; without either the left half.
        factor: of ``superres``: how many times larger.
        at: progress u from which it is filled in, in [0, 1); without, where noise is four times the data.
        steps: network calls a picture.
        image: real pictures to edit, a file or a folder; without, the run's data.

    Raises:
        UsageError: if a value is out of range.
    """

    count: int = 32
    seed: int = 0
    mask: Path | None = None
    rectangle: masks.Rectangle | None = None
    factor: int = 2
    at: float | None = None
    steps: int = 10
    image: Path | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"count must be at least 1, got {self.count}")
        if self.factor < 2:
            raise UsageError(f"factor must be at least 2, got {self.factor}")


def fill_pictures(
    student: KoopmanStudent,
    task: Task,
    options: FillOptions,
    pictures: Pictures,
    *,
    mean: Found[Tensor],
    teacher: Found[Field],
) -> Edit:
    """Fill in real pictures by the student, and by what it is to be compared with.

    Args:
        student: of images, that knows its path.
        task: what is missing.
        options: settings.
        pictures: the whole pictures; only their known part is looked at.
        mean: the mean picture (1, C, H, W) of the data in [-1, 1]: filling starts from it, else from grey; also compared with.
        teacher: the teacher's network, which is compared with.

    Raises:
        UsageError: if the student, the pictures or the settings do not fit.
    """
    path, plain, device = student.codec.schedule(), student.facts.in_plain_range, next(student.parameters()).device
    basis, hole = basis_of(task, options, student.facts.shape)
    progress, truth = zeroshot.progress_from(path, options.steps, options.at), pictures.data
    start = from_plain_range(
        torch.zeros_like(truth[:1]) if mean.value is None else mean.value, student.facts.data_range
    )
    makers = _makers(student, teacher.value, path, basis, start.to(device), progress)
    found = {name: _in_parts(make, truth, pictures.class_labels, options.seed, device) for name, make in makers.items()}
    found, truth = {name: plain(made) for name, made in found.items()}, plain(truth)
    if mean.value is not None:
        found["mean_fill"] = zeroshot.impose(mean.value.expand_as(truth), truth, basis)
    if isinstance(basis, zeroshot.Patches):
        found["bicubic"] = zeroshot.impose(_bicubic(truth, basis.side), truth, basis)
    perceptual = Perceptual(student.facts.shape, device)
    values: dict[str, Any] = {
        "what": task,
        "count": len(truth),
        "images": pictures.origin,
        "network_calls": options.steps,
        "first_at": progress[0],
        "first_noise_level": path.levels_at(progress)[0],
        "missing": float((~basis.known(basis.forward(truth))).expand_as(basis.forward(truth[:1])[0]).float().mean()),
        "results": _measure(found, truth, basis, perceptual),
        **perceptual.summary(),
        **({"teacher_left_out": teacher.reason} if teacher.value is None else {}),
        **({"mean_fill_left_out": mean.reason} if mean.value is None else {}),
    }
    return Edit(_findings(values, _view(task, found, truth, basis, hole)), found["ours"])


def _findings(values: dict[str, Any], view: Images) -> Findings:
    sentence, calls = fill_sentence(values), values["network_calls"]
    text = f"The truth, what of it is given, and what each way makes of that in {calls} network calls."
    numbers = {
        "pictures": f"{values['count']} of {values['images']}",
        "network calls a picture": calls,
        **{
            f"PSNR, {_TITLES[name].replace(_BREAK, ' ')}": f"{short(one['psnr'])} dB"
            for name, one in values["results"].items()
        },
    }
    return Findings(values, [view], sentence, {view.file: Caption(_HEADINGS[values["what"]], text, sentence)}, numbers)


def fill_sentence(values: dict[str, Any]) -> str:
    """The student's PSNR over what was missing, beside the best of what needs no network, and the teacher's."""
    psnr = {name: one["psnr"] for name, one in values["results"].items()}
    plain = {name: psnr[name] for name in ("mean_fill", "bicubic") if name in psnr}
    what = _DONE[values["what"]]
    text = (
        f"{what} with {values['network_calls']} network calls: PSNR {short(psnr['ours'])} dB over what was missing "
        f"in {values['count']} picture{'s' * (values['count'] != 1)}"
    )
    if plain:
        best = max(plain, key=lambda name: plain[name])
        gain = psnr["ours"] - plain[best]
        verdict = "better than" if gain > _SAME_DB else "worse than" if gain < -_SAME_DB else "no better than"
        few = "on these few " if values["count"] < _FEW else ""
        text += f", {few}{verdict} the {_TITLES[best]} ({short(plain[best])} dB)"
    if "teacher" in psnr:
        text += f"; the teacher reaches {short(psnr['teacher'])} dB with as many calls"
    return f"{text}."


def basis_of(task: Task, options: FillOptions, shape: tuple[int, ...]) -> tuple[Basis, Tensor | None]:
    """What is known of pictures (C, H, W), and the hole (H, W) where pixels are missing.

    Raises:
        UsageError: if the task or a setting does not fit the shape.
    """
    channels, height, width = shape
    if task == "inpaint":
        left = masks.rectangle(masks.LEFT_HALF, height, width)
        hole = chosen_mask(options.mask, options.rectangle, left, height, width)
        if bool(hole.all()):
            raise UsageError("this mask leaves nothing of the picture; `koopstep sample` makes pictures from nothing")
        return zeroshot.Pixels(hole), hole
    if task == "colorize":
        if channels != 3:
            raise UsageError(f"colorize needs a student of colour images (3 planes), this one's have {channels}")
        return zeroshot.Colours(), None
    if height % options.factor or width % options.factor:
        raise UsageError(f"factor must be at least 2 and divide {height} and {width}, got {options.factor}")
    return zeroshot.Patches(options.factor), None


Maker = Callable[[Tensor, Tensor | None, int], Tensor]
"""``(truth, class_labels, seed)`` -> filled in."""


def _makers(
    student: KoopmanStudent,
    network: Field | None,
    path: Schedule,
    basis: Basis,
    start: Tensor,
    progress: list[float],
) -> dict[str, Maker]:
    """Ours, and the teacher's two ways, all from the same start by the same levels."""

    def ours(truth: Tensor, labels: Tensor | None, seed: int) -> Tensor:
        guess = zeroshot.student_guess(student, labels)
        return zeroshot.fill_in(guess, path, truth, basis, start, progress=progress, seed=seed)

    if network is None:
        return {"ours": ours}

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


def _view(task: Task, found: Mapping[str, Tensor], truth: Tensor, basis: Basis, hole: Tensor | None) -> Images:
    """Truth, what is given, and each way's pictures below."""
    given = zeroshot.impose(torch.zeros_like(truth), truth, basis)
    rows = [
        ImageRow(_TITLES["truth"], truth[:_DRAWN]),
        ImageRow(_TITLES["given"], given[:_DRAWN], missing=hole),
        *(
            ImageRow(_TITLES[name], found[name][:_DRAWN], gap=0.12 if name == "ours" else 0.0)
            for name in _TITLES
            if name in found
        ),
    ]
    return Images(f"{task}.png", rows)
