"""Koopman modes of pictures made stronger or weaker in a part of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Curves, Findings, Images, Line
from koopstep.analysis.words import percent, short
from koopstep.core.errors import UsageError
from koopstep.core.noise import stream_seed
from koopstep.editing import masks, mixing
from koopstep.editing.measures import inversion, reach
from koopstep.editing.mixing import EditPoint
from koopstep.editing.parts import Part, parts_of
from koopstep.editing.perceptual import Perceptual
from koopstep.editing.pictures import Pictures, chosen_mask
from koopstep.editing.selection import LEADING, chosen_modes, in_words, names_of, other_modes
from koopstep.editing.tables import Edit, confined, edit_table, mean_change
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

_SAME = 0.2  # of the larger change: two that are nearer count as equal


@dataclass(frozen=True)
class ScaleOptions:
    """Settings of ``koopstep edit RUN scale``.

    Attributes:
        count: pictures.
        seed: of all noise, and of which real pictures are taken.
        modes: names of the modes; ``leading`` or ``all``.
        scales: what they are multiplied by.
        mask: a picture file, white where to edit.
        rectangle: the same as corners; without either the lower left half.
        at: progress u at which they are scaled, in [0, 1).
        reencode: whether the state there is read and encoded again before it goes on; None: where the student can.
        confine: whether the unedited picture is pasted outside the mask at the end.
        image: real pictures to edit, a file or a folder; without, the student's own samples.

    Raises:
        UsageError: if a value is out of range.
    """

    count: int = 32
    seed: int = 0
    modes: tuple[str, ...] = (LEADING,)
    scales: tuple[float, ...] = (0.0, 0.5, 1.5, 2.0)
    mask: Path | None = None
    rectangle: masks.Rectangle | None = None
    at: float = 0.5
    reencode: bool | None = None
    confine: bool = True
    image: Path | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"count must be at least 1, got {self.count}")
        if not self.scales:
            raise UsageError("at least one scale is needed")
        if any(not abs(scale) <= 100 for scale in self.scales):
            raise UsageError(f"a scale is from -100 to 100; 1 changes nothing, got {self.scales}")
        if not 0 <= self.at < 1:
            raise UsageError(f"at is from 0 (noise) to below 1 (the data), got {self.at:g}")


@torch.no_grad()
def scale_modes(student: KoopmanStudent, options: ScaleOptions, given: Pictures | None = None) -> Edit:
    """Scale some modes, images and partners, inside the mask; beside it as many others.

    Args:
        student: of images, whose modes have names.
        options: settings.
        given: the real pictures to edit; the student's own samples when absent.

    Raises:
        UsageError: if the modes have no names, or a setting does not fit.
    """
    shape, plain, device = student.facts.shape, student.facts.in_plain_range, next(student.parameters()).device
    if not student.codec.has_modes:
        raise UsageError("scaling needs modes that are pictures: train with --method modes")
    point = EditPoint(options.at, mixing.reencoded(student, options.reencode))
    count = options.count if given is None else len(given.data)
    mask = chosen_mask(options.mask, options.rectangle, masks.lower_left(*shape[1:]), *shape[1:])
    parts = list(parts_of(student, count, point, seed=options.seed, given=given))
    first = parts[0]
    chosen = chosen_modes(student, first.latent, options.modes, point.u, first.class_labels)
    kinds = {"chosen": chosen, "chance": other_modes(student, chosen, stream_seed("edit", options.seed))}
    kinds = {kind: places for kind, places in kinds.items() if places}
    scales = tuple(sorted(set(options.scales)))
    original, edited = _edited(student, parts, kinds, scales, mask, point)
    perceptual = Perceptual(shape, device)
    measured = {
        kind: [{"scale": scale} | reach(original, edited[kind, scale], mask, perceptual) for scale in scales]
        for kind in kinds
    }
    names, words = names_of(student), {kind: in_words(student, places) for kind, places in kinds.items()}
    values = {
        "what": "scale",
        "count": count,
        "modes": {kind: [names[place] for place in places] for kind, places in kinds.items()},
        "modes_in_words": words,
        "at": point.u,
        "reencoded": point.reencode,
        "images": "samples" if given is None else given.origin,
        **({} if given is None else {"inversion": inversion(original, plain(given.data), perceptual)}),
        "mask_area": masks.area(mask),
        "confined": options.confine,
        "edits": measured,
        **perceptual.summary(),
    }
    unedited = original if given is None else plain(given.data)
    final = {scale: confined(edited["chosen", scale], unedited, mask, options.confine) for scale in scales}
    changes = [mean_change(original, edited["chosen", scale]) for scale in scales]
    table = edit_table(
        "scale.png",
        {"generated" if given is None else "real": unedited},
        {f"times {scale:g}": pictures for scale, pictures in final.items()},
        changes,
        mask,
    )
    return Edit(_findings(values, table, scales), final[scales[-1]])


def _edited(
    student: KoopmanStudent,
    parts: Sequence[Part],
    kinds: Mapping[str, Sequence[int]],
    scales: Sequence[float],
    mask: Tensor,
    point: EditPoint,
) -> tuple[Tensor, dict[tuple[str, float], Tensor]]:
    """The unedited pictures (N, C, H, W), and those by (kind of modes, scale)."""
    original: list[Tensor] = []
    edited: dict[tuple[str, float], list[Tensor]] = {(kind, scale): [] for kind in kinds for scale in scales}

    def end(latent: Latent, labels: Tensor | None) -> Tensor:
        return student.facts.in_plain_range(mixing.finish(student, latent, point, labels).float().cpu())

    for part in parts:
        original.append(end(part.latent, part.class_labels))
        for (kind, scale), pages in edited.items():
            factor = torch.where(mask, scale, 1.0).to(part.latent[0].device)
            pages.append(end(student.codec.scale_modes(part.latent, kinds[kind], factor), part.class_labels))
    return torch.cat(original), {key: torch.cat(pages) for key, pages in edited.items()}


def _findings(values: dict[str, Any], table: Images, scales: Sequence[float]) -> Findings:
    words = values["modes_in_words"]
    titles = {"mean squared change in the mask": "mse_inside", "outside over inside": "outside_over_inside"}
    panels: dict[str, dict[str, Line]] = {
        title: {
            words[kind]: (scales, [nan if entry[key] is None else entry[key] for entry in entries])
            for kind, entries in values["edits"].items()
        }
        for title, key in titles.items()
    }
    curves = Curves("scale_curves.png", panels, across="times")
    sentence = scale_sentence(values)
    text = f"{words['chosen'][0].upper()}{words['chosen'][1:]} times a number inside the outlined part, at u = {values['at']:g}"
    text += ", where the state is encoded again" * values["reencoded"] + ". Below: the mean change."
    captions = {
        table.file: Caption("Modes made stronger and weaker", text, sentence),
        curves.file: Caption("How much they matter", "Change inside the mask, and outside over inside.", sentence),
    }
    numbers = {
        "pictures": values["count"],
        "modes": words["chosen"],
        "mask": f"{percent(values['mask_area'])} of the picture",
        **{
            f"mean squared change, times {entry['scale']:g}": short(entry["mse_inside"])
            for entry in values["edits"]["chosen"]
        },
    }
    return Findings(values, [table, curves], sentence, captions, numbers)


def scale_sentence(values: Mapping[str, Any]) -> str:
    """How much the modes matter beside others, at the scale farthest from 1, and whether the edit stays in its mask."""
    edits, words = values["edits"], values["modes_in_words"]
    place, mine = max(enumerate(edits["chosen"]), key=lambda entry: abs(entry[1]["scale"] - 1))
    text = f"Scaling {words['chosen']} by {mine['scale']:g} at u = {values['at']:g}"
    rival = edits["chance"][place]["mse_inside"] if "chance" in edits else None
    if rival is None:
        text += f" changes pictures by {short(mine['mse_inside'])} (mean squared) inside the mask"
    else:
        most = max(mine["mse_inside"], rival)
        much = (
            "as much as"
            if abs(mine["mse_inside"] - rival) <= _SAME * most
            else "more than"
            if rival < most
            else "less than"
        )
        numbers = f"{short(mine['mse_inside'])} against {short(rival)}, mean squared inside the mask"
        text += f" changes pictures {much} scaling {words['chance']} ({numbers})"
    leak = mine["outside_over_inside"]
    if leak is None:
        return f"{text}; {'the mask is the whole picture' if mine['mse_outside'] is None else 'nothing changed'}."
    pasted = " before it is pasted" if values["confined"] else ""
    return f"{text}; outside the mask it changes {percent(leak)} of what it does inside{pasted}."
