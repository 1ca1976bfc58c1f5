"""What a student and its teacher are measured by: samples with everything known about them, real data, and the protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from koopstep.analysis.path_errors import path_errors
from koopstep.core.errors import UsageError
from koopstep.data.cells import Cells
from koopstep.data.sources import DataSource
from koopstep.evaluation import classifier as classifiers
from koopstep.evaluation.chance import spreads
from koopstep.evaluation.classifier import SupportVectorClassifier
from koopstep.evaluation.metrics import METRICS, applicable, inapplicable
from koopstep.evaluation.metrics import evaluate as measure
from koopstep.evaluation.protocol import Protocol, software_versions
from koopstep.evaluation.samples import Samples
from koopstep.features.extract import Extractor, preparation
from koopstep.runs.comparison import Comparison, even_choice
from koopstep.students.student import DataFacts

_MOST_IMAGES = 5000


@dataclass(frozen=True)
class Reference:
    """Real data as it is used: its source's name, digest and cells, and the rows chosen."""

    name: str
    sha256: str
    data: Tensor
    labels: Tensor | None
    cells: Cells | None


def reasons_left_out(
    samples: Samples, names: tuple[str, ...], compared: Comparison, real: Reference | None
) -> dict[str, str]:
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
        spread: by how much the teacher's values vary with the noise, of metrics that tell it.
    """

    score: Callable[[Tensor], dict[str, float]]
    teacher: dict[str, float]
    left_out: dict[str, str]
    spread: dict[str, float]


def scorer(compared: Comparison) -> Scorer:
    """How samples from ``compared``'s noise do by the preset's metrics; without those through a network and the controls.

    Raises:
        UsageError: if this is a student folder without its run.
    """
    recipe = compared.run.recipe("this needs its preset's metrics").recipe
    names = tuple(
        name for name in recipe.evaluation.metrics if not METRICS[name].network and METRICS[name].direction != "control"
    )
    real = chosen_reference(names, compared, None)
    judge = classifier_for(names, real)
    student, teacher = samples_of(compared, real, judge, None, recipe.evaluation.seed)

    def score(samples: Tensor) -> dict[str, float]:
        of_these = replace(student, student=compared.run.student.facts.in_plain_range(samples))
        return measure(of_these, applicable(of_these, names))

    of_teacher = measure(teacher, applicable(teacher, names))
    left_out = reasons_left_out(student, names, compared, real)
    return Scorer(score, of_teacher, left_out, spreads(teacher, tuple(of_teacher)))


def _needs_reference(name: str) -> bool:
    return bool({"reference", "reference_labels", "cells", "classifier"} & set(METRICS[name].needs))


def chosen_reference(names: tuple[str, ...], compared: Comparison, count: int | None) -> Reference | None:
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
        raise UsageError(f"reference_count must be from 2 to the {len(data)} of {source.name!r}, got {count}")
    most = count or (_MOST_IMAGES if data.ndim == 4 else len(data))
    digest = source.sha256()
    if len(data) > most:
        rows = torch.from_numpy(even_choice(most, len(data)))
        data, labels = data[rows], None if labels is None else labels[rows]
    return Reference(source.name, digest, facts.in_plain_range(data), labels, source.cells)


def extractor_for(compared: Comparison, real: Reference | None, extractor: Extractor) -> Extractor | None:
    """``extractor`` that knows the real data, for images of one or three planes."""
    facts = compared.run.student.facts
    if not facts.is_image or facts.shape[0] not in (1, 3):
        return None
    if real is not None:
        extractor.known.append((real.data, f"{real.sha256} {len(real.data)}"))
    return extractor


def samples_of(
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
        path=path_errors(compared.run.student, compared.batch),
    )
    return student, replace(student, student=target, target=None, path=None)


def classifier_for(names: tuple[str, ...], real: Reference | None) -> SupportVectorClassifier | None:
    """A classifier fitted to the real data, where a metric asks for classes and the data has them."""
    if real is None or real.labels is None or not any("classifier" in METRICS[name].needs for name in names):
        return None
    return classifiers.fit(real.data, real.labels)


def protocol_of(
    names: tuple[str, ...],
    compared: Comparison,
    real: Reference | None,
    judge: SupportVectorClassifier | None,
    extractor: Extractor | None,
) -> Protocol:
    """Everything that must agree before these numbers may be compared with others."""
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
