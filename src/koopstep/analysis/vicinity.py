"""The neighbourhood experiment of KDM Fig. 3: noise moved a little, samples compared with where they were."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Curves, Findings, View
from koopstep.analysis.sets import how_shown, view_of_sets
from koopstep.analysis.subject import Subject
from koopstep.analysis.words import held_out_rows, percent, short
from koopstep.core.noise import gaussian
from koopstep.features.extract import Extractor
from koopstep.features.lpips import has_lpips
from koopstep.students.student import DataFacts

SIGMAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
_NEAR, _ALIKE = 0.3, 1.25  # where a sentence compares, and the ratio within which distances count as alike

Generator = Callable[[Tensor], Tensor]
"""Unit-variance noise (N, *shape) -> samples (N, *shape)."""

Distance = Callable[[Tensor, Tensor], float]
"""Mean distance of two sets, row by row."""


@dataclass(frozen=True)
class Vicinity:
    """Samples and their distances from those of the unmoved noise.

    Attributes:
        sigmas: how far the noise was moved.
        samples: generator -> (S, N, *shape).
        distances: generator -> distance's name -> one value a sigma.
    """

    sigmas: tuple[float, ...]
    samples: dict[str, Tensor]
    distances: dict[str, dict[str, list[float]]]

    def summary(self) -> dict[str, Any]:
        """In plain numbers."""
        return {"sigma": list(self.sigmas), **self.distances}


def moved(noise: Tensor, other: Tensor, sigma: float) -> Tensor:
    """``(noise + sigma other) / sqrt(1 + sigma^2)``: noise of unit variance again."""
    return (noise + sigma * other) / math.sqrt(1 + sigma**2)


def unrelated(samples: Tensor, distance: Distance) -> float:
    """Mean distance of samples (N, *shape) to those of other noise: where the curves end when nothing is left in common."""
    return distance(samples, samples.roll(1, dims=0))


@torch.no_grad()
def vicinity(
    generators: dict[str, Generator],
    noise: Tensor,
    other: Tensor,
    distances: dict[str, Distance],
    sigmas: tuple[float, ...] = SIGMAS,
) -> Vicinity:
    """Send the same moved noise through every generator.

    Args:
        generators: by name; teacher and student, say.
        noise: (N, *shape) of unit variance.
        other: independent noise of the same shape, the direction of the move.
        distances: by name.
        sigmas: the first must be 0.
    """
    samples = {
        name: torch.stack([generate(moved(noise, other, sigma)).cpu() for sigma in sigmas])
        for name, generate in generators.items()
    }
    values = {
        name: {what: [distance(at, made[0]) for at in made] for what, distance in distances.items()}
        for name, made in samples.items()
    }
    return Vicinity(sigmas, samples, values)


def moved_noise(subject: Subject) -> Findings:
    """Noise moved a little, for teacher and student (KDM Fig. 3)."""
    batch, facts, found_teacher = (
        subject.rows(None if subject.display.kind == "points" else 64),
        subject.student.facts,
        subject.teacher(),
    )
    teacher = found_teacher.value
    labels, noise, steps = batch.class_labels, batch.noise, subject.held_out().steps
    other = gaussian(99, range(len(noise)), facts.shape).to(noise)
    generators: dict[str, Generator] = {"student": lambda x: subject.student.generate(x, labels)}
    if teacher is not None:
        generators = {"teacher": lambda x: teacher.path(x, labels, steps=steps)[-1], **generators}
    distances = _distances(facts, noise.device)
    found = vicinity(generators, noise, other, distances)
    chance = {what: unrelated(found.samples["student"][0], distance) for what, distance in distances.items()}
    panels = {
        what: {name: (found.sigmas, values[what]) for name, values in found.distances.items()}
        | {"unrelated noise": (found.sigmas, [chance[what]] * len(found.sigmas))}
        for what in distances
    }
    across, title = "s, of (noise + s other) / √(1 + s²)", "distance to the sample of the noise that was not moved"
    curves = Curves("vicinity.png", panels, across=across, faint=("unrelated noise",), title=title)
    values = found.summary() | {"rows": len(noise), "unrelated": chance, "teacher_at_hand": teacher is not None}
    values |= {} if teacher is not None else {"left_out": {"teacher": found_teacher.reason}}
    views = [curves, _samples_view(subject, found)]
    sentence, what = vicinity_sentence(found, chance, len(noise)), next(iter(chance))
    at = found.sigmas.index(_NEAR)
    numbers = {
        f"{name} moved by, at s = {_NEAR:g}": short(each[what][at]) for name, each in found.distances.items()
    } | {"samples of unrelated noise apart by": short(chance[what])}
    text = (
        "How far samples move when their noise is moved by s (KDM Fig. 3); the pale line: samples of unrelated noise."
    )
    captions = {"vicinity.png": Caption("Near noise, near samples?", text, sentence)}
    text = "What the same noise becomes when it is moved further and further." + how_shown(subject)
    captions["vicinity_samples.png"] = Caption("Samples of moved noise", text, _far_sentence(found, chance))
    return Findings(values, views, sentence, captions, numbers)


def vicinity_sentence(found: Vicinity, chance: dict[str, float], rows: int) -> str:
    """How far samples move when noise moves a little, beside the teacher's and those of unrelated noise."""
    what, at = next(iter(chance)), found.sigmas.index(_NEAR)
    far = {name: values[what][at] for name, values in found.distances.items()}
    share = {name: distance / max(chance[what], 1e-30) for name, distance in far.items()}
    text = (
        f"On {held_out_rows(rows)}, noise moved by s = {_NEAR:g} moves the student's samples by {short(far['student'])}, "
        f"{percent(share['student'])} of what unrelated noise does"
    )
    if "teacher" not in share:
        return f"{text}; the teacher is not at hand to compare with (--teacher names it)."
    ratio = far["student"] / max(far["teacher"], 1e-30)
    verdict = (
        "as smoothly as the teacher's"
        if 1 / _ALIKE <= ratio <= _ALIKE
        else "more than the teacher's"
        if ratio > 1
        else "less than the teacher's"
    )
    return f"{text}, and {verdict} ({short(far['teacher'])}, {percent(share['teacher'])})."


def _distances(facts: DataFacts, device: torch.device) -> dict[str, Distance]:
    """The squared one, and LPIPS for pictures that it can look at."""
    distances: dict[str, Distance] = {"mean squared distance": lambda a, b: float((a - b).square().mean())}
    if facts.is_image and facts.shape[0] in (1, 3) and min(facts.shape[1:]) >= 32 and has_lpips("squeeze"):
        extractor, plain = Extractor(device), facts.in_plain_range
        distances["LPIPS"] = lambda a, b: float(extractor.distance(plain(a), plain(b)).mean())
    return distances


def _samples_view(subject: Subject, found: Vicinity) -> View:
    """What becomes of the moved noise: a few images, or clouds of points."""
    if subject.display.kind == "images":
        heads = [f"s = {sigma:g}" for sigma in found.sigmas]
        rows = {f"{name} {row + 1}": samples[:, row] for row in range(3) for name, samples in found.samples.items()}
        return view_of_sets(subject, "vicinity_samples.png", rows, heads=heads)
    places = [0, found.sigmas.index(_NEAR), len(found.sigmas) - 1]
    sets = {
        f"{name}, s = {found.sigmas[place]:g}": samples[place]
        for name, samples in found.samples.items()
        for place in places
    }
    return view_of_sets(subject, "vicinity_samples.png", sets, columns=len(places))


def _far_sentence(found: Vicinity, chance: dict[str, float]) -> str:
    """How far samples have gone where noise was moved most."""
    what = next(iter(chance))
    shares = {name: values[what][-1] / max(chance[what], 1e-30) for name, values in found.distances.items()}
    beside = f" (the teacher's {percent(shares['teacher'])})" if "teacher" in shares else ""
    return (
        f"At s = {found.sigmas[-1]:g} the student's samples have moved by {percent(shares['student'])} of what unrelated noise "
        f"does{beside}."
    )
