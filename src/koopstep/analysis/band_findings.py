"""``analyze RUN bands``: thirds of the modes kept alone and dropped, for each order (HKD Fig. 4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.bands import (
    CHANCE,
    Band,
    band_effects,
    chance_effects,
    chance_gaps,
    finest,
    level_effects,
    share_as_far,
    stands_out,
    tied,
)
from koopstep.analysis.findings import Bars, Clouds, Curves, Findings, ImageRow, Images, Line, View, image_rows
from koopstep.analysis.frequencies import radial_profile, radii
from koopstep.analysis.modes import BANDS, ORDER_WORDS, ORDERS, Order, rates_of
from koopstep.analysis.outcomes import cells_of
from koopstep.analysis.spectrum import gauge_of
from koopstep.analysis.subject import Subject
from koopstep.core.pixels import DataRange
from koopstep.data.cells import Cells

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
    chance = chance_effects(student, end, labels)
    gaps = chance_gaps(student, end, labels) if whole.ndim == 4 else []
    gauge = gauge_of(student.spectrum())
    part, part_labels = tuple(level[:_FOR_LEVELS] for level in end), None if labels is None else labels[:_FOR_LEVELS]
    values: dict[str, Any] = {"gauge": gauge}
    by_level: dict[str, dict[str, list[float]]] = {}
    for order in ORDERS:
        effects = level_effects(student, part, part_labels, rates, order)
        by_level[f"by {ORDER_WORDS[order]}"] = {band: effects[:, place].tolist() for place, band in enumerate(BANDS)}
        values[order] = _order_values(found, order, gaps) | {
            "tied_share": tied(rates, order),
            "effect_by_level": dict(zip(student.level_names, effects.tolist(), strict=True)),
        }
    values[CHANCE] = _order_values(chance, CHANCE, gaps)
    shown = student.facts.shown_range
    cells = cells_of(subject) if student.facts.shape == (2,) else None
    views = [_order_view(order, whole, found, gauge, shown, cells) for order in ORDERS]
    title = "change of the sample when a third of one level's modes is dropped"
    views.append(Bars("bands_by_level.png", by_level, student.level_names, up="mean squared change", title=title))
    return Findings(values, views + ([_profiles(whole, found, chance)] if whole.ndim == 4 else []))


def _order_values(found: list[Band], order: str, gaps: list[float]) -> dict[str, Any]:
    values: dict[str, Any] = {band.band: band.summary() for band in found if band.order == order}
    share = share_as_far(found, order, gaps)
    return values | {
        "highest_frequency_band": finest(found, order),
        "share_as_far": share,
        "stands_out": stands_out(share),
    }


def _order_view(
    order: Order, whole: Tensor, found: list[Band], gauge: str, shown_range: DataRange, cells: Cells | None
) -> View:
    """One order: images in rows, or clouds of points."""
    ours = [band for band in found if band.order == order]
    file, title = f"bands_{order}.png", f"thirds of the modes by {ORDER_WORDS[order]}; gauge of the order: {gauge}"
    if whole.ndim != 4:
        sets = {"all modes": whole.flatten(1)[:, :2]}
        sets |= {f"only {band.band}": band.alone.flatten(1)[:, :2] for band in ours} | {"": whole}
        sets |= {f"without {band.band}": (whole - band.effect).flatten(1)[:, :2] for band in ours}
        return Clouds(file, sets, cells=cells, title=title)
    reach = max(max(float(band.effect[:_SHOWN].abs().quantile(0.995)) for band in ours), 1e-6)
    rows = image_rows({"all modes": whole[:_SHOWN]} | {f"only {band.band}": band.alone[:_SHOWN] for band in ours})
    rows += [ImageRow(f"{band.band} adds", band.effect[:_SHOWN] / reach, "differences") for band in ours]
    scale = f"adds: all modes less all without this third, from blue (−{reach:.2g}) over white to red (+{reach:.2g})"
    return Images(file, rows, title=f"{title}\n{scale}", data_range=shown_range)


def _profiles(whole: Tensor, found: list[Band], chance: list[Band]) -> Curves:
    """Power of each band's effect by spatial frequency, with that of thirds by chance and of whole samples."""

    def line(images: Tensor) -> Line:
        profile = radial_profile(images)
        power = profile if profile is None else profile * float(images.square().mean())
        return ([], []) if power is None else (radii(len(power)).tolist(), power.clamp(min=1e-12).tolist())

    drawn = torch.cat([band.effect for band in chance])
    panels = {
        f"thirds by {ORDER_WORDS[order]}": {band.band: line(band.effect) for band in found if band.order == order}
        | {"thirds by chance": line(drawn), "whole samples": line(whole)}
        for order in ORDERS
    }
    return Curves(
        "bands_profile.png",
        panels,
        across="spatial frequency, cycles a pixel",
        up="power within a ring",
        logarithmic=list(panels),
        faint=("thirds by chance", "whole samples"),
        title="what a third adds to the sample, by spatial frequency",
    )
