"""``koopstep analyze RUN steps``: what further steps are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from koopstep.figures import lines as figures
from koopstep.figures.points import clouds
from koopstep.figures.tables import picture_rows
from koopstep.sampling.fewstep import Between, Stepping, generate_in_steps, path_levels
from koopstep.sampling.onestep import generate_in_batches
from koopstep.workflows.evaluate import Comparison, scorer

_COUNTS = (1, 2, 3, 4, 6, 8, 12)
_WAYS: dict[Between, str] = {"noise": "by fresh noise", "path": "along the path"}
_COLUMNS = 10
_POINTS = 4000


def step_figures(compared: Comparison, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """Each of the preset's metrics (but those that need a network) against the number of steps, both ways; and samples.

    Raises:
        UsageError: if the student knows the two ends of the path only.
    """
    student, batch = compared.run.student, compared.batch
    path_levels(student)
    score, of_teacher = scorer(compared)
    counts = [count for count in _COUNTS if count <= len(student.facts.progress) - 1]
    ways: list[Between] = ["noise", "path"] if student.codec.reads_path else ["noise"]
    noise, one_step = batch.states[0] / student.facts.noise_scale, score(compared.student)
    values: dict[Between, dict[str, dict[str, float]]] = {way: {"1": one_step} for way in ways}
    for way in ways:
        for count in counts[1:]:
            samples = generate_in_batches(student, noise, batch.class_labels, stepping=Stepping(count, way))
            values[way][str(count)] = score(torch.cat(list(samples)))
    panels: dict[str, dict[str, figures.Line]] = {}
    for metric in values["noise"]["1"]:
        lines: dict[str, figures.Line] = {
            _WAYS[way]: (counts, [found[str(count)][metric] for count in counts]) for way, found in values.items()
        }
        if metric in of_teacher:
            lines["teacher"] = (counts, [of_teacher[metric]] * len(counts))
        panels[metric.replace("_", " ")] = lines
    files = [
        figures.curves_of(
            folder / "steps.png",
            panels,
            across="network evaluations a sample",
            from_zero=False,
            faint=("teacher",),
            title=f"quality against steps, {len(noise)} held-out rows",
        ),
        *_pictures(compared, ways, counts, folder / "steps_samples.png"),
    ]
    return files, {str(way): found for way, found in values.items()} | {"teacher": of_teacher}


@torch.no_grad()
def _pictures(compared: Comparison, ways: list[Between], counts: list[int], path: Path) -> list[Path]:
    """The same noise in each number of steps: images in rows, points as clouds; nothing for other data."""
    student, device = compared.run.student, next(compared.run.student.parameters()).device
    image = len(student.facts.shape) == 3
    if not image and student.facts.shape != (2,):
        return []
    few = compared.batch[slice(0, _COLUMNS if image else _POINTS)].to(device)
    noise = few.states[0] / student.facts.noise_scale
    sets: dict[str, Tensor] = {"teacher": few.data.cpu()}
    for way in ways:
        for count in counts:
            if count > 1 or way == "noise":
                made = generate_in_steps(student, noise, few.class_labels, stepping=Stepping(count, way))
                sets["1 step" if count == 1 else f"{count} {_WAYS[way]}"] = made.cpu()
    return [picture_rows(path, sets) if image else clouds(path, sets, columns=4)]
