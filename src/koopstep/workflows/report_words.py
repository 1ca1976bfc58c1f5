"""What a report says of a run in words and numbers: only what was measured, and plainly what was not."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from koopstep.analysis.subject import HeldOut
from koopstep.analysis.words import listed
from koopstep.data.manifest import Manifest
from koopstep.evaluation.chance import FEW, same
from koopstep.evaluation.metrics import METRICS, inflated
from koopstep.evaluation.scores import pair_mse, pair_mse_permuted
from koopstep.figures.html import Fact, Row, duration, number
from koopstep.planning.plan import Plan
from koopstep.runs.folder import OpenRun, RunConfig
from koopstep.runs.speed import Speed
from koopstep.students.student import DataFacts

# the first of these that student and teacher were both measured by stands for quality
_QUALITY = ("fid", "fid_768", "frechet_resnet56", "frechet_pixel", "in_cell", "sliced_wasserstein", "mmd")
_SAME_PACE = 1.15  # repeats of one measurement differ by as much
_QUALITY_NAMES = {
    "in_cell": "share of samples in a filled cell",
    "sliced_wasserstein": "sliced Wasserstein distance to real data",
    "mmd": "kernel discrepancy to real data",
}


def title(manifest: Manifest | None, steps: int) -> str:
    """The page's heading."""
    evaluations = 0 if manifest is None else manifest.teacher.num_function_evaluations
    arrives = "one" if steps == 1 else str(steps)
    if evaluations:
        return f"From {evaluations} network evaluations to {arrives}"
    return f"From noise to data in {arrives} step{'s' * (steps != 1)}"


def lead(manifest: Manifest | None, facts: DataFacts) -> str:
    """What this is, in words that a newcomer understands."""
    samples = "images" if facts.is_image else "samples"
    if manifest is None:
        return (
            f"This network turns random noise into {samples} in one evaluation. It was distilled from a generative model "
            "that needs many."
        )
    name, evaluations = manifest.teacher.name, manifest.teacher.num_function_evaluations
    many = f"{evaluations} evaluations of its network" if evaluations else "many evaluations of its network"
    return (
        f"The teacher ({name}) turns random noise into {samples} step by step, with {many} for each. This student was "
        "distilled from it: it starts from the same noise and arrives where the teacher does in a single evaluation."
    )


def pair_finding(held_out: HeldOut | None, facts: DataFacts) -> str:
    """How near student and teacher are from the same noise."""
    if held_out is None:
        return "What the student makes of fresh noise; the teacher's samples are not at hand."
    student, teacher = (facts.in_plain_range(data) for data in (held_out.samples, held_out.batch.data))
    error, rows = pair_mse(student, teacher), len(student)
    if rows < 2:
        return f"From the same noise student and teacher are {number(error)} apart (mean squared error)."
    control = pair_mse_permuted(student, teacher)
    return (
        f"From the same noise, which training never saw, student and teacher are {number(error)} apart (mean squared error "
        f"over {rows:,} noises), against {number(control)} when the teacher's samples are dealt out at random: "
        f"{_times(control, error)}."
    )


def _times(larger: float, smaller: float) -> str:
    if smaller >= larger:
        return "the student does not follow its noise"
    return f"{number(larger / max(smaller, 1e-30))} times as much"


def facts_of(
    run: OpenRun, manifest: Manifest | None, measured: Mapping[str, Any] | None, speed: Speed
) -> Iterator[Fact]:
    """The few numbers that one sees first."""
    metrics = (measured or {}).get("metrics", {})
    evaluations = manifest.teacher.num_function_evaluations if manifest else speed.teacher_evaluations
    yield Fact(f"{evaluations or '?'} → 1", "network evaluations a sample", "teacher → student")
    yield speed_fact(speed)
    if "pair_mse" in metrics:
        control = metrics.get("pair_mse_permuted")
        note = "" if control is None else f"{number(control)} with the teacher's samples dealt out at random"
        count = (measured or {})["protocol"]["count"]
        note += f"; on {count} noise{'s' * (count != 1)} only: a rough number" if count < FEW else ""
        value = number(metrics["pair_mse"]) if count >= FEW else f"{metrics['pair_mse']:.1g}"
        yield Fact(value, "held-out mean squared error to the teacher", note.removeprefix("; "))
    fact = None if measured is None else quality_fact(measured, math.prod(run.student.facts.shape))
    if fact is not None:
        yield fact
    everything, sampling = run.student.parameter_counts()
    note = f"of {everything:,} trained" if everything != sampling else ""
    yield Fact(f"{sampling:,}", "parameters that the student samples with", note)


def speed_fact(speed: Speed) -> Fact:
    """How fast the student is beside its teacher."""
    where = f"{speed.batch:,} sample{'s' * (speed.batch != 1)} at once on {speed.machine}"
    own = duration_text(speed.student_seconds)
    if speed.ratio is None or speed.teacher_seconds is None:
        return Fact(own, f"the student takes for {where}", f"the teacher was not timed: {speed.reason}")
    how = {"measured": f"median of {speed.repeats}", "collection": "the teacher's time is that of collecting its paths"}
    note = f"{duration_text(speed.teacher_seconds)} → {own} for {where}; {how[speed.teacher_from or 'measured']}"
    return Fact(*_pace(speed.ratio), note)


def _pace(ratio: float) -> tuple[str, str]:
    """How many times faster the student is, as one says it: slower below 1, and alike where repeats differ as much."""
    if 1 / _SAME_PACE <= ratio <= _SAME_PACE:
        return "1×", "about as fast as the teacher"
    if ratio > 1:
        return f"{number(ratio)}×", "faster than the teacher"
    return f"{number(1 / ratio)}×", "slower than the teacher"


def duration_text(seconds: float) -> str:
    """Seconds, or milliseconds of less than one."""
    return f"{number(1000 * seconds)} ms" if seconds < 1 else duration(seconds)


def quality_fact(measured: Mapping[str, Any], size: int) -> Fact | None:
    """The student's distance to real data beside the teacher's: their ratio only where so many samples tell one.

    Args:
        measured: the evaluation.
        size: numbers of a sample.
    """
    metrics, teacher, count = measured["metrics"], measured["teacher"], measured["protocol"]["count"]
    both = [name for name in _QUALITY if name in metrics and name in teacher]
    name = next((name for name in both if not inflated(name, count, size)), next(iter(both), None))
    if name is None:
        return None
    own, others = metrics[name], teacher[name]
    label = _QUALITY_NAMES.get(name, "Fréchet distance to real data")
    note = f"{number(own)} against {number(others)} ({name}; {METRICS[name].direction} is better)"
    if inflated(name, count, size):
        few = f"{count:,} samples are too few: both are too large, and no ratio is given"
        return Fact(number(own), label, f"the teacher: {number(others)} ({name}); {few}")
    spread = measured.get("spread", {}).get(name)
    if spread is not None and same(own, others, spread):
        return Fact("≈ 1×", f"the teacher's {label}", f"{note}; equal within what {count:,} samples can tell")
    if METRICS[name].direction != "lower" or others <= 0 or own <= 0:
        return Fact(number(own), label, f"the teacher: {number(others)} ({METRICS[name].direction} is better)")
    if spread is None and count < FEW:
        return Fact(number(own), label, f"the teacher: {number(others)} ({name}); too few samples for a ratio")
    return Fact(f"{number(own / others)}×", f"the teacher's {label}", note)


def rows_of(measured: Mapping[str, Any] | None) -> list[Row]:
    """The table of metrics."""
    if measured is None:
        return []
    metrics, teacher = measured["metrics"], measured["teacher"]
    named = dict.fromkeys([*measured["protocol"].get("metrics", ()), *metrics])  # in the order asked for
    return [
        Row(name, METRICS[name].measures, METRICS[name].direction, metrics[name], teacher.get(name))
        for name in named
        if name in METRICS and name in metrics
    ]


def not_measured(left_out: Mapping[str, str]) -> list[str]:
    """Each reason once, with the metrics that it keeps from being measured."""
    return [
        f"Not measured: {', '.join(name for name in left_out if left_out[name] == reason)}: {reason.rstrip('.')}."
        for reason in dict.fromkeys(left_out.values())
    ]


def measured_on(measured: Mapping[str, Any] | None, size: int) -> str:
    """On what the metrics were measured, and what so many samples (of ``size`` numbers) cannot tell."""
    if measured is None:
        return ""
    protocol = measured["protocol"]
    steps = protocol.get("student_steps", 1)
    real = (
        f"; real data: {protocol['reference']}, {protocol['reference_count']:,} rows"
        if protocol.get("reference")
        else ""
    )
    return (
        f"On {protocol['count']:,} noises that training never saw, the student in {steps} step{'s' * (steps != 1)}{real}. "
        f"A control says what ignoring the noise would score.{_cannot_tell(measured, size)}"
    )


def _cannot_tell(measured: Mapping[str, Any], size: int) -> str:
    metrics, teacher, count = measured["metrics"], measured["teacher"], measured["protocol"]["count"]
    spread = measured.get("spread", {})
    few = [name for name in metrics if inflated(name, count, size)]
    alike = [name for name in metrics if name in teacher and name in spread]
    alike = [name for name in alike if same(metrics[name], teacher[name], spread[name])]
    text = f" So few samples make {listed(few)} too large for both, and their ratio too near 1." if few else ""
    return text + (f" By {listed(alike)} they cannot tell student and teacher apart." if alike else "")


def about(run: OpenRun, manifest: Manifest | None) -> str:
    """The run in one or two sentences."""
    config = run.config
    if config is None:
        return "A student folder without its run: nothing says how it was trained."
    recipe, training = config.recipe, config.recipe.training
    paths = (
        ""
        if manifest is None
        else f"{manifest.count:,} stored paths of {manifest.steps} steps, {manifest.hold_out:,} held out; "
    )
    begin = f"{recipe.about[:1].upper()}{recipe.about[1:].rstrip('.')}."
    return f"{begin} Method {recipe.method}; {paths}{training.steps:,} training steps of {training.batch_size:,}."


def commands(run: OpenRun, manifest: Manifest | None, plan: Plan | None) -> list[str]:
    """What makes the page again, and what makes another run like this one."""
    folder = shlex.quote(str(run.folder))
    if run.config is None:
        return [f"koopstep report {folder}"]
    config, again = run.config, shlex.quote(str(run.folder.with_name(run.folder.name + "-again")))
    store, teacher = shlex.quote(config.data), shlex.quote(config.recipe.teacher.file)
    of_file = manifest is not None and manifest.teacher.kind != "imported" and bool(manifest.teacher.sha256)
    lines: list[str] = []
    if plan is not None and of_file:
        paths = f"--count {plan.count}" if plan.data is None else f"--data {store}"
        lines.append(
            f"koopstep distil {teacher} --out {again} --method {config.recipe.method} {paths} --steps {plan.steps}"
        )
    else:
        lines += _collecting(config, manifest) if of_file and manifest else [_NOT_COLLECTED.format(store)]
        lines.append(f"koopstep train {folder}/config.yaml --data {store} --out {again}")
        lines += [f"koopstep evaluate {again}", f"koopstep report {again}"]
    if plan is not None and plan.reference is not None:
        lines.append("# add --reference with the real data that this run was given")
    return ["# this page, of the run as it is", f"koopstep report {folder}", "", "# another run like it", *lines]


_NOT_COLLECTED = "# the paths in {} were not collected from a teacher's file: they are needed as they are"


def _collecting(config: RunConfig, manifest: Manifest) -> list[str]:
    teacher, made = shlex.quote(config.recipe.teacher.file), config.recipe.collect
    return [
        f"koopstep collect {teacher} --out {shlex.quote(config.data)} --count {count} --steps {manifest.steps} "
        f"--keep {made.keep} --seed {manifest.seed} --hold-out {manifest.hold_out}"
        for count in (*manifest.grown, manifest.count)  # as it grew
    ]
