"""Which eigenvalues pass: the criterion, and what it says of an operator whose rates are shifted at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from koopstep.analysis.verify_latents import EigenSums, LevelSeen
from koopstep.analysis.words import short
from koopstep.students.decomposition import mode_names

THRESHOLD = 0.1
"""The largest residual and error of an eigenfunction that passes, relative to its size."""
LEADING = 0.9
"""Share of the moving energy that the leading eigenvalues hold."""
LISTED = 100
"""Eigenvalues of a level that are listed one by one, those with the most energy."""
CRITERION = (
    f"an eigenfunction passes if neither its residual nor its error from the noise to any kept state is above {THRESHOLD:g} of "
    "its size between rows, and either it moves and the error is at most half that of standing still, or it stays constant "
    f"and its eigenvalue is 1, both within {THRESHOLD:g}"
)
_NOTHING = 1e-10  # of the mean size of a level's eigenfunctions, squared: a function that small is not there
_SAME = 1e-6  # of its size, squared: a function that differs by less between rows is one number
Kind = Literal["moves", "constant", "fails"]


@dataclass(frozen=True)
class Judged:
    """A level's eigenvalues over du = 1, judged; those of conjugate pairs once, with imaginary part >= 0.

    Attributes:
        level: its name.
        sums: what was seen of them.
        energy: (P,), share of the level's motion that lies in the eigenspace; each step counts in units of the level's spread.
        residual: (P,), ResDMD's, mean over rows taken off; NaN where there is nothing.
        error: (K, P), of the forecast from the noise at each kept state, relative to the function's size there.
        standing_still: (K, P), the same of a function that does not move.
        moves: bool (P,), passed and moves.
        constant: bool (P,), passed and is constant.
        control: bool (P,), which would pass with rates shifted at random.
    """

    level: str
    sums: EigenSums
    energy: Tensor
    residual: Tensor
    error: Tensor
    standing_still: Tensor
    moves: Tensor
    constant: Tensor
    control: Tensor

    @property
    def eigenvalues(self) -> Tensor:
        """Complex128 (P,)."""
        return self.sums.functions.rates.exp()

    @property
    def passed(self) -> Tensor:
        """Bool (P,)."""
        return self.moves | self.constant

    @property
    def by_energy(self) -> Tensor:
        """Indices of the eigenvalues with the most energy, at most `LISTED`."""
        return self.energy.argsort(descending=True, stable=True)[:LISTED]

    def leading(self, most: int = LISTED) -> Tensor:
        """Indices of the eigenvalues that hold 90 % of the moving energy, those with most first, at most so many."""
        order = self.energy.argsort(descending=True, stable=True)
        before = self.energy[order].cumsum(0) - self.energy[order]
        return order[(before < LEADING) & (self.energy[order] > 0)][:most]

    def count(self, which: Tensor) -> int:
        """Eigenvalues of the real map among ``which`` (P,)."""
        return int(self.sums.functions.multiplicity[which].sum())

    @property
    def modes(self) -> tuple[str, ...]:
        """Names of the modes; none where eigenvalues are not of modes that have names."""
        modes = self.sums.functions.modes
        return () if modes is None else mode_names(len(modes))

    def tally(self, which: Tensor) -> int:
        """Modes among ``which`` (P,) where these have names, else eigenvalues."""
        modes = self.sums.functions.modes
        return self.count(which) if modes is None else int(which[modes.cpu()].sum())

    def of_pairs(self, shape: torch.Size) -> Tensor | None:
        """What passed for each pair of channels at its place; None where functions are of other things."""
        space = self.sums.functions.space.cpu()
        return self.passed[space].view(shape) if self.sums.functions.weights is None else None

    def summary(self) -> dict[str, Any]:
        """In plain numbers; the list is of the eigenvalues with the most energy."""
        every = torch.ones_like(self.moves)
        return {
            "level": self.level,
            "count": self.count(every),
            "passed": self.count(self.passed),
            "moves": self.count(self.moves),
            "constant": self.count(self.constant),
            "energy_passed": float(self.energy[self.passed].sum()),
            "residual_median": _median(self.residual),
            "eigenvalues": [self._one(index) for index in self.by_energy.tolist()],
        }

    def _one(self, index: int) -> dict[str, Any]:
        value, rate = complex(self.eigenvalues[index]), complex(self.sums.functions.rates[index])
        kind: Kind = "moves" if self.moves[index] else "constant" if self.constant[index] else "fails"
        return {
            "eigenvalue": [value.real, value.imag],
            "rate": [_number(rate.real), _number(rate.imag)],
            "best_rates": [[_number(one.real), _number(one.imag)] for one in self.sums.refit[:, index].tolist()],
            "multiplicity": int(self.sums.functions.multiplicity[index]),
            "residual": _number(self.residual[index]),
            "error": _number(self.error[1:, index].amax()),
            "standing_still": _number(self.standing_still[1:, index].amax()),
            "passed": bool(self.passed[index]),
            "kind": kind,
            "energy": float(self.energy[index]),
        }


def judge(seen: LevelSeen) -> Judged | None:
    """Judge the eigenvalues of a level; None where they were not worked out."""
    sums = seen.eigen
    if sums is None:
        return None
    size, inside = sums.size, len(sums.size) > 2
    # what has decayed to less than a tenth of what it was is measured against that tenth: no more can be seen of it; over the
    # whole path alone that would let any small eigenvalue pass
    floor = THRESHOLD**2 * size[0] if inside else torch.zeros_like(size[0])
    scale = torch.maximum(size, floor)
    raw = sums.raw.mean(dim=0)
    there = raw > _NOTHING * raw.mean()
    flat = there & (size.mean(dim=0) < _SAME * raw)

    def relative(missed: Tensor, scale: Tensor) -> Tensor:
        return torch.where(there, (missed / scale.clamp(min=1e-300)).sqrt(), torch.nan)

    # a function that is one number for all rows is judged as it is, without its mean taken off
    still = torch.where(flat, relative(sums.raw_still, sums.raw), relative(sums.still, scale))
    error = torch.where(flat, still, relative(sums.missed, scale))
    residual = relative(sums.stepped, sums.source)
    residual = torch.where(flat, still.amax(dim=0), residual)
    moves, constant = _passes(sums.functions.rates, residual, error, still)
    shifted = torch.where(flat, torch.nan, relative(sums.shifted, scale))
    control = _passes(sums.functions.rates + sums.shift, torch.zeros_like(residual), shifted, still)
    motion = (sums.moved / size[:-1].sum(dim=1, keepdim=True).clamp(min=1e-300)).sum(dim=0)
    energy = motion / motion.sum().clamp(min=1e-300)
    found = (part.cpu() for part in (energy, residual, error, still, moves & ~flat, constant, control[0] | control[1]))
    return Judged(seen.name, sums, *found)


def _passes(rates: Tensor, residual: Tensor, error: Tensor, still: Tensor) -> tuple[Tensor, Tensor]:
    """Which (P,) pass because they move, and which because they are constant."""
    worst, stays = error[1:].amax(dim=0), still[1:].amax(dim=0)
    good = (residual <= THRESHOLD) & (worst <= THRESHOLD)
    one = (rates.exp() - 1).abs() <= THRESHOLD
    return good & (stays > THRESHOLD) & (worst <= stays / 2), good & (stays <= THRESHOLD) & one


def said(judged: Sequence[Judged]) -> str:
    """How many eigenvalues pass, in a sentence."""
    total = sum(level.count(torch.ones_like(level.moves)) for level in judged)
    moving, constant = (sum(level.count(getattr(level, kind)) for level in judged) for kind in ("moves", "constant"))
    if not total:
        return "No eigenvalue was judged."
    if len(judged) == 1 and judged[0].modes:
        return f"{_of_modes(judged[0])}{_near(judged)}."
    different = sum(len(level.moves) for level in judged)
    what = f"{total:,} eigenvalues" + (f" ({different} different ones)" if 2 * different < total else "")
    if not moving + constant:
        return f"None of {what} passes{_near(judged)}."
    kinds = f"{moving:,} of eigenfunctions that move, {constant:,} of constant ones"
    return f"{moving + constant:,} of {what} pass ({kinds}){_near(judged)}."


def _of_modes(level: Judged) -> str:
    """Which modes pass and which fail, by name."""
    modes = level.sums.functions.modes
    flags = [] if modes is None else level.passed[modes.cpu()].tolist()
    good, bad = (
        [name for name, passed in zip(level.modes, flags, strict=True) if passed is kind] for kind in (True, False)
    )
    if not good:
        return f"None of {len(flags)} modes passes"
    if not bad:
        return f"All {len(flags)} modes pass"
    passing = f"{len(good)} of {len(flags)} modes {'passes' if len(good) == 1 else 'pass'}"
    return f"{passing}: {', '.join(good)}; {', '.join(bad)} {'fails' if len(bad) == 1 else 'fail'}"


def _near(judged: Sequence[Judged]) -> str:
    """What the leading eigenfunctions miss at worst, beside standing still."""
    error, still = (
        torch.cat([getattr(one, name)[1:, one.leading()].amax(dim=0) for one in judged])
        for name in ("error", "standing_still")
    )
    if not bool(torch.isfinite(error).any()):
        return ""
    middle, unmoved = (short(float(one[torch.isfinite(one)].median())) for one in (error, still))
    return f"; the median leading one misses at most {middle} of its size, standing still {unmoved}"


def _median(values: Tensor) -> float | None:
    known = values[torch.isfinite(values)]
    return float(known.median()) if len(known) else None


def _number(value: float | Tensor) -> float | None:
    number = float(value)
    return number if abs(number) < float("inf") else None
