"""``koopstep evaluate``: student and teacher by the same metrics, on noise that training never saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from koopstep.core.arguments import AnyDevice, AnyPath, checked, whole_number
from koopstep.core.errors import UsageError
from koopstep.core.files import write_json
from koopstep.core.job import Job, working
from koopstep.data.reference import RealData
from koopstep.evaluation.chance import FEW, same, spreads
from koopstep.evaluation.metrics import applicable, inflated
from koopstep.evaluation.metrics import evaluate as measure
from koopstep.evaluation.outcome import Evaluation
from koopstep.evaluation.path import PATH_METRICS
from koopstep.features.extract import Extractor
from koopstep.runs.comparison import Comparison, compare_on_held_out
from koopstep.runs.folder import EVALUATION
from koopstep.runs.judging import (
    chosen_reference,
    classifier_for,
    extractor_for,
    protocol_of,
    reasons_left_out,
    samples_of,
)
from koopstep.sampling.fewstep import Between, Stepping

_WITHOUT_RUN = ("pair_mse", "pair_mse_permuted")  # what a bare student folder is measured by


@checked
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
    device: AnyDevice | None = None,
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
    if not asked and compared.run.student.codec.reads_path:
        named += tuple(name for name in PATH_METRICS if name not in named)
    real = chosen_reference(named, compared, reference_count)
    judge = classifier_for(named, real)
    extractor = extractor_for(compared, real, Extractor(job.place.device, job.console.bar, weights))
    student, teacher = samples_of(compared, real, judge, extractor, config.recipe.evaluation.seed if config else 0)
    left_out = reasons_left_out(student, named, compared, real)
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
    spread = spreads(teacher, tuple(of_teacher))
    for line in _chance(values, of_teacher, spread, len(student.student)):
        job.console.say(line)
    protocol = protocol_of(names, compared, real, judge, extractor).model_copy(update=_sampled(stepping))
    found = Evaluation(values, of_teacher, left_out, protocol, spread=spread)
    if config is None:
        return found
    path = compared.run.folder / EVALUATION
    about = {"preset": config.recipe.preset, "method": config.recipe.method, "student_sha256": compared.run.file.sha256}
    write_json(path, found.plain() | about)
    return replace(found, files=(path,))


def _chance(
    values: Mapping[str, float], of_teacher: Mapping[str, float], spread: Mapping[str, float], count: int
) -> Iterator[str]:
    """What so many rows cannot tell."""
    if count < FEW:
        yield f"{count} held-out row{'s are' if count != 1 else ' is'} few: what is measured on them is rough"
    alike = [name for name in spread if same(values[name], of_teacher[name], spread[name])]
    if alike:
        yield f"{', '.join(alike)}: student and teacher are equal within what {count:,} rows can tell"


def _sampled(stepping: Stepping) -> dict[str, Any]:
    between = None if stepping.steps == 1 else stepping.between
    return {"student_steps": stepping.steps, "student_between": between}
