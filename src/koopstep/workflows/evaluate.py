"""``koopstep evaluate``: student and teacher by the same metrics, on noise that training never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koopstep.core.arguments import AnyPath, whole_number
from koopstep.core.errors import UsageError
from koopstep.core.files import write_json
from koopstep.core.job import Job, working
from koopstep.data.cells import Cells
from koopstep.data.reference import RealData
from koopstep.data.sources import DataSource
from koopstep.evaluation import classifier as classifiers
from koopstep.evaluation.classifier import SupportVectorClassifier
from koopstep.evaluation.metrics import METRICS, applicable, inapplicable, inflated
from koopstep.evaluation.metrics import evaluate as measure
from koopstep.evaluation.outcome import Evaluation
from koopstep.evaluation.protocol import Protocol, software_versions
from koopstep.evaluation.samples import Samples
from koopstep.features.extract import Extractor, preparation
from koopstep.sampling.fewstep import Between, Stepping
from koopstep.students.student import DataFacts
from koopstep.workflows.comparison import Comparison, compare_on_held_out

_MOST_IMAGES = 5000
_WITHOUT_RUN = ("pair_mse", "pair_mse_permuted")  # what a bare student folder is measured by


@dataclass(frozen=True)
class Reference:
    """Real data as it is used: its source's name, digest and cells, and the rows chosen."""

    name: str
    sha256: str
    data: Tensor
    labels: Tensor | None
    cells: Cells | None


def evaluate(
    run: AnyPath,
    *,
    data: AnyPath | None = None,
    reference: RealData | None = None,
    count: int | None = None,
    metrics: Sequence[str] | None = None,
    reference_count: int | None = None,
    steps: int = 1,
    between: Between = "noise",
    weights: AnyPath | None = None,
    device: str | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Evaluation:
    """Measure a student and its teacher by the same metrics, on noise that training never saw.

    Written to ``report/evaluation.json`` of a run as well.

    Args:
        run: a run, its folder, or a student's folder (then name ``data``).
        data: the store whose held-out rows are used; the run's own when absent.
        reference: real data to compare with: a name, a folder or ``.zip`` of pictures, an ``.npz`` or ``.npy``, a tensor or
            an array; what the run was given, else what the teacher learned from, where that is at hand, when absent.
        count: held-out rows used; all when absent.
        metrics: names of metrics; those of the run's recipe when absent, without those that cannot be measured.
        reference_count: real samples used, an even choice; at most 5,000 images when absent.
        steps: network evaluations a sample; above 1 for students that know their path.
        between: what leads from one step to the next: fresh ``noise``, or the ``path`` as the student reads it (hkd+).
        weights: folder of feature networks' weights; that of ``KOOPSTEP_WEIGHTS`` when absent.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words and no progress bars on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Returns:
        The values: ``.metrics["pair_mse"]`` of the student, ``.teacher[...]`` of its teacher.

    Raises:
        UsageError: on anything missing, unknown, or named and not measurable.
        DamagedError: if a file is damaged.

    Example:
        >>> scores = koopstep.evaluate("run")
        >>> scores.metrics["pair_mse"]
    """
    stepping = Stepping(whole_number(steps, "steps", least=1), between)
    store, folder = (None if path is None else Path(path) for path in (data, weights))
    asked = (metrics,) if isinstance(metrics, str) else tuple(metrics or ())
    with working(job, device, quiet) as job:
        compared = compare_on_held_out(Path(run), store, count, job, stepping, reference)
        return _measured(compared, asked, reference_count, stepping, folder, job)


def _measured(
    compared: Comparison,
    asked: tuple[str, ...],
    reference_count: int | None,
    stepping: Stepping,
    weights: Path | None,
    job: Job,
) -> Evaluation:
    config = compared.run.config
    named = asked or (config.recipe.evaluation.metrics if config else _WITHOUT_RUN)
    real = _reference(named, compared, reference_count)
    judge = _classifier(named, real)
    extractor = _extractor(compared, real, Extractor(job.place.device, job.console.bar, weights))
    student, teacher = _samples(compared, real, judge, extractor, config.recipe.evaluation.seed if config else 0)
    left_out = _left_out(student, named, compared, real)
    if asked and left_out:
        raise UsageError("; ".join(f"metric {name!r}: {reason}" for name, reason in left_out.items()))
    names = tuple(name for name in named if name not in left_out)
    job.console.say(f"measuring {', '.join(names)} on {len(student.student)} held-out rows")
    few = [name for name in names if inflated(name, len(student.student), student.student[0].numel())]
    if few:
        job.console.say(
            f"{', '.join(few)}: on so few samples a Fréchet distance is too large for student and teacher alike, and their "
            "ratio too near 1; compare it at equal numbers of samples only"
        )
    values, of_teacher = measure(student, names), measure(teacher, applicable(teacher, names))
    protocol = _protocol(names, compared, real, judge, extractor).model_copy(update=_sampled(stepping))
    found = Evaluation(values, of_teacher, left_out, protocol)
    if config is None:
        return found
    path = compared.run.folder / "report" / "evaluation.json"
    about = {"preset": config.recipe.preset, "method": config.recipe.method, "student_sha256": compared.run.file.sha256}
    write_json(path, found.plain() | about)
    return replace(found, files=(path,))


def _left_out(samples: Samples, names: tuple[str, ...], compared: Comparison, real: Reference | None) -> dict[str, str]:
    """The metrics that cannot be measured, each with the reason; where real data is missing, why it is."""
    reasons = inapplicable(samples, names)
    if real is None:
        wanting = [name for name in reasons if _needs_reference(name)]
        reasons |= {name: f"{reasons[name]}; {compared.reference.reason}" for name in wanting}
    return reasons


@dataclass(frozen=True)
class Scorer:
    """How samples do by the preset's metrics.

    Attributes:
        score: samples (N, *shape) from the comparison's noise -> values by name.
        teacher: the teacher's values.
        left_out: metrics that cannot be measured, each with the reason.
    """

    score: Callable[[Tensor], dict[str, float]]
    teacher: dict[str, float]
    left_out: dict[str, str]


def scorer(compared: Comparison) -> Scorer:
    """How samples from ``compared``'s noise do by the preset's metrics; without those through a network and the controls.

    Raises:
        UsageError: if this is a student folder without its run.
    """
    recipe = compared.run.recipe("this needs its preset's metrics").recipe
    names = tuple(
        name for name in recipe.evaluation.metrics if not METRICS[name].network and METRICS[name].direction != "control"
    )
    real = _reference(names, compared, None)
    judge = _classifier(names, real)
    student, teacher = _samples(compared, real, judge, None, recipe.evaluation.seed)

    def score(samples: Tensor) -> dict[str, float]:
        of_these = replace(student, student=compared.run.student.facts.in_plain_range(samples))
        return measure(of_these, applicable(of_these, names))

    return Scorer(score, measure(teacher, applicable(teacher, names)), _left_out(student, names, compared, real))


def _sampled(stepping: Stepping) -> dict[str, Any]:
    between = None if stepping.steps == 1 else stepping.between
    return {"student_steps": stepping.steps, "student_between": between}


def _needs_reference(name: str) -> bool:
    return bool({"reference", "reference_labels", "cells", "classifier"} & set(METRICS[name].needs))


def _reference(names: tuple[str, ...], compared: Comparison, count: int | None) -> Reference | None:
    """The real data, where a metric needs any and it is at hand.

    Raises:
        UsageError: on an unknown metric, or a count that the data does not have.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise UsageError(f"unknown metric {unknown[0]!r}; known: {', '.join(METRICS)}")
    if not any(_needs_reference(name) for name in names) or compared.reference.value is None:
        return None
    return _chosen(compared.reference.value, count, compared.run.student.facts)


def _chosen(source: DataSource, count: int | None, facts: DataFacts) -> Reference:
    """The real data, images in [-1, 1], or an even choice of it: by default not all of many images, as each is looked at."""
    data, labels = source.reference()
    if count is not None and not 2 <= count <= len(data):
        raise UsageError(f"--reference-count must be from 2 to the {len(data)} of {source.name!r}, got {count}")
    most = count or (_MOST_IMAGES if data.ndim == 4 else len(data))
    digest = source.sha256()
    if len(data) > most:
        rows = torch.from_numpy(np.arange(most) * len(data) // most)
        data, labels = data[rows], None if labels is None else labels[rows]
    return Reference(source.name, digest, facts.in_plain_range(data), labels, source.cells)


def _extractor(compared: Comparison, real: Reference | None, extractor: Extractor) -> Extractor | None:
    """``extractor`` that know the real data, for images of one or three planes."""
    facts = compared.run.student.facts
    if not facts.is_image or facts.shape[0] not in (1, 3):
        return None
    if real is not None:
        extractor.known.append((real.data, f"{real.sha256} {len(real.data)}"))
    return extractor


def _samples(
    compared: Comparison,
    real: Reference | None,
    judge: SupportVectorClassifier | None,
    extractor: Extractor | None,
    seed: int,
) -> tuple[Samples, Samples]:
    """The student's samples with everything known about them, and the teacher's (which have no target).

    Images are measured in [-1, 1] whatever the teacher's range, so that numbers compare.
    """
    plain = compared.run.student.facts.in_plain_range
    target = plain(compared.batch.data)
    student = Samples(
        plain(compared.student),
        target=target,
        class_labels=compared.batch.class_labels,
        reference=None if real is None else real.data,
        reference_labels=None if real is None else real.labels,
        cells=None if real is None else real.cells,
        classifier=judge,
        seed=seed,
        extractor=extractor,
    )
    return student, replace(student, student=target, target=None)


def _classifier(names: tuple[str, ...], real: Reference | None) -> SupportVectorClassifier | None:
    if real is None or real.labels is None or not any("classifier" in METRICS[name].needs for name in names):
        return None
    return classifiers.fit(real.data, real.labels)


def _protocol(
    names: tuple[str, ...],
    compared: Comparison,
    real: Reference | None,
    judge: SupportVectorClassifier | None,
    extractor: Extractor | None,
) -> Protocol:
    manifest = compared.store.manifest
    networks = {} if extractor is None else extractor.digests()
    return Protocol(
        metrics=names,
        count=len(compared.student),
        noise_seed=manifest.seed,
        noise_rows=f"{len(compared.student)} held-out rows of the store {compared.store.root}",
        reference=None if real is None else real.name,
        reference_sha256=None if real is None else real.sha256,
        reference_count=None if real is None else len(real.data),
        classifier=None if judge is None else "support vector machine on the reference",
        classifier_accuracy=None if judge is None else judge.held_out_accuracy,
        networks=networks,
        preparation={name: preparation(name) for name in networks},
        software=software_versions(),
    )
