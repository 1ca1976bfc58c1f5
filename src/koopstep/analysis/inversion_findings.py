"""``koopstep analyze RUN inversion``: real samples to their noise and back, and whether that noise is noise."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Curves, Findings, Line, View
from koopstep.analysis.inversion import Inverted, invert, noise_facts, recovered, summary
from koopstep.analysis.mode_words import share
from koopstep.analysis.sets import how_shown, view_of_sets
from koopstep.analysis.subject import Subject
from koopstep.analysis.words import short
from koopstep.core.noise import permutation, stream_seed
from koopstep.core.records import Batch

_ROWS, _LARGE_ROWS = 2000, 256  # of samples of up to 1,024 numbers, and of larger ones
_DRAWN, _POINTS = 10, 2000
_BINS, _REACH = 61, 4.0
_CLOSE = 0.1  # of what the noise should be: nearer counts as noise


def back_to_noise(subject: Subject) -> Findings:
    """Reconstructions, the noise they go through, and how much of the teacher's true noise comes back."""
    student = subject.student
    most = _ROWS if math.prod(student.facts.shape) <= 1024 else _LARGE_ROWS
    batch = subject.rows(most)
    teacher = invert(student, batch.data, batch.class_labels)
    values: dict[str, Any] = {
        "teacher": summary(teacher, _width(subject)) | {"true_noise": recovered(teacher.noise, batch.noise.cpu())}
    }
    shown = {"teacher's": teacher}
    real, reason = _real(subject, most)
    if real is None:
        values["left_out"] = {"real": reason}
    else:
        values["real"] = summary(real, _width(subject))
        shown = {"real": real} | shown
    values["gaussian"] = _gaussian(batch)
    histogram = _histogram({name: one.noise for name, one in shown.items()}, batch.noise.cpu())
    first, samples = next(iter(shown.items()))
    few = _DRAWN if subject.display.kind == "images" else _POINTS
    data_view = view_of_sets(
        subject, "inversion.png", {first: samples.data[:few], "its reconstruction": samples.again[:few]}
    )
    sentence = inversion_sentence(values)
    text = "Samples, and below (beside) what the student makes of the noise that it takes them to come from: two evaluations."
    like = "The numbers of that noise and its norms, beside those of a Gaussian."
    captions = {
        data_view.file: Caption("Back to the noise and forth again", text + how_shown(subject), sentence),
        histogram.file: Caption("Is the inverted noise noise?", like, noise_sentence(values)),
    }
    views: list[View] = [data_view, histogram]
    return Findings(values, views, f"{sentence} {noise_sentence(values)}", captions, _numbers(values))


def inversion_sentence(values: dict[str, Any]) -> str:
    """How near real samples (else the teacher's) come back, and how much of the teacher's true noise is found."""
    main = "real" if "real" in values else "teacher"
    found, whose = values[main], "real samples" if main == "real" else "held-out samples of the teacher's"
    text = (
        f"{found['rows']:,} {whose} come back from their noise with a mean squared error of {short(found['mse'])}, "
        f"{share(found['unexplained_variance'])} of their variance, in one evaluation each way"
    )
    true = values["teacher"]["true_noise"]
    rows = f"{values['teacher']['rows']:,} held-out samples of the teacher's"
    return f"{text}; {share(true['unexplained_variance'])} of the variance of the true noise of {rows} is not found."


def noise_sentence(values: dict[str, Any]) -> str:
    """Whether the inverted noise of real samples (else the teacher's) is like a Gaussian's."""
    noise = values["real" if "real" in values else "teacher"]["noise"]
    norm = values["gaussian"]["norm"]  # below 1 in few dimensions
    told = f"norm {short(noise['norm'])} ({short(norm)}), variance {short(noise['variance'])} (1)"
    told += f", excess kurtosis {short(noise['kurtosis'])} (0)"
    if noise["neighbours"] is not None:
        told += f", correlation of neighbouring pixels {short(noise['neighbours'])} (0)"
    linked = noise["neighbours"] is not None and abs(noise["neighbours"]) > _CLOSE
    good = abs(noise["norm"] - norm) < _CLOSE and abs(noise["kurtosis"]) < 3 * _CLOSE and not linked
    return f"Their noise is {'close to' if good else 'not'} a Gaussian's (in brackets): {told}."


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    names = {"real": "real samples", "teacher": "the teacher's samples"}
    numbers: dict[str, Any] = {}
    for which, name in names.items():
        if which in values:
            found = values[which]
            numbers |= {
                f"reconstruction of {name}": f"{short(found['mse'])} ({share(found['unexplained_variance'])} of the variance)",
                f"norm of the noise of {name}": f"{short(found['noise']['norm'])} ± {short(found['noise']['norm_spread'])}",
            }
    numbers["true noise not found"] = (
        f"{share(values['teacher']['true_noise']['unexplained_variance'])} of its variance"
    )
    return numbers | {"held-out rows": values["teacher"]["rows"]}


def _real(subject: Subject, most: int) -> tuple[Inverted | None, str]:
    source = subject.reference()
    if source.value is None:
        return None, source.reason
    data, labels = source.value.reference()
    rows = torch.from_numpy(permutation(stream_seed("inversion"), len(data))[:most].copy())
    classes = subject.student.facts.num_classes
    if classes and labels is None:
        return None, "the real data have no classes, which this student needs"
    return invert(subject.student, data[rows], labels[rows] if classes and labels is not None else None), ""


def _width(subject: Subject) -> float | None:
    facts = subject.student.facts
    return facts.data_range[1] - facts.data_range[0] if facts.is_image and facts.data_range is not None else None


def _gaussian(batch: Batch) -> dict[str, Any]:
    """The same measures of the true noise: what as many rows of a Gaussian give."""
    return vars(noise_facts(batch.noise.cpu()))


def _histogram(noises: dict[str, Tensor], true: Tensor) -> Curves:
    edges = torch.linspace(-_REACH, _REACH, _BINS)
    places = ((edges[1:] + edges[:-1]) / 2).tolist()
    normal = [math.exp(-(place**2) / 2) / math.sqrt(2 * math.pi) for place in places]
    numbers: dict[str, Line] = {name: (places, _density(noise.flatten(), edges)) for name, noise in noises.items()}
    norms = {name: _norms(noise) for name, noise in (*noises.items(), ("true noise", true))}
    together = torch.cat(list(norms.values()))
    low, high = float(together.min()), float(together.max())
    around = torch.linspace(low, max(high, low + 1e-6), _BINS // 2)
    middles = ((around[1:] + around[:-1]) / 2).tolist()
    panels = {
        "numbers of the noise": numbers | {"true noise": (places, normal)},
        "norm over √d": {name: (middles, _density(values, around)) for name, values in norms.items()},
    }
    return Curves("inversion_noise.png", panels, across="value", up="density", faint=("true noise",))


def _norms(noise: Tensor) -> Tensor:
    norms: Tensor = noise.flatten(1).norm(dim=1)
    return norms / math.sqrt(noise[0].numel())


def _density(values: Tensor, edges: Tensor) -> list[float]:
    counts = torch.histogram(values.float().cpu(), bins=edges.float()).hist
    width = float(edges[1] - edges[0])
    density: list[float] = (counts / (len(values) * width)).tolist()
    return density
