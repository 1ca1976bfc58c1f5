"""``analyze RUN verify``: is this spectrum real? Residuals, forecasts and agreement of a learned operator's eigenvalues.

Sources: ResDMD (Colbrook and Townsend, arXiv 2111.14889; Colbrook, Ayton and Szőke, arXiv 2205.09779), EDMD (Williams,
Kevrekidis and Rowley 2015), exact DMD (Tu et al. 2014). What is measured how is in docs/verify.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Curves, Findings, LevelPlane, Line, ResidualPlanes, View
from koopstep.analysis.subject import Subject
from koopstep.analysis.verify_agreement import WITHIN, Agreement, in_words, of_halves, of_runs
from koopstep.analysis.verify_criterion import CRITERION, THRESHOLD, Judged, judge, said
from koopstep.analysis.verify_latents import LevelSeen, at_states, few_rows, walk
from koopstep.analysis.verify_readout import walk_states
from koopstep.analysis.verify_refit import GRID, Refit, refit
from koopstep.analysis.verify_states import StatesSeen, states_seen
from koopstep.analysis.words import percent, short
from koopstep.core.records import Batch
from koopstep.students.student import KoopmanStudent

_PANELS, _TINIEST, _MOST_FITTED = 6, 1e-4, 2000


@dataclass(frozen=True)
class Verified:
    """All that is known of a student's spectrum.

    Attributes:
        u: progress of the kept states behind the first.
        rows: held-out paths that were looked at.
        seen: every level's latent along them.
        judged: its eigenvalues; None where the matrix is too large to take apart.
        refits: a fresh EDMD fit of each level.
        states: forecasts of the states.
        agreement: with whom -> each level's leading rates.
    """

    u: list[float]
    rows: int
    seen: list[LevelSeen]
    judged: list[Judged | None]
    refits: list[Refit]
    states: StatesSeen
    agreement: Mapping[str, list[Agreement]]

    @property
    def known(self) -> list[Judged]:
        """The levels that were judged."""
        return [one for one in self.judged if one is not None]

    def latent(self) -> dict[str, list[float]]:
        """Root mean square over levels of the relative error of the latent at each u, by who forecasts."""
        lines = {
            "the operator": [(one.missed / one.spread.clamp(min=1e-300)).cpu()[1:] for one in self.seen],
            "standing still": [(one.still / one.spread.clamp(min=1e-300)).cpu()[1:] for one in self.seen],
            "EDMD of the latent": [one.forecast[1:].square() for one in self.refits],
        }
        return {name: torch.stack(values).mean(dim=0).sqrt().tolist() for name, values in lines.items()}

    def values(self) -> dict[str, Any]:
        """In plain numbers."""
        levels = []
        for seen, judged, fit in zip(self.seen, self.judged, self.refits, strict=True):
            one: dict[str, Any] = {"level": seen.name, "eigenvalues": []} if judged is None else judged.summary()
            for value, least in zip(one["eigenvalues"], fit.at_learned.tolist(), strict=True):
                value["smallest_residual"] = least
            one |= {"condition": seen.main.condition, "rank": seen.main.rank, "edmd": fit.summary()}
            one["forecast"] = (seen.missed / seen.spread.clamp(min=1e-300)).sqrt()[1:].tolist()
            one["standing_still"] = (seen.still / seen.spread.clamp(min=1e-300)).sqrt()[1:].tolist()
            levels.append(one)
        known = self.known
        return {
            "criterion": CRITERION,
            "threshold": THRESHOLD,
            "rows": self.rows,
            "u": self.u,
            "passed": sum(level.count(level.passed) for level in known),
            "eigenvalues": sum(level.count(torch.ones_like(level.moves)) for level in known),
            "control_passed": sum(level.count(level.control) for level in known),
            "levels": levels,
            "latent_error": self.latent(),
            "states": self.states.summary(),
            "agreement": {whom: [one.summary() for one in found] for whom, found in self.agreement.items()},
        }


def judge_student(student: KoopmanStudent, batch: Batch) -> tuple[list[LevelSeen], list[Judged | None]]:
    """Walk along the paths of ``batch`` and judge every level's eigenvalues.

    Raises:
        UsageError: the student encodes noise alone, and its states are no sum of modes: eigenfunctions cannot be followed.
    """
    seen = [walk_states(student, batch)] if student.codec.encodes == "start" else walk(student, batch)
    return seen, [judge(level) for level in seen]


def verify_student(
    student: KoopmanStudent, batch: Batch, others: Mapping[str, KoopmanStudent], fit: Batch | None = None
) -> Verified:
    """Verify a student's spectrum on held-out paths, and compare it with that of other students.

    Args:
        student: whose.
        batch: the paths.
        others: name -> student.
        fit: other paths, at the same states: what classical methods are fitted on; the first half of ``batch`` where absent.

    Raises:
        UsageError: as `judge_student`.
    """
    seen, judged = judge_student(student, batch)
    refits = [refit(level, one, batch.progress) for level, one in zip(seen, judged, strict=True)]
    known = [one for one in judged if one is not None]
    agreement = {"halves": of_halves(known)}
    for name, other in others.items():
        _, theirs = judge_student(other, batch)
        agreement[name] = of_runs(known, [one for one in theirs if one is not None])
    progress = batch.progress.tolist()[1:]
    half = len(batch) // 2
    tried, fit = (batch, fit) if fit is not None else (batch[slice(half, None)], batch[slice(0, half)])
    return Verified(progress, len(batch), seen, judged, refits, states_seen(student, tried, fit), agreement)


def verify(subject: Subject) -> Findings:
    """Which eigenvalues of the learned operator hold on held-out paths."""
    student = subject.student
    batch = looked_at(student, subject.rows())
    rest = subject.held_out().batch[slice(len(batch), len(batch) + _MOST_FITTED)]
    fit = at_states(student, rest).to(subject.device) if len(rest) >= len(batch) else None
    found = verify_student(student, batch, subject.others(), fit)
    verdict, forecast = said(found.known), forecast_sentence(found)
    agreed = {whom: in_words(each, _whom(whom)) for whom, each in found.agreement.items()}
    control = sum(one.tally(one.control) for one in found.known)
    shifted = (
        f"With rates shifted at random {control:,} would pass."
        if control
        else "None passes with its rate shifted at random."
    )
    captions = {
        "verify.png": Caption(
            "Which eigenvalues are real?",
            f"Eigenvalues of one step; filled: passed. {CRITERION[0].upper()}{CRITERION[1:]}. Colour: residual (ResDMD). "
            "Contours: the pseudospectrum, the smallest residual that any combination of the latent's leading directions "
            "has there. Crosses: a fresh EDMD fit of the same latents.",
            f"{verdict} {shifted}",
        ),
        "verify_forecast.png": Caption(
            "Forecasts from the noise",
            "Error relative to the spread between rows, the mean over rows taken off. Standing still: the latent stays where "
            "the noise put it. DMD and EDMD are fitted on other held-out rows. Over twice the spread nothing is drawn.",
            forecast,
        ),
        "verify_agreement.png": Caption(
            "Do leading rates stay the same?",
            "Relative difference of the leading rates (90 % of the moving energy), smallest first: the best rate of an "
            "eigenfunction on either half of the rows, and rates of other runs.",
            " ".join(agreed.values()),
        ),
    }
    views: list[View] = [_planes(found), _forecasts(found), _agreements(found)]
    numbers = {
        "eigenvalues that pass": verdict,
        "the same with rates shifted at random": f"{control:,}",
        "median residual": ", ".join(f"{one.level} {_median(one.residual)}" for one in found.known) or "not worked out",
    } | {f"leading rates {_whom(whom)}": words for whom, words in agreed.items()}
    conclusion = f"{verdict} {forecast} {agreed['halves']}"
    return Findings(found.values(), views, conclusion, captions, numbers)


def looked_at(student: KoopmanStudent, rows: Batch) -> Batch:
    """The paths that are looked at, at the states whose latents can be formed."""
    return at_states(student, few_rows(student, rows))


def forecast_sentence(found: Verified) -> str:
    """What the operator's forecasts of latent and state miss at the end, beside those of other ways."""
    latent, states = (
        {name: values[-1] for name, values in one.items()} for one in (found.latent(), found.states.errors)
    )
    of_states = ", ".join(f"{name} {_share(value)}" for name, value in states.items() if name != "student")
    return (
        f"At the end of the path the operator misses {_share(latent['the operator'])} of the latent's spread "
        f"(standing still {_share(latent['standing still'])}, a fresh EDMD fit "
        f"{_share(latent['EDMD of the latent'])}) and the student {_share(states['student'])} of the "
        f"state's ({of_states})."
    )


def _planes(found: Verified) -> ResidualPlanes:
    """The levels whose latents move most, of their eigenvalues those with most energy."""
    planes = []
    for one, fit in zip(found.judged, found.refits, strict=True):
        if one is None:
            continue
        most = one.by_energy
        values = (one.sums.functions.rates.cpu()[most] * fit.gap).exp()
        planes.append(
            LevelPlane(
                f"{one.level}: {one.tally(one.passed):,} of {one.tally(torch.ones_like(one.moves)):,} pass",
                values,
                one.residual[most],
                one.passed[most],
                fit.eigenvalues,
                fit.grid,
                fit.smallest,
                GRID,
            )
        )
    left = "" if len(planes) <= _PANELS else f" ({_PANELS} of {len(planes)} levels)"
    return ResidualPlanes(
        "verify.png", planes[-_PANELS:], THRESHOLD, f"eigenvalues of a step and their residuals{left}"
    )


def _forecasts(found: Verified) -> Curves:
    functions = (
        torch.cat([one.error[1:] for one in found.known], dim=1) if found.known else torch.zeros(len(found.u), 0)
    )
    still = torch.cat([one.standing_still[1:] for one in found.known], dim=1) if found.known else functions
    panels: dict[str, dict[str, Line]] = {
        "latent": {name: (found.u, values) for name, values in found.latent().items()},
        "state": {name: (found.u, values) for name, values in found.states.errors.items()},
    }
    if functions.shape[1]:
        panels["eigenfunctions"] = {
            "median": (found.u, _quantile(functions, 0.5)),
            "best tenth": (found.u, _quantile(functions, 0.1)),
            "standing still": (found.u, _quantile(still, 0.5)),
        }
    return Curves(
        "verify_forecast.png",
        {head: _cut(lines) for head, lines in panels.items()},
        across="u (0: noise, 1: data)",
        up="error over spread",
        faint=("standing still",),
        title="forecasts from the noise, on held-out paths",
    )


def _agreements(found: Verified) -> Curves:
    panels: dict[str, dict[str, Line]] = {}
    for whom, each in found.agreement.items():
        lines: dict[str, Line] = {}
        for one in each[:_PANELS]:
            values = one.differences.sort().values.clamp(min=_TINIEST).tolist()
            shares = [(index + 1) / len(values) for index in range(len(values))]
            lines[one.level] = (shares, values)
        lines[percent(WITHIN)] = ([0, 1], [WITHIN, WITHIN])
        panels[_whom(whom)] = lines
    return Curves(
        "verify_agreement.png",
        panels,
        across="share of the leading eigenvalues",
        up="relative difference of rates",
        logarithmic=tuple(panels),
        faint=(percent(WITHIN),),
        alike=(tuple(panels),),
        title="leading rates beside those of other fits",
    )


def _share(error: float) -> str:
    """An error over what it is an error of: 12 %, 104 %."""
    return f"{100 * error:,.0f} %" if error >= 0.1 else percent(error)


def _whom(name: str) -> str:
    return "between halves of the rows" if name == "halves" else f"with {name}"


def _cut(lines: dict[str, Line]) -> dict[str, Line]:
    """Lines without values that would leave nothing else to be seen: over twice the spread they are not drawn."""
    return {name: (x, [value if value <= 2 else float("nan") for value in y]) for name, (x, y) in lines.items()}


def _quantile(values: Tensor, share: float) -> Sequence[float]:
    return [
        float(row[torch.isfinite(row)].quantile(share)) if bool(torch.isfinite(row).any()) else 0.0 for row in values
    ]


def _median(values: Tensor) -> str:
    known = values[torch.isfinite(values)]
    return short(float(known.median())) if len(known) else "unknown"
