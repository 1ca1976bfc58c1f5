"""Forecasts of the states themselves: the student's beside standing still, exact DMD and EDMD of the same paths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.classical import edmd, exact_dmd, principal, residuals
from koopstep.core.records import Batch
from koopstep.students.student import KoopmanStudent

_LINEAR, _SQUARED, _MOST_RANK = 64, 8, 64
_PAIRS_A_FEATURE, _MOST_ROWS = 4, 2000


@dataclass(frozen=True)
class StatesSeen:
    """Forecasts from the noise.

    Attributes:
        u: progress of the kept states behind the first.
        errors: who forecasts -> root of the squared error over the states' spread between rows at each u (their unexplained
            share); NaN where it reads no states.
        residuals: classical method -> median of its eigenvalues' residuals (ResDMD), at rows that it was not fitted on.
    """

    u: tuple[float, ...]
    errors: Mapping[str, list[float]]
    residuals: Mapping[str, float]

    def summary(self) -> dict[str, Any]:
        """In plain numbers."""
        plain = {name: [None if math.isnan(one) else one for one in values] for name, values in self.errors.items()}
        return {"u": list(self.u), "unexplained": plain, "residual_median": dict(self.residuals)}


@torch.no_grad()
def states_seen(student: KoopmanStudent, batch: Batch, fit: Batch) -> StatesSeen:
    """Forecast the states of ``batch`` in every way, the classical ones by what was fitted on the paths ``fit``."""
    progress, second = batch.progress.tolist(), batch
    spread = (second.states - second.states.mean(dim=1, keepdim=True)).double().square().flatten(1).sum(dim=1)[1:]
    start = student.encode(second.states[0], 0.0, second.class_labels)
    errors: dict[str, list[Tensor]] = {"student": [], "standing still": []}
    for u, truth in zip(progress[1:], second.states[1:], strict=True):
        for name, latent in (
            ("student", student.evolve(start, u, second.class_labels)),
            ("standing still", start),
        ):
            if u < 1 and not student.codec.reads_path:
                errors[name].append(truth.new_full((), torch.nan, dtype=torch.float64))
                continue
            missed = student.decode(latent, u, second.class_labels) - truth
            errors[name].append(missed.double().square().sum())
    told, found = _classical(student, batch, fit)
    for name, forecast in told.items():
        truth = second.states[1:].double().flatten(2)
        errors[name] = list((forecast - truth).square().sum(dim=(1, 2)))
    shares = {name: (torch.stack(values).cpu() / spread.cpu()).sqrt().tolist() for name, values in errors.items()}
    return StatesSeen(tuple(progress[1:]), shares, found)


def _classical(student: KoopmanStudent, batch: Batch, fit: Batch) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Forecasts (K - 1, B, D) of ``batch`` by models that were fitted on ``fit``; and the medians of their residuals."""
    gaps = batch.progress.diff().double()
    gap = float(gaps.sort().values[len(gaps) // 2])
    usual = [index for index, one in enumerate(gaps.tolist()) if math.isclose(one, gap, rel_tol=1e-3)]
    counts = (batch.progress.double() / gap).tolist()[1:]
    size = student.facts.schedule().to(batch.progress.device).size(batch.progress).double().view(-1, 1, 1)
    most = max(1, len(fit) * len(usual) // _PAIRS_A_FEATURE)

    def pairs(values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([values[i] for i in usual]), torch.cat([values[i + 1] for i in usual])

    learned, tried = (part.states.double().flatten(2) for part in (fit, batch))
    mean = learned.mean(dim=1, keepdim=True)
    learned, tried = learned - mean, tried - mean
    dmd = exact_dmd(*pairs(learned), min(_MOST_RANK, most))
    features, tried_features, readout = _features(learned / size, tried / size, most)
    eigenvalues, vectors = torch.linalg.eig(edmd(*pairs(features)))
    start, back = tried_features[0].to(vectors) @ vectors, torch.linalg.pinv(vectors)
    told = {
        "exact DMD": [dmd.forecast(tried[0], count) for count in counts],
        "EDMD": [
            (start * eigenvalues**count @ back).real @ readout * one
            for count, one in zip(counts, size[1:], strict=True)
        ],
    }
    amplitudes = torch.linalg.pinv(dmd.modes)  # (D, r): the eigenfunctions of exact DMD read these off a state
    found = {
        "exact DMD": residuals(*pairs(tried), dmd.eigenvalues, amplitudes),
        "EDMD": residuals(*pairs(tried_features), eigenvalues, vectors),
    }
    forecasts = {name: torch.stack(values) + mean[1:] for name, values in told.items()}
    return forecasts, {name: float(values.median()) for name, values in found.items()}


def _features(learned: Tensor, tried: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Principal components of states (K, B, D) at unit size, and products of the first of them.

    Returns:
        (K, B, F) of both, the first one's mean over rows taken off at each state; and (F, D), what reads states off them.
    """
    rows = learned.flatten(0, 1)
    main = principal(rows[:: -(-len(rows) // _MOST_ROWS)], min(_LINEAR, most)).directions

    def lifted(states: Tensor) -> Tensor:
        linear = states @ main
        few = linear[..., :_SQUARED]
        first, second = torch.triu_indices(few.shape[-1], few.shape[-1])
        return torch.cat([linear, (few[..., first] * few[..., second])[..., : max(0, most - linear.shape[-1])]], dim=-1)

    features, others = lifted(learned), lifted(tried)
    mean = features.mean(dim=1, keepdim=True)
    readout = torch.linalg.pinv((features - mean).flatten(0, 1), rtol=1e-6) @ rows
    return features - mean, others - mean, readout
