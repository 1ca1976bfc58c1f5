"""Do leading eigenvalues stay the same: on the other half of the rows, and in runs from other seeds?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.classical import matched
from koopstep.analysis.verify_criterion import Judged
from koopstep.analysis.words import listed, percent

WITHIN = 0.05
"""Rates that differ by at most this share agree."""
_MOST = 64


@dataclass(frozen=True)
class Agreement:
    """Leading eigenvalues of a level (90 % of the moving energy, at most 64) beside those of another fit.

    Attributes:
        level: its name.
        rates: complex (n,), the leading ones, those with most energy first.
        other: complex (n,), what they are in the other fit.
    """

    level: str
    rates: Tensor
    other: Tensor

    @property
    def differences(self) -> Tensor:
        """``|rate - other|`` relative to the rate, or to 1 where that is smaller: such a rate hardly does anything."""
        size = torch.maximum(self.rates.abs(), self.other.abs()).clamp(min=1)
        return ((self.rates - self.other).abs() / size).nan_to_num(1.0, 1.0)

    def summary(self) -> dict[str, Any]:
        """In plain numbers."""
        found = self.differences
        return {
            "level": self.level,
            "leading": len(found),
            "agree": int((found <= WITHIN).sum()),
            "largest": float(found.max()) if len(found) else None,
            "differences": found.tolist(),
        }


def of_halves(judged: Sequence[Judged]) -> list[Agreement]:
    """Each leading eigenfunction's best rate on one half of the rows and on the other."""
    found = []
    for level in judged:
        one, other = level.sums.refit.cpu()[:, level.leading(_MOST)]
        found.append(Agreement(level.level, one, other))
    return found


def of_runs(judged: Sequence[Judged], other: Sequence[Judged]) -> list[Agreement]:
    """Leading rates beside as many of another run's, those with the most energy, matched so that they differ least."""
    theirs = {level.level: level for level in other}
    found = []
    for level in judged:
        if level.level not in theirs:
            continue
        mine, another = level.leading(_MOST), theirs[level.level]
        order = another.energy.argsort(descending=True, stable=True)[: len(mine)]
        rates, others = level.sums.functions.rates.cpu()[mine], another.sums.functions.rates.cpu()[order]
        rows, columns = matched(rates, others)
        found.append(Agreement(level.level, rates[rows], others[columns]))
    return found


def in_words(found: Sequence[Agreement], whom: str) -> str:
    """How many agree, and where those are that do not."""
    total = sum(len(one.rates) for one in found)
    if not total:
        return f"There is nothing to compare with {whom}: no level of that name moves."
    agree = sum(int((one.differences <= WITHIN).sum()) for one in found)
    if agree == total:
        return f"All {total} leading rates agree within {percent(WITHIN)} {whom}."
    if len(found) == 1:
        return f"{agree} of {total} leading rates agree within {percent(WITHIN)} {whom}."
    wrong = [
        f"{len(one.rates) - int((one.differences <= WITHIN).sum())} of {len(one.rates)} on {one.level}"
        for one in found
        if bool((one.differences > WITHIN).any())
    ]
    few = listed(wrong) if len(wrong) <= 3 else f"{', '.join(wrong[:3])} and others on {len(wrong) - 3} more levels"
    return f"{agree} of {total} leading rates agree within {percent(WITHIN)} {whom}; not so {few}."
