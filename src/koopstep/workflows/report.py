"""What the report says and shows of one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from koopstep.core.devices import Place
from koopstep.core.files import make_folder
from koopstep.evaluation.metrics import METRICS
from koopstep.figures import lines
from koopstep.figures import points as figures
from koopstep.figures.html import Chapter, Picture, number
from koopstep.figures.tables import image_pairs
from koopstep.workflows.analyze import is_board, neighbour_figures, outcomes, outlier_figures, spectrum_figures
from koopstep.workflows.evaluate import Comparison, compare_on_held_out
from koopstep.workflows.run import read_metrics


def chapter_of(run: Path, store: Path, measured: dict[str, Any], place: Place, seconds: dict[str, float]) -> Chapter:
    """Make the pictures of ``run`` (into its ``report`` folder) and the chapter around them."""
    compared = compare_on_held_out(run, store, None, place)
    config = compared.run.recipe("the report needs its run")
    folder = run / "report"
    make_folder(folder)
    spectrum, values = spectrum_figures(compared.run, folder)
    pictures = [
        _side_by_side(compared, folder),
        *_noise_space(compared, folder),
        Picture(
            lines.loss_curves(folder / "losses.png", read_metrics(run)),
            "Losses",
            "Each term of the objective, unweighted, over training steps.",
        ),
        Picture(
            spectrum[0],
            "The operator's eigenvalues",
            f"Gauge: {values['gauge']}. {values['reading'].capitalize()}.",
        ),
        *_outliers(compared, folder),
    ]
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
    details = {
        "protocol of the metrics": json.dumps(measured["protocol"], indent=2),
        "spectrum in numbers": json.dumps(values, indent=2),
        "settings": json.dumps(config.recipe.model_dump(mode="json"), indent=2),
    }
    return Chapter(config.recipe.preset, lead, facts, rows, pictures, details)


def _side_by_side(compared: Comparison, folder: Path) -> Picture:
    teacher, student = compared.batch.data, compared.student
    if compared.run.student.facts.shape == (2,):
        board = is_board(compared)
        path = figures.paired_scatter(
            folder / "samples.png",
            teacher,
            student,
            outcomes=outcomes(compared, slice(None)).teacher,
            squares=figures.checkerboard_squares() if board else (),
        )
        caption = "Every point on the left and its partner on the right come from the same noise and have one colour."
        return Picture(path, "Teacher and student from the same noise", caption)
    shown = torch.arange(40)
    labels = compared.batch.class_labels
    if labels is not None:
        shown = labels[:2000].argsort(stable=True)[torch.linspace(0, min(len(labels), 2000) - 1, 40).long()]
    path = image_pairs(folder / "samples.png", teacher[shown], student[shown])
    caption = "Each image above and the one below it come from the same noise, which training never saw."
    return Picture(path, "Teacher and student from the same noise", caption)


def _noise_space(compared: Comparison, folder: Path) -> list[Picture]:
    files, values = neighbour_figures(compared, folder)
    share = {name: entry["share"] for name, entry in values["noise_space"].items()}
    flat = compared.run.student.facts.shape == (2,)
    caption = (
        "Each point is a noise sample, coloured by the "
        + ("cell" if flat else "class")
        + " it becomes (KDM Fig. 2). Untrained: real data paired with noise by chance, which is what training starts from. "
        + ("" if flat else "Noise is shown on its two best linear discriminants, fitted on other rows. ")
        + f"Of a point's 10 nearest neighbours, {share['untrained']:.0%} share its outcome untrained, "
        + f"{share['teacher']:.0%} for the teacher, {share['student']:.0%} for the student."
    )
    pictures = [Picture(files[0], "Noise space, by what it becomes", caption)]
    if len(files) > 1:
        ratio = values["memorisation"]
        pictures.append(
            Picture(
                files[1],
                "Nearest real images",
                "Above each of the student's samples the real image it is nearest to. Median distance in units of the "
                f"distance between real neighbours: {ratio['student']['median_ratio']:.2f} (teacher "
                f"{ratio['teacher']['median_ratio']:.2f}); near 0 would be copies.",
            )
        )
    return pictures


def _outliers(compared: Comparison, folder: Path) -> list[Picture]:
    if compared.run.student.facts.shape != (2,):
        return []
    files, values = outlier_figures(compared, folder)
    found = {name: entry["count"] for name, entry in values.items()}
    caption = (
        f"Samples that lie apart from all others (DBSCAN, eps 0.15): {found['teacher']} of the teacher's, "
        f"{found['student']} of the student's; crosses mark them and the noise they come from (KDM Fig. 5)."
    )
    return [Picture(files[0], "Outliers and where they come from", caption)]
