"""Modes of a reference in a part of a picture, beside what tells whether they matter (HKD Sec. 5, Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Curves, Findings, ImageRow, Images, Line, View
from koopstep.analysis.modes import BANDS, ORDER_WORDS, ORDERS, Masks, Order, band_masks, rates_of
from koopstep.analysis.words import percent, short
from koopstep.core.errors import UsageError
from koopstep.core.noise import stream_seed
from koopstep.editing import masks, mixing
from koopstep.editing.measures import inversion, reach, strongest
from koopstep.editing.mixing import EditPoint
from koopstep.editing.parts import Part, parts_of
from koopstep.editing.perceptual import Perceptual
from koopstep.editing.pictures import Pictures, chosen_mask, reference_picture
from koopstep.operators.rates import Rates
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

_CONTROL = 0.9  # the paper's ratio of the control that mixes all modes
_DRAWN = 8
_LESS = 0.8  # of the structure that random modes change: below that a band keeps more
_KINDS = {
    "band": "the band",
    "finest": "the band, finest levels",
    "all": "all modes",
    "chance": "as many random modes",
}


@dataclass(frozen=True)
class MixOptions:
    """Settings of ``koopstep edit RUN mix``.

    Attributes:
        count: pictures.
        seed: of all noise, and of which real pictures are taken.
        mask: a picture file, white where to mix.
        rectangle: the same as corners; without either the lower left half.
        at: progress u at which latents are mixed, in [0, 1).
        ratios: shares of the reference, each in [0, 1].
        band: the third of modes; without, the one that writes the finest detail.
        order: what the thirds are of.
        levels: all, or only those with most places, which leak least.
        reference: a picture file to take modes from; without, other samples.
        reencode: whether to decode at that point and encode again before going on.
        confine: whether the unedited picture is pasted outside the mask at the end.
        image: real pictures to edit, a file or a folder; without, the student's own samples.

    Raises:
        UsageError: if a value is out of range.
    """

    count: int = 32
    seed: int = 0
    mask: Path | None = None
    rectangle: masks.Rectangle | None = None
    at: float = 0.5
    ratios: tuple[float, ...] = (0.1, 0.2, 0.5, 0.8, 0.9)
    band: str | None = None
    order: Order = "real"
    levels: Literal["all", "finest"] = "all"
    reference: Path | None = None
    reencode: bool = False
    confine: bool = True
    image: Path | None = None

    def __post_init__(self) -> None:
        wrong = [ratio for ratio in self.ratios if not 0 <= ratio <= 1]
        if wrong:
            raise UsageError(f"a ratio is from 0 (nothing of the reference) to 1 (all of it), got {wrong[0]:g}")
        if not self.ratios:
            raise UsageError("at least one ratio is needed")
        if self.count < 1:
            raise UsageError(f"count must be at least 1, got {self.count}")
        if self.band is not None and self.band not in BANDS:
            raise UsageError(f"band is one of {', '.join(BANDS)}, got {self.band!r}")
        if self.order not in ORDERS:
            raise UsageError(f"order is one of {', '.join(ORDERS)}, got {self.order!r}")
        if self.levels not in ("all", "finest"):
            raise UsageError(f"levels is all or finest, got {self.levels!r}")
        if not 0 <= self.at < 1:
            raise UsageError(f"at is from 0 (noise) to below 1 (the data), got {self.at:g}")


@dataclass(frozen=True)
class Edit:
    """An edit: what was found, and the edited pictures (N, C, H, W) in [-1, 1], of which one folder is made."""

    findings: Findings
    pictures: Tensor


@dataclass(frozen=True)
class Setting:
    """What is mixed, where and when.

    Attributes:
        modes: kind of modes -> masks of the levels.
        mask: bool (H, W), of the picture.
        ratios: rising.
        point: of the edit.
    """

    modes: dict[str, Masks]
    mask: Tensor
    ratios: tuple[float, ...]
    point: EditPoint


@dataclass(frozen=True)
class Made:
    """Decoded pictures (N, C, H, W) in [-1, 1]: unedited, of the references, and edited by (kind of modes, ratio)."""

    original: Tensor
    reference: Tensor
    edited: dict[tuple[str, float], Tensor]


@torch.no_grad()
def mix_modes(student: KoopmanStudent, options: MixOptions, given: Pictures | None = None) -> Edit:
    """Mix a band of modes into the mask at every ratio; beside it all modes, and as many modes chosen at random.

    Args:
        student: of images, with block operators.
        options: settings.
        given: the real pictures to mix into; the student's own samples when absent.

    Raises:
        UsageError: if the student has no rates, or a setting does not fit.
    """
    shape, plain, device = student.facts.shape, student.facts.in_plain_range, next(student.parameters()).device
    rates_of(student)  # says so where there are none
    point, count = EditPoint(options.at, options.reencode), options.count if given is None else len(given.data)
    mask = chosen_mask(options.mask, options.rectangle, masks.lower_left(*shape[1:]), *shape[1:])
    reference = None if options.reference is None else reference_picture(options.reference, student.facts)
    first, *others = parts_of(student, count, point, seed=options.seed, given=given, reference=reference)
    rates = rates_of(student, first.latent)
    if all(bool((level.alpha == 0).all() and (level.beta == 0).all()) for level in rates):
        raise UsageError("this student's rates are all zero, so it has no bands; train one with --method hkd")
    frequencies = mixing.band_frequencies(student, first.latent, rates, options.order, point, first.class_labels)
    band = options.band or max(BANDS, key=lambda name: frequencies[name])
    everything = _kinds_of_modes(band_masks(rates, band, options.order), rates, options.seed)
    modes = {kind: mixing.within(chosen, mask) for kind, chosen in everything.items()}
    setting = Setting(modes, mask, tuple(sorted(set(options.ratios))), point)
    made = _edited(student, [first, *others], setting)
    if reference is not None:
        made = Made(made.original, plain(reference).expand(count, -1, -1, -1), made.edited)
    perceptual = Perceptual(shape, device)
    measured = {
        kind: [
            {"ratio": ratio} | reach(made.original, made.edited[kind, ratio], mask, perceptual)
            for ratio in setting.ratios
        ]
        for kind in _KINDS
    }
    values = {
        "what": "mix",
        "count": count,
        "band": band,
        "order": options.order,
        "band_frequency": frequencies,
        "at": point.u,
        "at_matters": mixing.matters(student, point) or reference is not None,
        "reencoded": point.reencode,
        "images": "samples" if given is None else given.origin,
        **({} if given is None else {"inversion": inversion(made.original, plain(given.data), perceptual)}),
        "reference": "other samples" if options.reference is None else str(options.reference),
        "mask_area": masks.area(mask),
        "levels": options.levels,
        "modes": {kind: mixing.count(setting.modes[kind]) for kind in _KINDS},
        "confined": options.confine,
        **strongest(measured, _drawn(options)),
        "edits": measured,
        **perceptual.summary(),
    }
    return _shown(values, made, setting, measured, options, None if given is None else plain(given.data))


def _kinds_of_modes(chosen: Masks, rates: Sequence[Rates], seed: int) -> dict[str, Masks]:
    """The band, and what it is held against."""
    return {
        "band": chosen,
        "finest": mixing.finest(chosen),
        "all": mixing.all_modes(rates),
        "chance": mixing.chance_modes(chosen, stream_seed("edit", seed)),
    }


def _drawn(options: MixOptions) -> str:
    """The kind of modes that the pictures show."""
    return "finest" if options.levels == "finest" else "band"


def _edited(student: KoopmanStudent, parts: list[Part], setting: Setting) -> Made:
    """Every edit of every part."""
    wanted = [(kind, ratio) for kind in _KINDS for ratio in setting.ratios] + [("all", _CONTROL)]
    made: list[Made] = []
    for part in parts:
        labels, point = part.class_labels, setting.point

        def end(latent: Latent, labels: Tensor | None = labels, point: EditPoint = point) -> Tensor:
            return student.facts.in_plain_range(mixing.finish(student, latent, point, labels).float().cpu())

        edits = {
            (kind, ratio): end(mixing.mix(part.latent, part.reference, setting.modes[kind], ratio))
            for kind, ratio in dict.fromkeys(wanted)
        }
        made.append(Made(end(part.latent), end(part.reference), edits))
    return Made(
        torch.cat([part.original for part in made]),
        torch.cat([part.reference for part in made]),
        {key: torch.cat([part.edited[key] for part in made]) for key in made[0].edited},
    )


def _shown(
    values: dict[str, Any],
    made: Made,
    setting: Setting,
    measured: dict[str, list[dict[str, Any]]],
    options: MixOptions,
    given: Tensor | None,
) -> Edit:
    """The table of pictures with a map of the change below it, curves over the ratio, and the strongest edit."""
    drawn, first = _drawn(options), made.original if given is None else given
    keys = [*((drawn, ratio) for ratio in setting.ratios), ("all", _CONTROL)]
    final = {key: made.edited[key] for key in keys}
    if options.confine:
        final = {key: torch.where(setting.mask, pictures, first) for key, pictures in final.items()}
    rows = [
        ImageRow("", torch.stack(list(pictures)))
        for pictures in zip(*(images[:_DRAWN] for images in (first, made.reference, *final.values())), strict=True)
    ]
    changes = torch.stack([(made.edited[key] - made.original).abs().mean(dim=(0, 1)) for key in keys])
    rows.append(ImageRow("mean\nchange", changes[:, None], "changes", skip=2, gap=0.15))
    heads = ["generated" if given is None else "real", "reference"]
    heads += [*(f"band\n{ratio:.0%}" for ratio in setting.ratios), f"all modes\n{_CONTROL:.0%}"]
    names = {"outside over inside": "outside_over_inside", "structure error": "structure_error"}
    panels: dict[str, dict[str, Line]] = {
        title: {_KINDS[kind]: (setting.ratios, [entry[key] or nan for entry in measured[kind]]) for kind in _KINDS}
        for title, key in names.items()
    }
    views: list[View] = [
        Images("mix.png", rows, columns=heads, mask=setting.mask, scale="mean |change|\nof [-1, 1]"),
        Curves("mix_curves.png", panels, across="mixing ratio", logarithmic=["structure error"]),
    ]
    sentence = mix_sentence(values)
    text = "Modes of the reference mixed into the outlined part, at rising ratios; last, all modes. Below: the mean change."
    captions = {
        "mix.png": Caption("Mixing modes of a reference", text, sentence),
        "mix_curves.png": Caption(
            "How far the edit reaches", "Change outside over inside the mask, and structure lost inside it.", sentence
        ),
    }
    numbers = {
        "pictures": values["count"],
        "band": f"{values['band']} third by {ORDER_WORDS[options.order]}",
        "mask": f"{percent(values['mask_area'])} of the picture",
        **{
            f"structure error at {percent(values['ratio'])}, {_KINDS[kind]}": short(error)
            for kind, error in values["at_this_ratio"]["structure_error"].items()
        },
    }
    return Edit(Findings(values, views, sentence, captions, numbers), final[drawn, setting.ratios[-1]])


def mix_sentence(values: dict[str, Any]) -> str:
    """Whether the band keeps the structure better than random modes do, and whether the edit stays in its mask."""
    errors = values["at_this_ratio"]["structure_error"]
    mine = "finest" if values["levels"] == "finest" else "band"
    leak = values["outside_over_inside"]
    ratio = errors[mine] / max(errors["chance"], 1e-30)
    verdict = (
        "less structure than"
        if ratio < _LESS
        else "more structure than"
        if ratio > 1 / _LESS
        else "as much structure as"
    )
    reach = (
        "the mask is the whole picture"
        if leak is None
        else f"outside the mask it changes {percent(leak)} of what it does inside"
    )
    confined = " before it is pasted" if values["confined"] and leak is not None else ""
    return (
        f"At {percent(values['ratio'])} the {values['band']} third by {ORDER_WORDS[values['order']]} changes {verdict} as many "
        f"random modes ({short(errors[mine])} against {short(errors['chance'])}; all modes {short(errors['all'])}); "
        f"{reach}{confined}."
    )
