"""``analyze RUN bands``: thirds of the modes kept alone and dropped, for each order (HKD Fig. 4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.bands import Band, band_effects, finest, level_effects, tied
from koopstep.analysis.control import (
    CHANCE,
    Control,
    chance_effects,
    enough,
    random_modes,
    share_as_far,
    share_as_large,
    stands_out,
)
from koopstep.analysis.findings import Bars, Caption, Curves, Findings, ImageRow, Images, Line, View, image_rows
from koopstep.analysis.frequencies import radial_profile, radii
from koopstep.analysis.modes import ORDER_WORDS, ORDERS, Order, formed, rates_of
from koopstep.analysis.sets import how_shown, view_of_sets
from koopstep.analysis.spectrum import gauge_of, identifiable
from koopstep.analysis.subject import Subject
from koopstep.analysis.words import held_out_rows, percent, short

_FOR_LEVELS = 64  # rows for which each level is cut by itself
_SHOWN = 10


@torch.no_grad()
def bands(subject: Subject) -> Findings:
    """What each third of the modes does to the sample, together and level by level, and how fine its effect is."""
    student, batch = subject.student, subject.rows()
    labels = batch.class_labels
    start = student.encode(batch.states[0], 0.0, labels)
    end = student.evolve(start, 1.0, labels)
    rates = rates_of(student, start)
    whole, found = band_effects(student, end, labels, ORDERS, rates=rates)
    chance, control = (
        (chance_effects(student, end, labels), random_modes(student, end, labels)) if enough(rates) else ([], None)
    )
    gauge = gauge_of(student.spectrum())
    part, part_labels = tuple(level[:_FOR_LEVELS] for level in end), None if labels is None else labels[:_FOR_LEVELS]
    values: dict[str, Any] = {"gauge": gauge, "rows": len(batch)}
    by_level: dict[str, dict[str, list[float]]] = {}
    for order in ORDERS:
        effects = level_effects(student, part, part_labels, rates, order)
        by_level[f"by {ORDER_WORDS[order]}"] = {
            band: effects[:, place].tolist() for place, band in enumerate(formed(rates))
        }
        values[order] = _order_values(found, order, control) | {
            "tied_share": tied(rates, order),
            "effect_by_level": dict(zip(student.level_names, effects.tolist(), strict=True)),
        }
    if control is not None:
        values[CHANCE] = _order_values(chance, CHANCE, control)
    views = [_order_view(subject, order, whole, found, gauge) for order in ORDERS]
    sentence = {order: order_finding(found, order, control) for order in ORDERS}
    captions = {
        view.file: Caption(
            f"Thirds of the modes by {ORDER_WORDS[order]}", _BANDS_TEXT + how_shown(subject), _sentence(sentence[order])
        )
        for view, order in zip(views, ORDERS, strict=True)
    }
    title = "change of the sample when a third of one level's modes is dropped"
    views.append(
        Bars("bands_by_level.png", by_level, student.level_names, up="mean squared change", ordered=True, title=title)
    )
    captions["bands_by_level.png"] = Caption(
        "Thirds of the modes, level by level", f"Each bar: {title}.", _level_finding(values, student.level_names)
    )
    if whole.ndim == 4:
        views.append(_profiles(whole, found, chance))
        captions["bands_profile.png"] = Caption(
            "How fine each third's effect is",
            "Power of what a third adds to the sample, by spatial frequency; "
            f"{'pale: a random third; ' * bool(chance)}dashed: whole samples.",
            _finest_finding(found),
        )
    return Findings(values, views, _conclusion(sentence, values, control), captions, _numbers(found, control, values))


_BANDS_TEXT = (
    "Samples decoded from all modes, from one third of the modes alone, and what each third adds to the whole. Modes are "
    "sorted by rates, so which modes make up a third is not identifiable where rates are not; the effect itself is."
)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _conclusion(sentence: dict[Order, str], values: dict[str, Any], control: Control | None) -> str:
    """The order that does most beyond random modes, or that none does; by growth where modes are too few to tell."""
    if control is None:
        return _sentence(f"on {held_out_rows(values['rows'])}, {sentence['real']}")
    best = min(ORDERS, key=lambda order: (values[order]["share_as_far"] or 1.0, values[order]["share_as_large"]))
    where = f"on {held_out_rows(values['rows'])}"
    if any(values[order]["stands_out"] or values[order]["effect_stands_out"] for order in ORDERS):
        return _sentence(f"{where}, {sentence[best]}")
    return _sentence(f"{where} no order of the modes does more than the random-mode control: {sentence[best]}")


def _numbers(found: list[Band], control: Control | None, values: dict[str, Any]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for order in ORDERS:
        sizes = {band.band: band.size for band in found if band.order == order}
        numbers[f"effect of each third by {ORDER_WORDS[order]}"] = ", ".join(
            f"{band} {short(size)}" for band, size in sizes.items()
        )
    if control is not None:
        low, high = control.spread
        numbers["random-mode control"] = (
            f"{short(low)} to {short(high)} (the largest third, 95 % of {len(control.sizes)} draws)"
        )
    return numbers | {"rates identifiable": "no" if values["gauge"] == "free" else f"yes, {values['gauge']}"}


def _level_finding(values: dict[str, Any], names: tuple[str, ...]) -> str:
    effects = {name: max(values["real"]["effect_by_level"][name]) for name in names}
    most = max(effects, key=lambda name: effects[name])
    share = effects[most] / max(sum(effects.values()), 1e-30)
    return (
        f"By growth, a third of level {most} matters most: without it samples change by {short(effects[most])}, "
        f"{percent(share)} of the sum of each level's largest."
    )


def _finest_finding(found: list[Band]) -> str:
    means = {band.band: band.frequency or 0.0 for band in found if band.order == "real"}
    return (
        "Sorted by growth the thirds' effects have mean spatial frequencies of "
        + ", ".join(f"{short(mean)} ({band})" for band, mean in means.items())
        + " cycles a pixel."
    )


def _order_values(found: list[Band], order: str, control: Control | None) -> dict[str, Any]:
    values: dict[str, Any] = {band.band: band.summary() for band in found if band.order == order}
    if control is None:
        return values | {"highest_frequency_band": finest(found, order)}
    far, large = share_as_far(found, order, control), share_as_large(found, order, control)
    return values | {
        "highest_frequency_band": finest(found, order),
        "share_as_far": far,
        "stands_out": stands_out(far),
        "share_as_large": large,
        "effect_stands_out": stands_out(large),
    }


def order_finding(found: list[Band], order: Order, control: Control | None) -> str:
    """One order in a sentence: which third matters most, which writes the finest detail, and what random thirds do."""
    sizes = {band.band: band.size for band in found if band.order == order}
    most = max(sizes, key=lambda band: sizes[band])
    others = " and ".join(short(size) for band, size in sizes.items() if band != most)
    text = (
        f"sorted by {ORDER_WORDS[order]}, dropping the {most} third changes the sample by {short(sizes[most])} (the others "
        f"{others})"
    )
    if control is None:
        return text
    large, far = share_as_large(found, order, control), share_as_far(found, order, control)
    more = "more than" if stands_out(large) else "no more than"
    text += f", {more} random thirds do ({percent(large)} of random draws have one as large)"
    if far is None:
        return text
    verb = "writes the finest detail" if stands_out(far) else "seems to write the finest detail, but does not stand out"
    return f"{text}; the {finest(found, order)} third {verb} ({percent(far)} of random draws get as far)"


def _order_view(subject: Subject, order: Order, whole: Tensor, found: list[Band], gauge: str) -> View:
    """One order: images in rows, or clouds of points."""
    display, ours = subject.display, [band for band in found if band.order == order]
    file, title = f"bands_{order}.png", f"thirds of the modes by {ORDER_WORDS[order]}; rates {identifiable(gauge)}"
    if display.kind == "points":
        sets = {"all modes": whole} | {f"only {band.band}": band.alone for band in ours} | {"": whole}
        sets |= {f"without {band.band}": whole - band.effect for band in ours}
        return view_of_sets(subject, file, sets, title=title)
    some, shown = whole[:_SHOWN].cpu(), display(whole[:_SHOWN].cpu())
    adds = {band.band: shown - display(some - band.effect[:_SHOWN].cpu()) for band in ours}
    reach = max(max(float(images.abs().quantile(0.995)) for images in adds.values()), 1e-6)
    rows = image_rows({"all modes": shown} | {f"only {band.band}": display(band.alone[:_SHOWN].cpu()) for band in ours})
    rows += [ImageRow(f"{band} adds", images, "differences") for band, images in adds.items()]
    scale = "all modes less all\nbut this third"
    return Images(file, rows, title=title, data_range=display.data_range, reach=reach, scale=scale)


def _profiles(whole: Tensor, found: list[Band], chance: list[Band]) -> Curves:
    """Power of each band's effect by spatial frequency, with that of random third and of whole samples."""

    def line(images: Tensor) -> Line:
        profile = radial_profile(images)
        power = profile if profile is None else profile * float(images.square().mean())
        return ([], []) if power is None else (radii(len(power)).tolist(), power.clamp(min=1e-12).tolist())

    drawn = {"random third": line(torch.cat([band.effect for band in chance]))} if chance else {}
    panels = {
        f"thirds by {ORDER_WORDS[order]}": {band.band: line(band.effect) for band in found if band.order == order}
        | drawn
        | {"whole samples": line(whole)}
        for order in ORDERS
    }
    return Curves(
        "bands_profile.png",
        panels,
        across="spatial frequency, cycles a pixel",
        up="power within a ring",
        logarithmic=list(panels),
        faint=(*drawn, "whole samples"),
        ordered=list(panels),
        alike=[list(panels)],
        title="what a third adds to the sample, by spatial frequency",
    )
