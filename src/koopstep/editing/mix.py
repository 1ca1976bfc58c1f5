"""Modes of a reference in a part of a picture, beside what tells whether they matter (HKD Sec. 5, Fig. 5)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from koopstep.analysis.modes import BANDS, ORDERS, Masks, Order, band_masks, rates_of
from koopstep.core.errors import UsageError
from koopstep.core.noise import stream_seed
from koopstep.editing import masks, mixing
from koopstep.editing.measures import inversion, reach, strongest
from koopstep.editing.mix_findings import CONTROL, Made, Setting, shown
from koopstep.editing.mixing import EditPoint, reencoded
from koopstep.editing.parts import Part, parts_of
from koopstep.editing.perceptual import Perceptual
from koopstep.editing.pictures import Pictures, chosen_mask, reference_picture
from koopstep.editing.selection import LEADING, chosen_modes, in_words, masks_of, names_of, other_modes
from koopstep.editing.tables import Edit
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

_BAND_WORDS = {
    "band": "the band",
    "finest": "the band, finest levels",
    "all": "all modes",
    "chance": "as many random modes",
}


@dataclass(frozen=True)
class Choice:
    """The modes that are mixed.

    Attributes:
        modes: kind of modes -> masks of the levels, for a mask of everything.
        words: kind of modes -> what it is called.
        drawn: the kind that the pictures show.
        head: what it is called over a column.
        values: what the findings say of it.
    """

    modes: dict[str, Masks]
    words: dict[str, str]
    drawn: str
    head: str
    values: dict[str, Any]


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
        modes: names of the modes, of a student that has named ones; without, the leading ones.
        band: of others the third of modes; without, the one that writes the finest detail.
        order: what the thirds are of.
        levels: all, or only those with most places, which leak least.
        reference: a picture file to take modes from; without, other samples.
        reencode: whether to decode at that point and encode again before going on; None: where modes have names.
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
    reencode: bool | None = None
    confine: bool = True
    image: Path | None = None
    modes: tuple[str, ...] | None = None

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


@torch.no_grad()
def mix_modes(student: KoopmanStudent, options: MixOptions, given: Pictures | None = None) -> Edit:
    """Mix modes into the mask at every ratio; beside it all modes, and as many others.

    Args:
        student: of images, with modes that have names, or rates that make bands.
        options: settings.
        given: the real pictures to mix into; the student's own samples when absent.

    Raises:
        UsageError: if the student has no rates, or a setting does not fit.
    """
    shape, plain, device = student.facts.shape, student.facts.in_plain_range, next(student.parameters()).device
    rates_of(student)  # says so where there are none
    named = student.codec.has_modes
    _check_choice(named, options)
    point = EditPoint(options.at, reencoded(student, options.reencode))
    count = options.count if given is None else len(given.data)
    mask = chosen_mask(options.mask, options.rectangle, masks.lower_left(*shape[1:]), *shape[1:])
    reference = None if options.reference is None else reference_picture(options.reference, student.facts)
    first, *others = parts_of(student, count, point, seed=options.seed, given=given, reference=reference)
    choice = (_named if named else _banded)(student, first, options, point)
    modes = {kind: mixing.within(chosen, mask) for kind, chosen in choice.modes.items()}
    ratios = tuple(sorted(set(options.ratios)))
    setting = Setting(modes, choice.words, choice.drawn, choice.head, mask, ratios, point, options.confine)
    made = _edited(student, [first, *others], setting)
    if reference is not None:
        made = Made(made.original, plain(reference).expand(count, -1, -1, -1), made.edited)
    perceptual = Perceptual(shape, device)
    measured = {
        kind: [
            {"ratio": ratio} | reach(made.original, made.edited[kind, ratio], mask, perceptual)
            for ratio in setting.ratios
        ]
        for kind in modes
    }
    values = {
        "what": "mix",
        "count": count,
        **choice.values,
        "at": point.u,
        "at_matters": mixing.matters(student, point) or reference is not None,
        "reencoded": point.reencode,
        "images": "samples" if given is None else given.origin,
        **({} if given is None else {"inversion": inversion(made.original, plain(given.data), perceptual)}),
        "reference": "other samples" if options.reference is None else str(options.reference),
        "mask_area": masks.area(mask),
        "levels": options.levels,
        "modes": {kind: mixing.count(chosen) for kind, chosen in modes.items()},
        "confined": options.confine,
        **strongest(measured, setting.drawn),
        "edits": measured,
        **perceptual.summary(),
    }
    return shown(values, made, setting, measured, None if given is None else plain(given.data))


def _check_choice(named: bool, options: MixOptions) -> None:
    """Refuse bands of students whose modes have names, and names of those whose have none."""
    if named and (options.band is not None or options.order != "real" or options.levels != "all"):
        raise UsageError("the modes of this student have names: choose with modes, not with band, order or levels")
    if not named and options.modes is not None:
        raise UsageError(
            "modes are named by students of --method modes; this one has bands: choose with band, order and levels"
        )


def _banded(student: KoopmanStudent, part: Part, options: MixOptions, point: EditPoint) -> Choice:
    """A third of the modes, and what it is held against."""
    rates = rates_of(student, part.latent)
    if all(bool((level.alpha == 0).all() and (level.beta == 0).all()) for level in rates):
        raise UsageError("this student's rates are all zero, so it has no bands; train one with --method hkd")
    frequencies = mixing.band_frequencies(student, part.latent, rates, options.order, point, part.class_labels)
    band = options.band or max(BANDS, key=lambda name: frequencies[name])
    chosen = band_masks(rates, band, options.order)
    modes = {
        "band": chosen,
        "finest": mixing.finest(chosen),
        "all": mixing.all_modes(rates),
        "chance": mixing.chance_modes(chosen, stream_seed("edit", options.seed)),
    }
    drawn = "finest" if options.levels == "finest" else "band"
    values = {"band": band, "order": options.order, "band_frequency": frequencies}
    return Choice(modes, _BAND_WORDS, drawn, "band", values)


def _named(student: KoopmanStudent, part: Part, options: MixOptions, point: EditPoint) -> Choice:
    """Modes by their names, and what they are held against."""
    wanted = options.modes or (LEADING,)
    chosen = chosen_modes(student, part.latent, wanted, point.u, part.class_labels)
    rivals = other_modes(student, chosen, stream_seed("edit", options.seed))
    rates, words = rates_of(student, part.latent), in_words(student, chosen)
    names = names_of(student)
    kinds = {"chosen": chosen, "all": tuple(range(len(names)))} | ({"chance": rivals} if rivals else {})
    called = {"chosen": words, "all": "all modes"}
    if rivals:
        called["chance"] = f"others: {in_words(student, rivals)}"
    values = {"band": None, "chosen": [names[place] for place in chosen], "chosen_in_words": words}
    return Choice(
        {kind: masks_of(rates, places) for kind, places in kinds.items()},
        called,
        "chosen",
        "modes",
        values,
    )


def _edited(student: KoopmanStudent, parts: list[Part], setting: Setting) -> Made:
    """Every edit of every part."""
    wanted = [(kind, ratio) for kind in setting.modes for ratio in setting.ratios] + [("all", CONTROL)]
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
