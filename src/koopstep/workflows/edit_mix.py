"""``koopstep edit RUN mix``: modes of a reference in a part of a generated picture, beside what tells whether they matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.findings import Curves, Line
from koopstep.analysis.modes import BANDS, ORDERS, Masks, band_masks, rates_of
from koopstep.core.errors import UsageError
from koopstep.core.noise import stream_seed
from koopstep.editing import masks, mixing
from koopstep.editing.mixing import Moment
from koopstep.figures.draw import draw
from koopstep.figures.images import pixels, write_images
from koopstep.figures.tables import Row, heat, table
from koopstep.operators.rates import Rates
from koopstep.students.student import KoopmanStudent, Latent
from koopstep.workflows.console import Console
from koopstep.workflows.edit_images import EditOptions, Perceptual, chosen_mask
from koopstep.workflows.edit_latents import Part, parts_of, pictures_to_mix, reference_picture
from koopstep.workflows.run import OpenRun

RATIOS = (0.1, 0.2, 0.5, 0.8, 0.9)
_CONTROL = 0.9  # the paper's ratio of the control that mixes all modes
_COUNT, _DRAWN = 32, 8
_KINDS = {
    "band": "the band",
    "finest": "the band, finest levels",
    "all": "all modes",
    "chance": "as many by chance",
}


@dataclass(frozen=True)
class Setting:
    """What is mixed, where and when."""

    modes: dict[str, Masks]
    mask: Tensor
    ratios: tuple[float, ...]
    moment: Moment


@dataclass
class Made:
    """Pictures (N, C, H, W): unedited, of the references, and edited by (kind of modes, ratio), all as they are decoded.

    ``given`` are the real ones that were edited; None where they are the student's own.
    """

    original: Tensor
    reference: Tensor
    edited: dict[tuple[str, float], Tensor]
    given: Tensor | None = None


@torch.no_grad()
def mix_modes(
    opened: OpenRun, options: EditOptions, folder: Path, device: torch.device, console: Console
) -> tuple[list[Path], dict[str, Any]]:
    """Mix a band of modes into the mask at every ratio; beside it all modes, and as many modes drawn by chance.

    Returns:
        The files written, and the values.

    Raises:
        UsageError: if the student has no rates, or a setting does not fit.
    """
    student, shape = opened.student, opened.student.facts.shape
    rates_of(student)  # says so where there are none
    ratios, order = _checked(options), options.order or "real"
    moment = Moment(0.5 if options.moment is None else options.moment, options.reencode)
    mask = chosen_mask(options, *shape[1:])
    mask = masks.lower_left(*shape[1:]) if mask is None else mask
    real = None if options.image is None else pictures_to_mix(opened, options, options.count or _COUNT)
    count = (options.count or _COUNT) if real is None else len(real.data)
    parts = parts_of(student, options, count, moment, device, real)
    first = next(parts)
    rates = rates_of(student, first.latent)
    if all(bool((level.alpha == 0).all() and (level.beta == 0).all()) for level in rates):
        raise UsageError("this student's rates are all zero, so it has no bands; train one with --method hkd")
    frequencies = mixing.band_frequencies(student, first.latent, rates, order, moment, first.class_labels)
    band = options.band or max(BANDS, key=lambda name: frequencies[name])
    console.say(f"mixing the {band} third of modes (by {order}) at u = {moment.u:g} into {masks.area(mask):.0%}")
    chosen = band_masks(rates, band, order)
    everything = _kinds_of_modes(chosen, rates, options.seed)
    setting = Setting({kind: mixing.within(modes, mask) for kind, modes in everything.items()}, mask, ratios, moment)
    made = _edited(student, [first, *parts], setting)
    if options.reference is not None:
        made.reference = reference_picture(options.reference, shape).expand(count, -1, -1, -1)
    perceptual = Perceptual(shape, device)
    if real is not None:
        made.given = real.data
    measured = {kind: [_measure(made, kind, ratio, mask, perceptual) for ratio in ratios] for kind in _KINDS}
    values = {
        "what": "mix",
        "count": count,
        "band": band,
        "order": order,
        "band_frequency": frequencies,
        "moment": moment.u,
        "moment_matters": mixing.matters(student, moment) or options.reference is not None,
        "reencoded": moment.reencode,
        "images": "samples" if real is None else real.told,
        **_inversion(made, perceptual),
        "reference": "other samples" if options.reference is None else str(options.reference),
        "mask_area": masks.area(mask),
        "levels": options.levels,
        "modes": {kind: mixing.count(setting.modes[kind]) for kind in _KINDS},
        "confined": options.confine,
        **_summary(measured, _drawn(options)),
        "edits": measured,
        **perceptual.told(),
    }
    return _draw(folder, made, setting, measured, options), values


def _kinds_of_modes(chosen: Masks, rates: Sequence[Rates], seed: int) -> dict[str, Masks]:
    """The band, and what it is held against."""
    return {
        "band": chosen,
        "finest": mixing.finest(chosen),
        "all": mixing.all_modes(rates),
        "chance": mixing.chance_modes(chosen, stream_seed("edit", seed)),
    }


def _inversion(made: Made, perceptual: Perceptual) -> dict[str, Any]:
    """How well real pictures come back unedited: lifted, evolved to the moment and on to the end, decoded."""
    if made.given is None:
        return {}
    found: dict[str, Any] = {"mse": float((made.original - made.given).square().mean())}
    if not perceptual.missing:
        found["lpips"] = perceptual.distance(made.original, made.given)
    return {"inversion": found}


def _drawn(options: EditOptions) -> str:
    """The kind of modes that the pictures show."""
    return "finest" if options.levels == "finest" else "band"


def _checked(options: EditOptions) -> tuple[float, ...]:
    """The ratios, rising."""
    ratios = tuple(sorted(set(options.ratios))) or RATIOS
    wrong = [ratio for ratio in ratios if not 0 <= ratio <= 1]
    if wrong:
        raise UsageError(f"--ratio is from 0 (nothing of the reference) to 1 (all of it), got {wrong[0]:g}")
    if options.band is not None and options.band not in BANDS:
        raise UsageError(f"--band is one of {', '.join(BANDS)}, got {options.band!r}")
    if options.order is not None and options.order not in ORDERS:
        raise UsageError(f"--order is one of {', '.join(ORDERS)}, got {options.order!r}")
    if options.levels not in ("all", "finest"):
        raise UsageError(f"--levels is all or finest, got {options.levels!r}")
    if options.moment is not None and not 0 <= options.moment < 1:
        raise UsageError(f"--moment is from 0 (noise) to below 1 (the data), got {options.moment:g}")
    return ratios


def _edited(student: KoopmanStudent, parts: list[Part], setting: Setting) -> Made:
    """Every edit of every part."""
    wanted = [(kind, ratio) for kind in _KINDS for ratio in setting.ratios] + [("all", _CONTROL)]
    made: list[Made] = []
    for part in parts:
        labels, moment = part.class_labels, setting.moment

        def end(latent: Latent, labels: Tensor | None = labels, moment: Moment = moment) -> Tensor:
            return mixing.finish(student, latent, moment, labels).float().cpu()

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


def _measure(made: Made, kind: str, ratio: float, mask: Tensor, perceptual: Perceptual) -> dict[str, Any]:
    """How far an edit reaches, as it comes out of the decoder: nothing is pasted here."""
    before, after = made.original, made.edited[kind, ratio]
    moved = mixing.change(before, after, mask)
    structure = mixing.structure_error(before, after, mask)
    result: dict[str, Any] = {
        "ratio": ratio,
        "mse_inside": moved.inside,
        "mse_outside": moved.outside,
        "outside_over_inside": moved.outside_over_inside,
        "structure_error": structure,
        "structure_share": structure / moved.inside if moved.inside > 0 else None,
    }
    if not perceptual.missing:
        inside = perceptual.distance(torch.where(mask, after, before), before) or 0.0
        outside = perceptual.distance(torch.where(mask, before, after), before)
        seen = mixing.Change(inside, None if bool(mask.all()) else outside)
        result |= {"lpips_inside": seen.inside, "lpips_outside": seen.outside}
        result["lpips_outside_over_inside"] = seen.outside_over_inside
    return result


def _summary(measured: dict[str, list[dict[str, Any]]], drawn: str) -> dict[str, Any]:
    """The numbers at the largest ratio, where the edit is strongest: of what is drawn, then of every kind."""
    last = {kind: entries[-1] for kind, entries in measured.items()}
    keys = ("outside_over_inside", "lpips_outside_over_inside", "structure_error", "structure_share")
    return {
        "ratio": last[drawn]["ratio"],
        **{key: last[drawn][key] for key in keys if key in last[drawn]},
        "at_this_ratio": {key: {kind: last[kind][key] for kind in last} for key in keys if key in last[drawn]},
    }


def _draw(
    folder: Path, made: Made, setting: Setting, measured: dict[str, list[dict[str, Any]]], options: EditOptions
) -> list[Path]:
    """The table of pictures with a map of the change below it, curves over the ratio, and the strongest edit by itself."""
    drawn = _drawn(options)
    shown = [*((drawn, ratio) for ratio in setting.ratios), ("all", _CONTROL)]
    first = made.original if made.given is None else made.given
    final = {key: made.edited[key] for key in shown}
    if options.confine:
        final = {key: torch.where(setting.mask, pictures, first) for key, pictures in final.items()}
    columns = [
        "generated" if made.given is None else "real",
        "reference",
        *(f"band\n{ratio:.0%}" for ratio in setting.ratios),
    ]
    sets = [pixels(images[:_DRAWN]) for images in (first, made.reference, *final.values())]
    rows = [Row("", pictures) for pictures in zip(*sets, strict=True)]
    changes = [(made.edited[key] - made.original).abs().mean(dim=(0, 1)) for key in shown]
    rows.append(Row("mean\nchange", [None, None, *heat(changes)], outlined=True, gap=0.15))
    figure = table(folder / "mix.png", rows, columns=[*columns, f"all modes\n{_CONTROL:.0%}"], mask=setting.mask)
    names = {"outside over inside": "outside_over_inside", "structure error": "structure_error"}
    panels: dict[str, dict[str, Line]] = {
        title: {_KINDS[kind]: (setting.ratios, [entry[key] or nan for entry in measured[kind]]) for kind in _KINDS}
        for title, key in names.items()
    }
    view = Curves("mix_curves.png", panels, across="mixing ratio", logarithmic=["structure error"])
    curves = draw(view, folder)
    write_images(folder / "edited", final[drawn, setting.ratios[-1]])
    return [figure, curves, folder / "edited"]
