"""Modes of a student's levels: which pairs of channels, at which places, make up a band, and latents cut down to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.operators.modes import ModesOperator
from koopstep.operators.rates import Rates
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

Order = Literal["real", "modulus", "frequency"]
ORDERS: tuple[Order, ...] = ("real", "modulus", "frequency")
"""``real``: by alpha (growth); ``modulus``: by |alpha + i beta|; ``frequency``: by |beta|."""

ORDER_WORDS: dict[Order, str] = {"real": "growth rate α", "modulus": "|α + iβ|", "frequency": "rotation rate |β|"}
"""What modes are sorted by, for titles."""

BANDS = ("smallest", "middle", "largest")
"""Thirds of a level's modes, in one of the orders above."""

Masks = tuple[Tensor, ...]
"""One boolean tensor a level, (C/2, H, W): True for the modes that are meant."""


def has_rates(student: KoopmanStudent) -> bool:
    """Whether every level's modes are pairs of channels, and at least one level moves."""
    operators = list(student.operators)
    return all(operator.rates() is not None for operator in operators) and not all(o.still for o in operators)


def rates_of(student: KoopmanStudent, latent: Latent | None = None) -> list[Rates]:
    """Every level's rates at full size (C/2, H, W), and the mode that each pair of channels belongs to where they share one.

    Where they depend on the state they are the mean over the rows of ``latent``; without one, the static part.

    Raises:
        UsageError: if a level's modes are not pairs of channels.
    """
    rates = []
    for index, operator in enumerate(student.operators):
        found = operator.rates(None if latent is None else latent[index])
        if found is None:
            raise UsageError(
                "this needs a student whose modes are pairs of channels: train with --method hkd or hkd+, or with "
                "student.operator.kind=block"
            )
        alpha, beta = (part.mean(dim=0) if part.ndim == 4 else part for part in (found.alpha, found.beta))
        size = (operator.shape[0] // 2, *(operator.shape[1:] or (1, 1)))
        rates.append(Rates(alpha.expand(size), beta.expand(size), found.mode))
    return rates


def own_rates(student: KoopmanStudent) -> str:
    """What has rates of its own: ``class``, ``path``, or nothing (empty), where all share them."""
    shared = {operator.config.shared_by for operator in student.operators if isinstance(operator, ModesOperator)}
    if "class" in shared:
        return "class"
    return "path" if any(operator.state_dependent for operator in student.operators) else ""


def once(values: Tensor, rates: Rates) -> Tensor:
    """``values`` (C/2, H, W) of the pairs of channels that ``rates`` are of; one a mode, (M, 1, 1), where pairs share modes."""
    if rates.mode is None:
        return values
    mode = rates.mode.flatten()
    first = mode.new_full((int(mode.max()) + 1,), len(mode)).scatter_reduce(
        0, mode, torch.arange(len(mode), device=mode.device), "amin"
    )
    return values[first][:, :1, :1]


def band_masks(rates: Sequence[Rates], band: str, order: Order = "real") -> Masks:
    """The modes of a third of each level; the three bands are disjoint and together everything, and of two modes one is empty.

    Raises:
        UsageError: on an unknown band or order.
    """
    if band not in BANDS or order not in ORDERS:
        raise UsageError(f"bands are {', '.join(BANDS)} in the order {', '.join(ORDERS)}; got {band!r} by {order!r}")
    return tuple(_third(level, order) == BANDS.index(band) for level in rates)


def formed(rates: Sequence[Rates]) -> tuple[str, ...]:
    """The thirds that hold modes: of a level of fewer than three modes some hold none."""
    return tuple(band for band in BANDS if any(bool(mask.any()) for mask in band_masks(rates, band)))


def _third(rates: Rates, order: Order) -> Tensor:
    """0, 1 or 2 for each pair of a level, (C/2, H, W); pairs of one mode are in one third."""
    keys = once(sort_key(rates, order), rates)
    rank = keys.flatten().argsort(stable=True).argsort(stable=True).view(keys.shape)
    thirds = rank * 3 // max(keys.numel(), 1)
    return thirds if rates.mode is None else thirds[rates.mode.flatten()].expand(rates.alpha.shape)


def sort_key(rates: Rates, order: Order) -> Tensor:
    """What the modes (C/2, H, W) of a level are sorted by."""
    if order == "real":
        return rates.alpha
    return rates.beta.abs() if order == "frequency" else (rates.alpha**2 + rates.beta**2).sqrt()


def full(mask: Tensor, latent: Tensor) -> Tensor:
    """A mask (C/2, H, W) for the channels of ``latent`` (B, C, H, W) or (B, D): both of each pair."""
    both = torch.cat([mask, mask], dim=0)
    return both[:, 0, 0] if latent.ndim == 2 else both


def keep(latent: Latent, masks: Masks) -> Latent:
    """``latent`` with every mode outside ``masks`` set to zero."""
    return tuple(level * full(mask, level) for level, mask in zip(latent, masks, strict=True))


def drop(latent: Latent, masks: Masks) -> Latent:
    """``latent`` with the modes of ``masks`` set to zero."""
    return tuple(level * ~full(mask, level) for level, mask in zip(latent, masks, strict=True))
