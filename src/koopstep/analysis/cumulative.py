"""The cumulative effect of each band along the path, which HKD names and never defines.

Here: the band's share of the latent's square at u, and how far the decoded sample moves when the band is left out at u.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Curves, Findings, Line
from koopstep.analysis.modes import ORDER_WORDS, ORDERS, Order, band_masks, drop, formed, full, rates_of
from koopstep.analysis.spectrum import gauge_of, identifiable
from koopstep.analysis.subject import Subject
from koopstep.analysis.words import percent, short
from koopstep.students.student import KoopmanStudent

_MOVED, _CLEARLY = 0.05, 1.5


@dataclass(frozen=True)
class Cumulative:
    """Curves over u, one a band.

    Attributes:
        order: what the modes were sorted by.
        u: where along the path.
        energy: band -> share of the latent's square at each u; the bands sum to 1.
        decoded: band -> mean squared change of the decoded sample without the band, at each u. Of students that read
            their path it is in units of the states' mean square at u, which falls from that of noise to that of data.
    """

    order: Order
    u: tuple[float, ...]
    energy: dict[str, list[float]]
    decoded: dict[str, list[float]]

    def summary(self) -> dict[str, Any]:
        """In plain numbers."""
        return {"order": self.order, "u": list(self.u), "energy": self.energy, "decoded": self.decoded}


@torch.no_grad()
def cumulative(
    student: KoopmanStudent, states: Tensor, class_labels: Tensor | None, *, order: Order = "real", points: int = 11
) -> Cumulative:
    """Follow the bands of ``states`` (N, *shape), scaled noise, from u = 0 to 1.

    Decoded at u by students that read their path, and as if it were the end by others.

    Raises:
        UsageError: if the student's modes are not pairs of channels.
    """
    start = student.encode(states, 0.0, class_labels)
    rates = rates_of(student, start)
    masks = {band: band_masks(rates, band, order) for band in formed(rates)}
    progress = tuple(index / (points - 1) for index in range(points))
    energy: dict[str, list[float]] = {band: [] for band in masks}
    decoded: dict[str, list[float]] = {band: [] for band in masks}
    for u in progress:
        latent = student.evolve(start, u, class_labels)
        reads = student.codec.reads_path
        at = u if reads else 1.0
        unit = float(student.codec.state_size(torch.full((1,), u, device=states.device))[0]) ** 2 if reads else 1.0
        whole = student.decode(latent, at, class_labels)
        total = sum(float(level.float().square().sum()) for level in latent)
        for band in masks:
            inside = sum(
                float((level.float().square() * full(mask, level)).sum())
                for level, mask in zip(latent, masks[band], strict=True)
            )
            energy[band].append(inside / max(total, 1e-30))
            without = student.decode(drop(latent, masks[band]), at, class_labels)
            decoded[band].append(float((whole - without).square().mean()) / unit)
    return Cumulative(order, progress, energy, decoded)


def along_the_path(subject: Subject) -> Findings:
    """Share and effect of each band along u, for each order."""
    student, batch = subject.student, subject.rows()
    found = {order: cumulative(student, batch.states[0], batch.class_labels, order=order) for order in ORDERS}
    unit = "change of the state read at u, over its mean square" if student.codec.reads_path else "change when decoded"
    panels: dict[str, dict[str, Line]] = {}
    for order, curves in found.items():
        panels[f"share, by {ORDER_WORDS[order]}"] = {band: (curves.u, curves.energy[band]) for band in curves.energy}
    for order, curves in found.items():
        panels[f"effect, by {ORDER_WORDS[order]}"] = {band: (curves.u, curves.decoded[band]) for band in curves.decoded}
    gauge = gauge_of(student.spectrum())
    title = f"share of the latent and effect of each third along the path; shares and order {identifiable(gauge)}"
    heads, half = list(panels), len(panels) // 2
    view = Curves(
        "cumulative.png",
        panels,
        across="u (0: noise, 1: data)",
        ordered=heads,
        alike=[heads[:half], heads[half:]],
        title=title,
    )
    sentence = path_sentence(found["real"])
    text = (
        "Share of each third of the modes in the latent's square along the path, and how far the decoded sample moves when "
        f"that third is left out at u ({unit})."
    )
    values = {order: curves.summary() for order, curves in found.items()} | {"gauge": gauge}
    caption = Caption("Thirds of the modes along the path", text, sentence)
    return Findings(values, [view], sentence, {view.file: caption}, _numbers(found))


def path_sentence(found: Cumulative) -> str:
    """How the shares move along the path, and which third the sample rests on at its end."""
    gains = {band: found.energy[band][-1] - found.energy[band][0] for band in found.energy}
    moved = max(gains, key=lambda band: abs(gains[band]))
    effects = {band: found.decoded[band][-1] for band in found.decoded}
    first, second, *_ = sorted(effects.values(), reverse=True)
    most = max(effects, key=lambda band: effects[band])
    as_sorted = ", which sorting by growth makes so" if found.order == "real" else ""
    shares = (
        f"from noise to data the {moved} third's share of the latent goes from {percent(found.energy[moved][0])} to "
        f"{percent(found.energy[moved][-1])}{as_sorted}"
        if abs(gains[moved]) >= _MOVED
        else "no third's share of the latent changes by a twentieth from noise to data"
    )
    rests = (
        f"the data depend most on the {most} third (left out at u = 1 it changes them by {short(first)}, the next "
        f"{short(second)})"
        if first > _CLEARLY * second
        else f"the data depend on all thirds alike (left out at u = 1 they change them by up to {short(first)})"
    )
    return f"Sorted by {ORDER_WORDS[found.order]}, {shares}; {rests}."


def _numbers(found: dict[Order, Cumulative]) -> dict[str, str]:
    return {
        f"share at u = 0 and 1 by {ORDER_WORDS[order]}": ", ".join(
            f"{band} {percent(curves.energy[band][0])} to {percent(curves.energy[band][-1])}" for band in curves.energy
        )
        for order, curves in found.items()
    }
