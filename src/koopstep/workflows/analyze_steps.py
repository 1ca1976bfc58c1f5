"""``koopstep analyze RUN steps``: what further steps are worth."""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.analysis.findings import Clouds, Curves, Findings, Images, Line, View, image_rows
from koopstep.analysis.outcomes import cells_of
from koopstep.sampling.fewstep import Between, Stepping, generate_in_steps
from koopstep.sampling.onestep import generate_in_batches
from koopstep.workflows.evaluate import scorer
from koopstep.workflows.subject import RunSubject

_COUNTS = (1, 2, 3, 4, 6, 8, 12)
_WAYS: dict[Between, str] = {"noise": "by fresh noise", "path": "along the path"}
_COLUMNS = 10
_POINTS = 4000


def steps(subject: RunSubject) -> Findings:
    """Each of the preset's metrics (but those that need a network) against the number of steps, both ways; and samples."""
    student, batch = subject.student, subject.compared.batch
    scores = scorer(subject.compared)
    score, of_teacher = scores.score, scores.teacher
    counts = [count for count in _COUNTS if count <= len(student.facts.progress) - 1]
    ways: list[Between] = ["noise", "path"] if student.codec.reads_path else ["noise"]
    noise, one_step = batch.states[0] / student.facts.noise_scale, score(subject.compared.student)
    values: dict[Between, dict[str, dict[str, float]]] = {way: {"1": one_step} for way in ways}
    for way in ways:
        for count in counts[1:]:
            samples = generate_in_batches(student, noise, batch.class_labels, stepping=Stepping(count, way))
            values[way][str(count)] = score(torch.cat(list(samples)))
    panels: dict[str, dict[str, Line]] = {}
    for metric in one_step:
        panels[metric.replace("_", " ")] = {
            _WAYS[way]: (counts, [found[str(count)][metric] for count in counts]) for way, found in values.items()
        }
        if metric in of_teacher:
            panels[metric.replace("_", " ")]["teacher"] = (counts, [of_teacher[metric]] * len(counts))
    curves = Curves(
        "steps.png",
        panels,
        across="network evaluations a sample",
        from_zero=False,
        faint=("teacher",),
        title=f"quality against steps, {len(noise)} held-out rows",
    )
    plain = {str(way): found for way, found in values.items()} | {"teacher": of_teacher, "left_out": scores.left_out}
    return Findings(plain, [curves, *_samples(subject, ways, counts)])


@torch.no_grad()
def _samples(subject: RunSubject, ways: list[Between], counts: list[int]) -> list[View]:
    """The same noise in each number of steps: images in rows, points as clouds; nothing for other data."""
    student, shape = subject.student, subject.student.facts.shape
    image = len(shape) == 3
    if not image and shape != (2,):
        return []
    few = subject.rows(_COLUMNS if image else _POINTS)
    noise = few.states[0] / student.facts.noise_scale
    sets: dict[str, Tensor] = {"teacher": few.data.cpu()}
    for way in ways:
        for count in counts:
            if count > 1 or way == "noise":
                made = generate_in_steps(student, noise, few.class_labels, stepping=Stepping(count, way))
                sets["1 step" if count == 1 else f"{count} {_WAYS[way]}"] = made.cpu()
    if image:
        return [Images("steps_samples.png", image_rows(sets), data_range=student.facts.shown_range)]
    return [Clouds("steps_samples.png", sets, cells=cells_of(subject))]
