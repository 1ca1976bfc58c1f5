"""``koopstep evaluate``: student and teacher by the same metrics, on noise that training never saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koopstep.core.config import dump
from koopstep.core.devices import Place
from koopstep.core.errors import UsageError
from koopstep.core.files import write_json
from koopstep.core.records import Batch
from koopstep.data.sources import DataSource, load_source
from koopstep.data.store import TrajectoryStore
from koopstep.evaluation import classifier as classifiers
from koopstep.evaluation.classifier import SupportVectorClassifier
from koopstep.evaluation.metrics import METRICS, applicable, evaluate
from koopstep.evaluation.protocol import Protocol, software_versions
from koopstep.evaluation.samples import Samples
from koopstep.features.extract import Eyes, available, preparation
from koopstep.sampling.fewstep import ONE_STEP, Stepping
from koopstep.sampling.onestep import generate_in_batches
from koopstep.workflows.console import Console
from koopstep.workflows.run import OpenRun, open_run

_MOST_IMAGES = 5000
_WITHOUT_RUN = ("pair_mse", "pair_mse_permuted")  # what a bare student folder is measured by


@dataclass(frozen=True)
class Comparison:
    """Student and teacher on the same held-out noise.

    Attributes:
        run: the opened run.
        store: where the noise and the teacher's data come from.
        batch: the held-out rows.
        student: (N, *shape) one-step samples from ``batch.noise``.
    """

    run: OpenRun
    store: TrajectoryStore
    batch: Batch
    student: Tensor


@dataclass(frozen=True)
class Reference:
    """Real data as it is used: its source's name and digest, and the rows chosen."""

    name: str
    sha256: str
    data: Tensor
    labels: Tensor | None


def compare_on_held_out(
    run: Path, data: Path | None, count: int | None, place: Place, stepping: Stepping = ONE_STEP
) -> Comparison:
    """Open a run and let its student generate from the held-out rows of a store.

    Args:
        run: run or student folder.
        data: the store; the run's own when absent.
        count: how many rows; all held-out ones when absent.
        place: the device.
        stepping: how the student samples.

    Raises:
        UsageError: if there is no store, it holds nothing out, fewer rows than asked, or data of another kind.
    """
    opened = open_run(run, place.device)
    if data is None:
        data = Path(opened.recipe("name a store with --data").data)
    store = TrajectoryStore.open(data)
    facts = opened.student.facts
    ours = (store.manifest.shape, store.manifest.teacher.num_classes)
    if ours != (facts.shape, facts.num_classes):
        raise UsageError(
            f"{data} holds shape {ours[0]} with {ours[1]} classes, the student makes {facts.shape} with "
            f"{facts.num_classes}; use the store of its teacher"
        )
    made_by, learned_from = store.manifest.teacher.sha256, opened.file.provenance.get("teacher_sha256", "")
    if made_by and learned_from and made_by != learned_from:
        raise UsageError(f"{data} holds paths of another teacher than the one this student learned from; use its store")
    rows = store.held_out_rows()
    if not len(rows):
        raise UsageError(f"{data} holds no rows out of training; collect or import with --hold-out")
    if count is not None and not 1 <= count <= len(rows):
        raise UsageError(f"--count must be from 1 to the {len(rows)} held-out rows of {data}, got {count}")
    # an even choice among the held-out rows, as they themselves are an even choice among all
    chosen = rows if count is None else rows[np.arange(count) * len(rows) // count]
    batch = store.batch(chosen)
    noise = batch.states[0] / facts.noise_scale
    student = torch.cat(list(generate_in_batches(opened.student, noise, batch.class_labels, stepping=stepping)))
    return Comparison(opened, store, batch, student)


def evaluate_run(
    run: Path,
    *,
    data: Path | None,
    reference: str | None,
    count: int | None,
    metrics: list[str] | None,
    place: Place,
    console: Console,
    reference_count: int | None = None,
    stepping: Stepping = ONE_STEP,
) -> dict[str, Any]:
    """Measure a student and its teacher; writes ``report/evaluation.json`` into a run.

    Args:
        run: run or student folder.
        data: the store whose held-out rows are used; the run's own when absent.
        reference: real data to compare with (name, folder or ``.npz``); the preset's when absent.
        count: held-out rows used; all when absent.
        metrics: names; the preset's when absent.
        place: the device.
        console: where words go.
        reference_count: real images used, an even choice; at most 5,000 when absent.
        stepping: how the student samples.

    Raises:
        UsageError: on anything missing or unknown.
    """
    compared = compare_on_held_out(run, data, count, place, stepping)
    config = compared.run.config
    named = tuple(metrics) if metrics else (config.recipe.evaluation.metrics if config else _WITHOUT_RUN)
    unknown = [name for name in named if name not in METRICS]
    if unknown:
        raise UsageError(f"unknown metric {unknown[0]!r}; known: {', '.join(METRICS)}")
    source = _reference(named, reference, compared)
    real = None if source is None else _chosen(source, reference_count)
    judge = _classifier(named, real)
    eyes = _eyes(compared, real, place, console)
    student, teacher = _samples(compared, real, judge, eyes, config.recipe.evaluation.seed if config else 0)
    names = named if metrics else applicable(student, named)  # a preset's metrics may ask for labels own data lacks
    unseen = sorted({METRICS[name].network for name in named if not available(METRICS[name].network)})
    if unseen and not metrics:
        console.say(f"left out what needs weights that are not at hand ({', '.join(unseen)}); see KOOPSTEP_WEIGHTS")
    console.say(f"measuring {', '.join(names)} on {len(student.student)} held-out rows")
    values, of_teacher = evaluate(student, names), evaluate(teacher, applicable(teacher, names))
    protocol = _protocol(names, compared, real, judge, eyes).model_copy(update=_sampled(stepping))
    result: dict[str, Any] = {
        "metrics": values,
        "teacher": of_teacher,
        "protocol": dump(protocol),
        "files": [],
    }
    if config is not None:
        path = compared.run.folder / "report" / "evaluation.json"
        extra = {"preset": config.recipe.preset, "method": config.recipe.method}
        write_json(path, {key: value for key, value in result.items() if key != "files"} | extra)
        result["files"] = [str(path)]
    return result


def scorer(compared: Comparison) -> tuple[Callable[[Tensor], dict[str, float]], dict[str, float]]:
    """How samples (N, *shape) from ``compared``'s noise do by the preset's metrics, as a function; and how the teacher does.

    Metrics that look through a network are left out, and the controls.

    Raises:
        UsageError: if this is a student folder without its run.
    """
    recipe = compared.run.recipe("this needs its preset's metrics").recipe
    names = tuple(
        name for name in recipe.evaluation.metrics if not METRICS[name].network and METRICS[name].direction != "control"
    )
    source = _reference(names, None, compared)
    real = None if source is None else _chosen(source, None)
    judge = _classifier(names, real)
    student, teacher = _samples(compared, real, judge, None, recipe.evaluation.seed)

    def score(samples: Tensor) -> dict[str, float]:
        of_these = replace(student, student=samples)
        return evaluate(of_these, applicable(of_these, names))

    return score, evaluate(teacher, applicable(teacher, names))


def _sampled(stepping: Stepping) -> dict[str, Any]:
    between = None if stepping.steps == 1 else stepping.between
    return {"student_steps": stepping.steps, "student_between": between}


def _reference(names: tuple[str, ...], reference: str | None, compared: Comparison) -> DataSource | None:
    """The real data, where a metric needs any."""
    config = compared.run.config
    if not any({"reference", "classifier"} & set(METRICS[name].needs) for name in names):
        return None
    source = load_source(reference) if reference else (load_source(config.recipe.data) if config else None)
    if source is not None and source.shape != compared.run.student.facts.shape:
        raise UsageError(
            f"the reference {source.name!r} has shape {source.shape}, the student makes "
            f"{compared.run.student.facts.shape}; name other data with --reference"
        )
    return source


def _chosen(source: DataSource, count: int | None) -> Reference:
    """The real data, or an even choice of it; images are looked at one by one, so not all of a large set by default."""
    data, labels = source.reference()
    if count is not None and not 2 <= count <= len(data):
        raise UsageError(f"--reference-count must be from 2 to the {len(data)} of {source.name!r}, got {count}")
    most = count or (_MOST_IMAGES if data.ndim == 4 else len(data))
    digest = source.sha256()
    if len(data) > most:
        rows = torch.from_numpy(np.arange(most) * len(data) // most)
        data, labels = data[rows], None if labels is None else labels[rows]
    return Reference(source.name, digest, data, labels)


def _eyes(compared: Comparison, real: Reference | None, place: Place, console: Console) -> Eyes | None:
    """Feature networks, for images of one or three planes."""
    shape = compared.run.student.facts.shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        return None
    eyes = Eyes(place.device, console.bar)
    if real is not None:
        eyes.known.append((real.data, f"{real.sha256} {len(real.data)}"))
    return eyes


def _samples(
    compared: Comparison,
    real: Reference | None,
    judge: SupportVectorClassifier | None,
    eyes: Eyes | None,
    seed: int,
) -> tuple[Samples, Samples]:
    """The student's samples with everything known about them, and the teacher's (which have no target)."""
    data, labels = (None, None) if real is None else (real.data, real.labels)
    asked, target = compared.batch.class_labels, compared.batch.data
    student = Samples(compared.student, target, asked, data, labels, judge, seed, eyes)
    return student, Samples(target, None, asked, data, labels, judge, seed, eyes)


def _classifier(names: tuple[str, ...], real: Reference | None) -> SupportVectorClassifier | None:
    if real is None or real.labels is None or not any("classifier" in METRICS[name].needs for name in names):
        return None
    return classifiers.fit(real.data, real.labels)


def _protocol(
    names: tuple[str, ...],
    compared: Comparison,
    real: Reference | None,
    judge: SupportVectorClassifier | None,
    eyes: Eyes | None,
) -> Protocol:
    manifest = compared.store.manifest
    networks = {} if eyes is None else eyes.digests()
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
