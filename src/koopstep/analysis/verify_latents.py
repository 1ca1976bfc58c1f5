"""One walk along held-out paths: what every level's latent does there, and what its operator says that it does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from koopstep.analysis.classical import Principal, principal
from koopstep.analysis.verify_eigenfunctions import Eigenfunctions, eigenfunctions
from koopstep.core.records import Batch
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

MOST_STATES = 13
DIRECTIONS = 24
"""Principal directions of a level on which EDMD is fitted and the pseudospectrum drawn."""
_MOST_NUMBERS = 2**24  # of the latents of all rows at one state
_FEWEST_ROWS, _SAMPLES, _SEED = 16, 520, 7
_LEAST_SHIFT, _MOST_SHIFT, _FASTEST = 0.25, 1.25, 20.0


@dataclass(frozen=True)
class EigenSums:
    """Sums over rows for each eigenvalue of a level (the mean over rows taken off each state's first, unless it says raw).

    Attributes:
        functions: the eigenfunctions.
        size: (K, P), ``|phi|^2`` at each kept state; ``raw`` the same without a mean taken off.
        raw: (K, P).
        missed: (K, P), ``|phi_u - (lambda^u phi_0)|^2``: the operator's forecast from the noise.
        still: (K, P), ``|phi_u - phi_0|^2``; ``raw_still`` the same without a mean taken off.
        raw_still: (K, P).
        shifted: (K, P), as ``missed`` with rates shifted by ``shift``, the control.
        shift: complex (P,).
        stepped: (P,), ``|phi_(u+h) - lambda^h phi_u|^2`` over all neighbouring states, and ``source`` ``|phi_u|^2``: ResDMD's,
            each state weighted so that the level's spread there is 1.
        source: (P,).
        refit: complex (2, P), rates that fit neighbouring states best, on each half of the rows.
        moved: (K - 1, P), ``|phi_(u+h) - phi_u|^2`` of each step.
    """

    functions: Eigenfunctions
    size: Tensor
    raw: Tensor
    missed: Tensor
    still: Tensor
    raw_still: Tensor
    shifted: Tensor
    shift: Tensor
    stepped: Tensor
    source: Tensor
    refit: Tensor
    moved: Tensor


@dataclass(frozen=True)
class LevelSeen:
    """A level along held-out paths; everything but ``eigen`` is of fluctuations about the mean over rows.

    Attributes:
        name: of the level.
        eigen: None where the operator's matrix is too large to take apart.
        spread: (K,), squares of the latent at each state, over the second half of the rows.
        missed: (K,), squares of what the operator's forecast from the noise misses there.
        still: (K,), the same of a latent that stays where the noise put it.
        fitted: (K,), as ``spread`` over the first half of the rows.
        turned: (K - 1,), products of neighbouring states there.
        main: the principal directions.
        coordinates: (K, B, r) of every state in these directions.
        stepped: (K - 1, B, r), of the operator's forecasts from the state before; None where it has none.
    """

    name: str
    eigen: EigenSums | None
    spread: Tensor
    missed: Tensor
    still: Tensor
    fitted: Tensor
    turned: Tensor
    main: Principal
    coordinates: Tensor
    stepped: Tensor | None


def at_states(student: KoopmanStudent, batch: Batch) -> Batch:
    """The states whose latents can be formed, at most `MOST_STATES` of them evenly."""
    last = len(batch.progress) - 1
    count = 2 if student.codec.encodes == "ends" else min(last + 1, MOST_STATES)
    chosen = sorted({round(index) for index in torch.linspace(0, last, count).tolist()})
    return Batch(batch.noise, batch.states[chosen], batch.progress[chosen], batch.class_labels)


def few_rows(student: KoopmanStudent, batch: Batch) -> Batch:
    """As many of the rows as memory takes all latents of at once."""
    numbers = sum(operator.dimension for operator in student.operators)
    return batch[slice(0, max(_FEWEST_ROWS, _MOST_NUMBERS // numbers))]


@torch.no_grad()
def walk(student: KoopmanStudent, batch: Batch) -> list[LevelSeen]:
    """What is seen of every level along the paths of ``batch``, whose states are all ones that latents can be formed of."""
    bases = _bases(student, batch)
    watchers: list[_Watcher] = []
    for step in _along(student, batch):
        if not watchers:
            watchers = [
                _Watcher(name, eigenfunctions(operator, level), basis, step.gaps)
                for name, operator, level, basis in zip(
                    student.level_names, student.operators, step.truth, bases, strict=True
                )
            ]
        for index, watcher in enumerate(watchers):
            watcher.see(step.u, step.truth[index], step.forecast[index], step.stepped[index])
    return [watcher.seen() for watcher in watchers]


@dataclass(frozen=True)
class _Step:
    """The latents of all rows at one state: encoded, forecast from the noise, and from the state before."""

    u: float
    truth: Latent
    forecast: Latent
    stepped: Latent
    gaps: list[float]


def _along(student: KoopmanStudent, batch: Batch) -> Iterator[_Step]:
    progress, labels = batch.progress.tolist(), batch.class_labels
    gaps = [later - u for u, later in pairwise(progress)]
    start = before = student.encode(batch.states[0], progress[0], labels)
    yield _Step(progress[0], start, start, start, gaps)
    for gap, u, state in zip(gaps, progress[1:], batch.states[1:], strict=True):
        truth = student.encode(state, u, labels)
        # the exact number 1 over the whole path, which is all that discrete operators take
        moved, stepped = student.evolve(start, u, labels), student.evolve(before, gap, labels)
        yield _Step(u, truth, moved, stepped, gaps)
        before = truth


def _bases(student: KoopmanStudent, batch: Batch) -> list[Principal]:
    """Each level's principal directions, on some of the rows at all states, each of which counts alike."""
    few = batch[slice(0, max(2, _SAMPLES // len(batch.progress)))]
    found: list[list[Tensor]] = [[] for _ in student.operators]
    for u, state in zip(few.progress.tolist(), few.states, strict=True):
        for levels, level in zip(found, student.encode(state, u, few.class_labels), strict=True):
            levels.append(of_unit_size(_centred(level.flatten(1).double())))
    return [principal(torch.cat(levels), DIRECTIONS) for levels in found]


class _Watcher:
    """Sums up one level."""

    def __init__(self, name: str, functions: Eigenfunctions | None, main: Principal, gaps: list[float]) -> None:
        self.name, self.functions, self.main = name, functions, main
        self._gaps, self._usual = gaps, sorted(gaps)[len(gaps) // 2]
        self._sums: dict[str, list[Tensor]] = {}
        self._u: list[float] = []
        self._fitted = main.directions  # of the state before, once there is one
        if functions is not None:
            self._shift = shifts(functions.rates)

    def see(self, u: float, truth: Tensor, forecast: Tensor, stepped: Tensor) -> None:
        """The next state."""
        self._u.append(u)
        directions = self.main.directions.to(truth.dtype if truth.dtype == torch.float64 else torch.float32)
        flat = [part.flatten(1).to(directions.dtype) for part in (truth, forecast, stepped)]
        if len(self._u) == 1:
            self._start = flat[0]
        half = len(truth) // 2
        own, told, start = (_centred(part[half:]) for part in (flat[0], flat[1], self._start))
        self._add(spread=_total(own), missed=_total(own - told), still=_total(own - start))
        self._add(coordinates=_centred(flat[0]) @ directions)
        fitted = _centred(flat[0][:half])
        self._add(fitted=_total(fitted))
        if len(self._u) > 1:
            self._add(stepped=_centred(flat[2]) @ directions)
            self._add(turned=(fitted * self._fitted).sum(dtype=torch.float64))
        self._fitted = fitted
        if self.functions is not None:
            self._see_functions(self.functions, u, truth, forecast, stepped)

    def _see_functions(
        self, functions: Eigenfunctions, u: float, truth: Tensor, forecast: Tensor, stepped: Tensor
    ) -> None:
        raw = functions(truth)
        own = _centred(raw)
        if len(self._u) == 1:
            self._raw_first = raw
            self._first = self._before = own
        told, later = _centred(functions(forecast)), _centred(functions(stepped))
        by = torch.exp(self._shift * u).to(own.dtype)[functions.space]
        self._add(
            size=functions.pooled(_squares(own)),
            raw=functions.pooled(_squares(raw)),
            of_each_missed=functions.pooled(_squares(own - told)),
            of_each_still=functions.pooled(_squares(own - self._first)),
            raw_still=functions.pooled(_squares(raw - self._raw_first)),
            shifted=functions.pooled(_squares(own - by * told)),
        )
        if len(self._u) > 1:
            gap = u - self._u[-2]
            self._add(of_steps=functions.pooled(_squares(own - later)), source=self._sums["size"][-2])
            self._add(moved=functions.pooled(_squares(own - self._before)))
            if self._is_usual(gap):
                half = len(truth) // 2
                both = [slice(0, half), slice(half, None)]
                cross = [(self._before[rows].conj() * own[rows]).sum(dim=0).to(torch.complex128) for rows in both]
                self._add(cross=torch.stack([functions.pooled(one) for one in cross]))
                self._add(of_source=torch.stack([functions.pooled(_squares(self._before[rows])) for rows in both]))
        self._before = own

    def _is_usual(self, gap: float) -> bool:
        return math.isclose(gap, self._usual, rel_tol=1e-3)

    def _add(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._sums.setdefault(name, []).append(value)

    def seen(self) -> LevelSeen:
        """All that was seen."""
        found = {name: torch.stack(values) for name, values in self._sums.items()}
        eigen = None
        if self.functions is not None:
            spread = found["size"].sum(dim=1, keepdim=True).clamp(min=1e-300)
            usual = [index for index, gap in enumerate(self._gaps) if self._is_usual(gap)]
            cross, source = (found[name] / spread[usual][:, None] for name in ("cross", "of_source"))
            best = cross.sum(dim=0) / source.sum(dim=0).clamp(min=1e-300)
            eigen = EigenSums(
                self.functions,
                found["size"],
                found["raw"],
                found["of_each_missed"],
                found["of_each_still"],
                found["raw_still"],
                found["shifted"],
                self._shift,
                (found["of_steps"] / spread[:-1]).sum(dim=0),
                (found["source"] / spread[:-1]).sum(dim=0),
                best.log() / self._usual,
                found["moved"],
            )
        coordinates, stepped = found["coordinates"].double(), found["stepped"].double()
        sums = {name: found[name] for name in ("spread", "missed", "still", "fitted", "turned")}
        return LevelSeen(self.name, eigen, **sums, main=self.main, coordinates=coordinates, stepped=stepped)


def shifts(rates: Tensor) -> Tensor:
    """Random shifts of rates, each by at least a quarter of its size, or of 1 where it is smaller."""
    generator = torch.Generator().manual_seed(_SEED)
    far, angle = torch.rand(2, len(rates), generator=generator, dtype=torch.float64).to(rates.device)
    size = rates.abs().nan_to_num(_FASTEST, _FASTEST).clamp(1, _FASTEST)
    return torch.polar((_LEAST_SHIFT + (_MOST_SHIFT - _LEAST_SHIFT) * far) * size, 2 * math.pi * angle)


def of_unit_size(values: Tensor) -> Tensor:
    """Rows divided by what makes the sum of all squares 1: states of every size then count alike."""
    return values / values.square().sum().clamp(min=1e-300).sqrt()


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=0)


def _squares(values: Tensor) -> Tensor:
    """Sums of squares (n,) over rows, in float64."""
    real = torch.view_as_real(values) if values.is_complex() else values.unsqueeze(-1)
    return real.square().sum(dim=-1).sum(dim=0, dtype=torch.float64)


def _total(values: Tensor) -> Tensor:
    return values.square().sum(dtype=torch.float64)
