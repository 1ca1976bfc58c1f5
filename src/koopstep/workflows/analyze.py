"""``koopstep analyze``: figures and the numbers behind them. To add one: a function and a line in :data:`_RUN`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.neighbours import memorisation, shared_outcomes
from koopstep.analysis.outliers import find_outliers
from koopstep.analysis.spectrum import summarise
from koopstep.core.devices import Place
from koopstep.core.errors import UsageError
from koopstep.core.files import make_folder, write_json
from koopstep.data import checkerboard
from koopstep.data.sources import load_source
from koopstep.evaluation import classifier as classifiers
from koopstep.figures import points as figures
from koopstep.figures import spectra as spectra_figures
from koopstep.figures.tables import image_pairs
from koopstep.workflows import analyze_path, analyze_rates, analyze_steps
from koopstep.workflows.console import Console
from koopstep.workflows.evaluate import Comparison, compare_on_held_out
from koopstep.workflows.run import OpenRun, open_run

ANALYSES: dict[str, str] = {
    "spectrum": "eigenvalues of the operator on the unit circle, and what they may be taken for",
    "bands": "thirds of the modes, kept alone and dropped (HKD students)",
    "cumulative": "each band's share and effect along the path (HKD students)",
    "linearity": "whether the latent path is straight and true (HKD students)",
    "steps": "quality against the number of steps (HKD students)",
    "trajectory": "a film of the path, beside the teacher's (HKD students)",
    "vicinity": "what becomes of noise that is moved a little, for teacher and student",
    "outliers": "samples that lie apart (DBSCAN, eps 0.15), and where their noise lies",
    "neighbours": "noise space coloured by what it becomes; do near points share an outcome, are samples copies",
}

_MOST_ROWS = 10_000  # held-out rows that outliers and neighbours look at


@dataclass(frozen=True)
class Outcomes:
    """What each held-out row became: numbers of cells or classes, and their names.

    Attributes:
        teacher: int64 (N,).
        student: int64 (N,), from the same noise.
        independent: int64 (N,), of real data paired with the noise by chance: what training starts from.
        names: of the numbers, for legends; empty for cells.
    """

    teacher: Tensor
    student: Tensor
    independent: Tensor
    names: tuple[str, ...]


def analyze_run(
    run: Path, what: str, *, out: Path | None, data: Path | None, place: Place, console: Console
) -> dict[str, Any]:
    """Make one analysis of a run; figures and ``values.json`` go to ``out`` (``report/WHAT`` of the run when absent).

    Raises:
        UsageError: on an unknown analysis, or one that does not fit the data.
    """
    if what not in ANALYSES:
        raise UsageError(f"unknown analysis {what!r}; known: {', '.join(ANALYSES)}")
    folder = out or run / "report" / what
    make_folder(folder)
    if what == "spectrum":
        files, values = spectrum_figures(open_run(run, place.device), folder)
    else:
        compared = compare_on_held_out(run, data, None, place)
        console.say(f"looking at {min(len(compared.student), _MOST_ROWS)} held-out rows")
        files, values = _RUN[what](compared, folder)
    write_json(folder / "values.json", values)
    return {"files": [str(file) for file in [*files, folder / "values.json"]], "values": values}


def spectrum_figures(run: OpenRun, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """The spectrum of each level as a figure and in numbers; of HKD students also rates, and effects free of any gauge."""
    spectra, files, more = run.student.spectrum(), list[Path](), dict[str, Any]()
    if analyze_rates.has_rates(run.student):
        spectra, files, more = analyze_rates.rate_readings(run.student, folder)
    return [spectra_figures.eigenvalues(folder / "spectrum.png", spectra), *files], summarise(spectra) | more


def outlier_figures(compared: Comparison, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """Outliers of teacher and student with their noise (KDM Sec. 6.1 and App. E.6); for 2-D data."""
    if compared.run.student.facts.shape != (2,):
        raise UsageError("outliers are looked for in 2-D samples only (DBSCAN, eps 0.15 in data units)")
    rows = slice(0, _MOST_ROWS)
    noise, samples = (
        compared.batch.noise[rows],
        {"teacher": compared.batch.data[rows], "student": compared.student[rows]},
    )
    board = is_board(compared)
    cells = {name: _ends(points, board) for name, points in samples.items()}
    found = {name: find_outliers(noise, points, cells[name]) for name, points in samples.items()}
    path = figures.outlier_map(
        folder / "outliers.png",
        noise,
        samples,
        {name: result.mask for name, result in found.items()},
        outcomes=cells,
        squares=figures.checkerboard_squares() if board else (),
    )
    return [path], {name: result.summary() for name, result in found.items()}


def neighbour_figures(compared: Comparison, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """Noise space coloured by outcome (KDM Fig. 2), shared outcomes of neighbours, and distances to real data."""
    rows = slice(0, _MOST_ROWS)
    noise = compared.batch.noise[rows]
    found = outcomes(compared, rows)
    panels = {
        "independent pairs (untrained)": found.independent,
        "teacher": found.teacher,
        "student": found.student,
    }
    path = figures.noise_space(folder / "noise_space.png", noise, panels, names=found.names)
    with torch.no_grad():
        facts, labels = compared.run.student.facts, compared.batch.class_labels
        given = None if labels is None else labels[rows]
        latent = compared.run.student.encode(noise * facts.noise_scale, 0.0, given)[-1].flatten(1)
    named = {"untrained": found.independent, "teacher": found.teacher, "student": found.student}
    values: dict[str, Any] = {
        "noise_space": {name: s.summary() for name, s in shared_outcomes(noise, named).items()},
        "latent_space": {name: s.summary() for name, s in shared_outcomes(latent.cpu(), named).items()},
    }
    real, _ = load_source(compared.run.recipe("neighbours need its preset's data").recipe.data).reference()
    values["memorisation"] = {
        "student": memorisation(compared.student[rows], real).summary(),
        "teacher": memorisation(compared.batch.data[rows], real).summary(),
    }
    files = [path]
    if real.ndim == 4:
        near = memorisation(compared.student[:20], real).nearest
        files.append(
            image_pairs(
                folder / "nearest_real.png",
                real[near],
                compared.student[:20],
                titles=("nearest real", "student"),
            )
        )
    return files, values


def outcomes(compared: Comparison, rows: slice) -> Outcomes:
    """Cells (2-D data) or classes (labelled data, by a classifier) of what the held-out noise becomes.

    Raises:
        UsageError: if the data is neither.
    """
    config = compared.run.recipe("outcomes need its preset's data")
    source = load_source(config.recipe.data)
    real, real_labels = source.reference(len(compared.student))
    student, teacher = compared.student[rows], compared.batch.data[rows]
    chance = torch.arange(len(student)) % len(real)
    if compared.run.student.facts.shape == (2,):
        board = is_board(compared)
        return Outcomes(_cells(teacher, board), _cells(student, board), _cells(real[chance], board), ())
    if real_labels is None:
        raise UsageError("this analysis needs outcomes: 2-D data, or data with class labels for a classifier")
    judge = classifiers.fit(*source.reference())  # type: ignore[arg-type]
    names = tuple(str(number) for number in range(source.num_classes))
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    return Outcomes(judge.predict(teacher), judge.predict(student), real_labels[order][chance], names)


def is_board(compared: Comparison) -> bool:
    """Whether the run's preset learns the checkerboard, whose squares figures then draw."""
    return compared.run.config is not None and compared.run.config.recipe.data == "checkerboard"


def _cells(points: Tensor, board: bool) -> Tensor:
    """Board cell of each 2-D point, the nearest one for points outside; quadrants where there is no board."""
    if not board:
        return (points[:, 0] > 0).long() + 2 * (points[:, 1] > 0).long()
    inside = checkerboard.EXTENT * (1 - 1e-6)
    return checkerboard.cell_of(points.clamp(-inside, inside))


def _ends(points: Tensor, board: bool) -> Tensor:
    """The cell a point ended in, -1 for none: a sample in an empty cell makes no boundary."""
    if not board:
        return _cells(points, board)
    return torch.where(checkerboard.filled(points), checkerboard.cell_of(points), -1)


_RUN: dict[str, Callable[[Comparison, Path], tuple[list[Path], dict[str, Any]]]] = {
    "bands": analyze_path.band_figures,
    "cumulative": analyze_path.cumulative_figures,
    "linearity": analyze_path.linearity_figures,
    "steps": analyze_steps.step_figures,
    "trajectory": analyze_path.trajectory_figures,
    "vicinity": analyze_path.vicinity_figures,
    "outliers": outlier_figures,
    "neighbours": neighbour_figures,
}
