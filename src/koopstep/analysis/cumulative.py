"""The cumulative effect of each band along the path, which HKD names and never defines.

Here: the band's share of the latent's square at u, and how far the decoded sample moves when the band is left out at u.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.findings import Curves, Findings, Line
from koopstep.analysis.modes import BANDS, ORDER_WORDS, ORDERS, Order, band_masks, drop, full, rates_of
from koopstep.analysis.spectrum import gauge_of
from koopstep.analysis.subject import Subject
from koopstep.students.student import KoopmanStudent


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
    masks = {band: band_masks(rates, band, order) for band in BANDS}
    progress = tuple(index / (points - 1) for index in range(points))
    energy: dict[str, list[float]] = {band: [] for band in BANDS}
    decoded: dict[str, list[float]] = {band: [] for band in BANDS}
    for u in progress:
        latent = student.evolve(start, u, class_labels)
        reads = student.codec.reads_path
        at = u if reads else 1.0
        unit = float(student.codec.state_size(torch.full((1,), u, device=states.device))[0]) ** 2 if reads else 1.0
        whole = student.decode(latent, at, class_labels)
        total = sum(float(level.float().square().sum()) for level in latent)
        for band in BANDS:
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
        panels[f"share of the latent, by {ORDER_WORDS[order]}"] = {
            band: (curves.u, curves.energy[band]) for band in BANDS
        }
    for order, curves in found.items():
        panels[f"effect, by {ORDER_WORDS[order]}"] = {band: (curves.u, curves.decoded[band]) for band in BANDS}
    gauge = gauge_of(student.spectrum())
    title = f"each third of the modes along the path; gauge of shares and of the order: {gauge}\neffect: {unit}"
    view = Curves("cumulative.png", panels, across="u (0: noise, 1: data)", title=title)
    return Findings({order: curves.summary() for order, curves in found.items()} | {"gauge": gauge}, [view])
