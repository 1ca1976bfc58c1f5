"""What the report says and shows of one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from koopstep.analysis.findings import Caption, Pairs, PointPairs, View
from koopstep.analysis.outcomes import outcomes
from koopstep.analysis.subject import MOST_ROWS, Subject
from koopstep.core.console import Quiet
from koopstep.core.errors import KoopstepError
from koopstep.core.files import make_folder
from koopstep.core.job import Job
from koopstep.evaluation.metrics import METRICS
from koopstep.figures.draw import draw
from koopstep.figures.html import Chapter, Picture, number
from koopstep.figures.lines import loss_curves
from koopstep.workflows.analyses import ANALYSES, Entry
from koopstep.workflows.analyze import require
from koopstep.workflows.run_folder import read_metrics
from koopstep.workflows.subject import RunSubject

_IMAGES = 40


def chapter_of(run: Path, store: Path, measured: dict[str, Any], job: Job) -> Chapter:
    """Make the pictures of ``run`` (into its ``report`` folder) and the chapter around them."""
    subject = RunSubject(run, job=Job(job.place, Quiet()), data=store)
    config, compared = subject.run.recipe("the report needs its run"), subject.compared
    folder = run / "report"
    make_folder(folder)
    losses = loss_curves(folder / "losses.png", read_metrics(run))
    pictures = [
        _picture(*side_by_side(subject), folder),
        Picture(losses, "Losses", "Each term of the objective, unweighted, over training steps."),
    ]
    details = {"protocol of the metrics": json.dumps(measured["protocol"], indent=2)}
    for name, entry in ANALYSES.items():
        if entry.in_report and _fits(entry, subject):
            found = entry.find(subject)
            shown = [(view, found.captions[view.file]) for view in found.views if view.file in found.captions]
            pictures += [_picture(view, caption, folder) for view, caption in shown]
            details[f"{name} in numbers"] = json.dumps(found.values, indent=2)
    if measured["left_out"]:
        details["metrics left out"] = json.dumps(measured["left_out"], indent=2)
    details["settings"] = json.dumps(config.recipe.model_dump(mode="json"), indent=2)
    identity = compared.store.manifest.teacher
    everything, sampling = compared.run.student.parameter_counts()
    metrics, teacher = measured["metrics"], measured["teacher"]
    facts = [
        (str(identity.num_function_evaluations), "teacher: network evaluations a sample"),
        ("1", "student: network evaluations a sample"),
        (number(metrics.get("pair_mse")), "held-out mean squared error to the teacher"),
        (f"{sampling:,}", "parameters the student samples with"),
    ]
    for name, label in (("in_cell", "samples in a filled cell"), ("frechet_pixel", "pixel Fréchet distance")):
        if name in metrics and name in teacher:
            facts.append((f"{number(metrics[name])} / {number(teacher[name])}", f"{label}, student / teacher"))
    rows = [(name, METRICS[name].measures, value, teacher.get(name)) for name, value in metrics.items()]
    lead = (
        f"{config.recipe.about}. Method {config.recipe.method}; teacher {identity.name}, {compared.store.count:,} stored "
        f"paths, {len(compared.batch.noise):,} of them held out; {everything:,} trained parameters, "
        f"{config.recipe.training.steps:,} steps of {config.recipe.training.batch_size:,}."
    )
    return Chapter(config.recipe.preset, lead, facts, rows, pictures, details)


def _fits(entry: Entry, subject: RunSubject) -> bool:
    try:
        require(entry, subject)
    except KoopstepError:  # damaged data too: the report goes without what it cannot show
        return False
    return True


def _picture(view: View, caption: Caption, folder: Path) -> Picture:
    return Picture(draw(view, folder), caption.heading, caption.text)


def side_by_side(subject: Subject) -> tuple[View, Caption]:
    """Held-out samples of the student and the teacher's, as points or images."""
    held_out, heading = subject.held_out(), "Teacher and student from the same noise"
    teacher, student = held_out.batch.data, held_out.samples
    if subject.student.facts.shape == (2,):
        found = outcomes(subject)
        rows = slice(0, MOST_ROWS)
        view = PointPairs("samples.png", teacher[rows], student[rows], outcomes=found.teacher, cells=found.cells)
        text = "Every point on the left and its partner on the right come from the same noise and have one colour."
        return view, Caption(heading, text)
    labels, shown = held_out.batch.class_labels, torch.arange(min(_IMAGES, len(teacher)))
    if labels is not None:
        some = labels[:2000].argsort(stable=True)
        shown = some[torch.linspace(0, len(some) - 1, len(shown)).long()]
    text = "Each image above and the one below it come from the same noise, which training never saw."
    return Pairs("samples.png", teacher[shown], student[shown], data_range=subject.student.facts.shown_range), Caption(
        heading, text
    )
