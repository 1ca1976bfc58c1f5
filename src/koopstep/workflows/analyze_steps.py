"""``koopstep analyze RUN steps``: what further steps are worth."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Curves, Findings, Line, View
from koopstep.analysis.sets import how_shown, view_of_sets
from koopstep.analysis.words import short
from koopstep.evaluation.chance import same
from koopstep.evaluation.metrics import METRICS, inflated
from koopstep.runs.judging import scorer
from koopstep.runs.subject import RunSubject
from koopstep.sampling.fewstep import Between, Stepping, generate_in_steps
from koopstep.sampling.onestep import generate_in_batches

_COUNTS = (1, 2, 3, 4, 6, 8, 12)
_WAYS: dict[Between, str] = {"noise": "by fresh noise", "path": "along the path"}
_COLUMNS = 10
_POINTS = 4000
_SAME = 0.01  # of a value: less is no difference to speak of, on any number of rows


def steps(subject: RunSubject) -> Findings:
    """Each of the preset's metrics (but those that need a network) against the number of steps, both ways; and samples."""
    student, batch = subject.student, subject.compared.batch
    scores = scorer(subject.compared)
    score, of_teacher = scores.score, scores.teacher
    counts = [count for count in _COUNTS if count <= len(student.facts.learned) - 1]
    ways: list[Between] = ["noise", "path"] if student.codec.reads_path else ["noise"]
    noise, one_step = batch.states[0] / student.facts.noise_scale, score(subject.compared.student)
    values: dict[Between, dict[str, dict[str, float]]] = {way: {"1": one_step} for way in ways}
    for way in ways:
        for count in counts[1:]:
            samples = generate_in_batches(student, noise, batch.class_labels, stepping=Stepping(count, way))
            values[way][str(count)] = score(torch.cat(list(samples)))
    told = {name: value for name, value in one_step.items() if not inflated(name, len(noise), noise[0].numel())}
    main = main_metric(told or one_step)
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
    sentence, text = (
        steps_sentence(values, of_teacher, main, len(noise), scores.spread),
        "Each metric against the number of network evaluations a sample.",
    )
    shown, seen = _samples(subject, ways, counts)
    how = "Samples in one place are of one noise x_T." + how_shown(subject)
    captions = {
        "steps.png": Caption("What further steps are worth", text, sentence),
        "steps_samples.png": Caption("The same noise in more steps", how, seen),
    }
    numbers = {f"{main} at 1 step": short(one_step[main])} | {
        f"{main} at {counts[-1]} steps {_WAYS[way]}": short(found[str(counts[-1])][main])
        for way, found in values.items()
        if len(counts) > 1
    }
    if main in of_teacher:
        numbers[f"{main} of the teacher"] = short(of_teacher[main])
    return Findings(plain, [curves, shown], sentence, captions, numbers)


def main_metric(measured: Mapping[str, float]) -> str:
    """The metric that tells most of a sample's quality: the first that is not of pairs."""
    of_sets = [name for name in measured if not name.startswith("pair_") and METRICS[name].direction != "control"]
    return of_sets[0] if of_sets else next(iter(measured))


def steps_sentence(
    values: Mapping[Between, Mapping[str, Mapping[str, float]]],
    of_teacher: Mapping[str, float],
    main: str,
    rows: int,
    spread: Mapping[str, float],
) -> str:
    """Which number of steps is best, either way, beside one step and the teacher, as far as so many rows tell."""
    one = values["noise"]["1"]
    sign = -1.0 if METRICS[main].direction == "higher" else 1.0
    found = [
        (sign * scores[main], int(count), way)
        for way, by_count in values.items()
        for count, scores in by_count.items()
        if count != "1"
    ]
    teacher = f"(teacher {short(of_teacher[main])}; " if main in of_teacher else "("
    teacher += f"{rows:,} held-out rows)"
    if not found:
        return f"One step gives {main} {short(one[main])} {teacher}; the store kept too few states to take more."
    best, count, way = min(found)
    if same(one[main], sign * best, max(spread.get(main, 0.0), _SAME * abs(one[main]))):
        return (
            f"Further steps make no difference that these rows can tell: {main} is {short(one[main])} in one step and "
            f"{short(sign * best)} at best in more, with {count} {_WAYS[way]} {teacher}."
        )
    if best >= sign * one[main]:
        return (
            f"Further steps do not help: {main} is {short(one[main])} in one step and {short(sign * best)} at best in more, "
            f"with {count} {_WAYS[way]} {teacher}."
        )
    return (
        f"Further steps help: {main} goes from {short(one[main])} in one step to {short(sign * best)} in {count} steps "
        f"{_WAYS[way]} {teacher}."
    )


@torch.no_grad()
def _samples(subject: RunSubject, ways: list[Between], counts: list[int]) -> tuple[View, str]:
    """The same noise in each number of steps, and how far its samples go from the teacher's."""
    student = subject.student
    few = subject.rows(_COLUMNS if subject.display.kind == "images" else _POINTS)
    noise = few.states[0] / student.facts.noise_scale
    sets: dict[str, Tensor] = {"teacher": few.data.cpu()}
    for way in ways:
        for count in counts:
            if count > 1 or way == "noise":
                made = generate_in_steps(student, noise, few.class_labels, stepping=Stepping(count, way))
                sets["1 step" if count == 1 else f"{count} {_WAYS[way]}"] = made.cpu()
    apart = {name: float((made - sets["teacher"]).square().mean()) for name, made in sets.items() if name != "teacher"}
    far = max(apart, key=lambda name: apart[name])
    sentence = f"These samples are {short(apart['1 step'])} from the teacher's in one step"
    sentence += "." if len(apart) == 1 else f" and at most {short(apart[far])} in more ({far}; mean squared)."
    return view_of_sets(subject, "steps_samples.png", sets), sentence
