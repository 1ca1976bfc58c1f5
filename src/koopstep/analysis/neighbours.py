"""Nearest neighbours: does near noise end near?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Findings, NoiseSpace, Pairs, View
from koopstep.analysis.memorisation import COPY_RATIO, Memorisation, memorisation, nearest_rows
from koopstep.analysis.outcomes import outcomes
from koopstep.analysis.subject import MOST_ROWS, Subject
from koopstep.analysis.words import percent
from koopstep.core.errors import UsageError
from koopstep.core.noise import permutation, stream_seed

_PAIRS = 20
_AS_GOOD, _NONE = 0.9, 0.02  # share of the teacher's excess that counts as as much, and what counts as nothing


@dataclass(frozen=True)
class SharedOutcome:
    """How often near points have one outcome.

    Attributes:
        share: of the k nearest neighbours that have the outcome of the point, mean over points, in [0, 1].
        permuted: the same with outcomes dealt out at random: what no structure scores.
        k: number of neighbours.
        queries: points asked, of `count` in all.
        count: points among which neighbours are sought.
    """

    share: float
    permuted: float
    k: int
    queries: int
    count: int

    def summary(self) -> dict[str, float | int]:
        """Returns plain numbers; ``excess`` is 0 for no structure, 1 where near points never differ."""
        room = 1 - self.permuted
        return {
            "share": self.share,
            "permuted": self.permuted,
            "excess": (self.share - self.permuted) / room if room > 0 else 0.0,
            "k": self.k,
            "queries": self.queries,
            "count": self.count,
        }


def shared_outcomes(
    space: Tensor, outcomes: Mapping[str, Tensor], *, k: int = 10, max_queries: int = 4000, seed: int = 0
) -> dict[str, SharedOutcome]:
    """Measures, for several maps of the same points, how often near points have one outcome (KDM Sec. 6.1).

    Run it with the outcomes of an untrained network, the teacher and the student: a smooth map of any
    kind already scores above the permuted control, so only the difference to the untrained one is learned.

    Args:
        space: (N, *shape), where nearness is measured: the noise, or the student's latent.
        outcomes: name -> int64 (N,), the cell or class each point ends in; negative for none. A pair without
            an outcome on either side counts as different.
        k: number of neighbours, below N.
        max_queries: points asked, a seeded choice; neighbours are sought among all.
        seed: of that choice and of the permutation.

    Raises:
        UsageError: k is not below N, or outcomes of another length.
    """
    flat = space.detach().flatten(1).double()
    count = len(flat)
    if not 1 <= k < count:
        raise UsageError(f"neighbours: k is {k}, but there are {count} points; give 1 to {count - 1}")
    for name, labels in outcomes.items():
        if labels.shape != (count,):
            raise UsageError(f"neighbours: outcomes {name!r} have shape {tuple(labels.shape)}, wanted ({count},)")
    asked = torch.from_numpy(permutation(stream_seed("neighbours", "asked", seed), count)[:max_queries])
    near = nearest_rows(flat[asked.to(flat.device)], flat, k + 1)[1].cpu()
    # a point finds itself, or a twin at the same place; either way one of the k + 1 goes
    itself = near == asked[:, None]
    itself[~itself.any(dim=1), -1] = True
    near = near[~itself].view(len(asked), k)
    shuffle = torch.from_numpy(permutation(stream_seed("neighbours", "permuted", seed), count))
    measured = {}
    for name, labels in outcomes.items():
        own = labels.cpu()
        measured[name] = SharedOutcome(
            share=_share(own, asked, near),
            permuted=_share(own[shuffle], asked, near),
            k=k,
            queries=len(asked),
            count=count,
        )
    return measured


def _share(labels: Tensor, asked: Tensor, near: Tensor) -> float:
    own = labels[asked][:, None]
    return float(((labels[near] == own) & (own >= 0)).double().mean())


@torch.no_grad()
def by_outcome(subject: Subject) -> Findings:
    """Noise space coloured by outcome (KDM Fig. 2), shared outcomes of neighbours, and distances to real data."""
    student, held_out = subject.student, subject.held_out()
    found, batch = outcomes(subject), held_out.batch[slice(0, MOST_ROWS)]
    named = {"untrained": found.independent, "teacher": found.teacher, "student": found.student}
    titles = {"untrained": "independent pairs (untrained)"}
    panels = {titles.get(name, name): values for name, values in named.items()}
    start = (batch.noise * student.facts.noise_scale).to(subject.device)
    labels = None if batch.class_labels is None else batch.class_labels.to(subject.device)
    latent = student.encode(start, 0.0, labels)[-1].flatten(1).cpu()
    shared = shared_outcomes(batch.noise, named)
    values: dict[str, Any] = {
        "noise_space": {name: one.summary() for name, one in shared.items()},
        "latent_space": {name: one.summary() for name, one in shared_outcomes(latent, named).items()},
    }
    space = NoiseSpace("noise_space.png", batch.noise, panels, found.names, found.cells, "teacher")
    flat = student.facts.shape == (2,)
    sentence, numbers = neighbour_sentence(shared), _numbers(shared)
    captions = {space.file: Caption("Noise space, by what it becomes", _space_text(flat), sentence)}
    source = subject.reference()
    if source.value is None:
        return Findings(values | {"left_out": {"memorisation": source.reason}}, [space], sentence, captions, numbers)
    real, _ = source.value.reference()
    copies = {
        "student": memorisation(held_out.samples[:MOST_ROWS], real),
        "teacher": memorisation(batch.data, real),
    }
    values["memorisation"] = {name: one.summary() for name, one in copies.items()}
    views: list[View] = [space]
    if real.ndim == 4:
        display = subject.display
        ours, near = display(held_out.samples[:_PAIRS]), display(real[copies["student"].nearest[:_PAIRS]])
        views.append(Pairs("nearest_real.png", near, ours, ("nearest real", "student"), display.data_range))
        how = "Above each of the student's samples the real image it is nearest to."
        captions["nearest_real.png"] = Caption("Nearest real images", how, copy_sentence(copies))
    return Findings(values, views, f"{sentence} {copy_sentence(copies)}", captions, numbers | _copy_numbers(copies))


def _space_text(flat: bool) -> str:
    return (
        f"Each point is a noise sample x_T, coloured by the {'cell' if flat else 'class'} it becomes (KDM Fig. 2). Untrained: "
        "outcomes dealt to the noise at random, which is what training starts from."
        + (
            ""
            if flat
            else " All panels show the two linear discriminants of the teacher's outcomes, fitted on other rows."
        )
    )


def neighbour_sentence(shared: Mapping[str, SharedOutcome]) -> str:
    """Whether near noise has one outcome, for the student beside the teacher."""
    student, teacher, nothing = shared["student"], shared["teacher"], shared["untrained"]
    excess = float(student.summary()["excess"])
    of_teacher = max(float(teacher.summary()["excess"]), 1e-30)
    verdict = (
        "near noise ends no more alike than far noise, for the teacher as well"
        if max(excess, of_teacher) <= _NONE
        else "near noise ends alike, as for the teacher"
        if excess >= _AS_GOOD * of_teacher
        else "near noise ends less alike than for the teacher"
        if excess > _NONE
        else "where noise ends does not depend on where it starts"
    )
    return (
        f"{verdict[0].upper()}{verdict[1:]}: of the {student.k} nearest noises {percent(student.share)} share their outcome "
        f"for the student, {percent(teacher.share)} for the teacher, {percent(nothing.share)} untrained."
    )


def copy_sentence(copies: Mapping[str, Memorisation]) -> str:
    """Whether the student's samples are copies of real ones."""
    ratio = {name: float(one.ratio.median()) for name, one in copies.items()}
    share = {name: float((one.ratio < COPY_RATIO).double().mean()) for name, one in copies.items()}
    verdict = "no copies beyond the teacher's"
    if share["student"] > share["teacher"] + _NONE:
        verdict = "copies of real ones more often than the teacher's"
    return (
        f"Samples are {verdict}: "
        f"{percent(share['student'])} lie within half the distance of real neighbours (teacher {percent(share['teacher'])}), "
        f"at the median {ratio['student']:.2f} of it (teacher {ratio['teacher']:.2f})."
    )


def _numbers(shared: Mapping[str, SharedOutcome]) -> dict[str, str]:
    return {f"neighbours that share an outcome, {name}": percent(one.share) for name, one in shared.items()}


def _copy_numbers(copies: Mapping[str, Memorisation]) -> dict[str, str]:
    return {
        f"distance to the nearest real sample, {name}": f"{float(one.ratio.median()):.2f} of that between real neighbours"
        for name, one in copies.items()
    }
