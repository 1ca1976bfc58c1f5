"""``analyze RUN modes``: the path as a sum of pictures, each of which decays and rotates at one rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.display import Display
from koopstep.analysis.findings import Caption, Curves, Fields, Findings, ImageRow, Images, Line, PointStrips, View
from koopstep.analysis.frequencies import radii
from koopstep.analysis.mode_energies import ModeReading, read_modes
from koopstep.analysis.mode_words import label, modes_sentence, numbers_of, path_words, rates_words, spread_words
from koopstep.analysis.outcomes import cells_of
from koopstep.analysis.path_errors import path_errors
from koopstep.analysis.sets import how_shown
from koopstep.analysis.spectrum import gauge_of
from koopstep.analysis.subject import Subject
from koopstep.core.records import Batch
from koopstep.evaluation.samples import PathErrors

_COLUMNS = 7  # moments of the path
_SAMPLES = 6
_REACH = 0.995
_AT_SIZE = "each moment over the size of the states there"


@torch.no_grad()
def mode_findings(subject: Subject) -> Findings:
    """The modes of held-out paths as pictures, what each adds along the path, and what their sum misses of the states."""
    student, batch = subject.student, subject.rows()
    read = read_modes(student, batch)
    missed = path_errors(student, batch)
    if subject.display.kind == "images":
        views: list[View] = [_strip(subject, batch, read), _pictures(subject.display, read)]
    else:
        views = [_clouds(subject, batch, read)]
        if student.facts.shape == (2,):
            views.append(_fields(subject, batch, read))
    views.append(_along(read, missed))
    if read.profile is not None:
        views.append(_profiles(read))
    who = "rows"
    if not read.shared:
        rates = _rates_of_rows(read, batch.class_labels)
        who = "classes" if rates.across == "class" else "noises"
        views.append(rates)
    values = {
        "rows": len(batch),
        "gauge": gauge_of(student.spectrum()),
        "modes": read.summary(),
        "leading": [read.modes.names[index] for index in read.leading],
        "not_needed": [read.modes.names[index] for index in read.not_needed],
        "path": None if missed is None else _path_values(missed),
        "along": {"u": read.u.tolist(), "size": dict(zip(read.modes.names, read.size.T.tolist(), strict=True))},
        "radial_spectrum": None
        if read.profile is None
        else {
            "cycles_per_pixel": radii(read.profile.shape[1]).tolist(),
            "share": dict(zip(read.modes.names, read.profile.tolist(), strict=True)),
        },
    }
    captions = captions_of(read, missed, how_shown(subject), who)
    shown = {view.file: captions[view.file] for view in views}
    return Findings(values, views, modes_sentence(read, missed, len(batch)), shown, numbers_of(read, missed))


def _path_values(missed: PathErrors) -> dict[str, Any]:
    return {
        "u": missed.u.tolist(),
        "unexplained": missed.unexplained.tolist(),
        "standing_still": missed.standing_still.tolist(),
        "unseen": missed.unseen.tolist(),
    }


def _moments(batch: Batch, most: int) -> list[int]:
    """Numbers of at most ``most`` kept states, evenly, both ends among them."""
    count = len(batch.progress)
    most = min(count, most)
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def _unit(subject: Subject, states: Tensor, u: Tensor) -> Tensor:
    """States or parts of them (N, ...) at ``u`` (N,) over the states' size there, at the size of data."""
    size = subject.student.codec.state_size(u).to(states)
    return states / size.view(-1, *[1] * (states.ndim - 1)) * subject.student.facts.data_scale


def _part(display: Display, parts: Tensor) -> Tensor:
    """Parts (..., *shape) of samples by the linear half of a display's map: they add up to what is shown of the samples."""
    parts = parts.cpu()
    return display(parts) - display(torch.zeros_like(parts))


def _typical(batch: Batch, ends: Tensor) -> int:
    """The row whose end is missed as much as the median row's."""
    missed = (ends - batch.data).square().flatten(1).mean(dim=1)
    return int(missed.argsort()[len(missed) // 2])


def _strip(subject: Subject, batch: Batch, read: ModeReading) -> Images:
    """One path at some moments: the teacher's, the student's, and what each mode adds."""
    display, kept = subject.display, _moments(batch, _COLUMNS)
    u = batch.progress[kept].to(batch.states)
    row = _typical(batch, read.modes.states(batch.progress[-1:].to(batch.states))[0])
    one = type(read.modes)(
        *(part[row : row + 1] for part in (read.modes.images, read.modes.partners)),
        *(part[row : row + 1] for part in (read.modes.growth_rates, read.modes.rotation_rates)),
    )
    parts = _unit(subject, one.contributions(u)[:, 0], u)  # (N, M, *shape)
    teacher, student = _unit(subject, batch.states[kept][:, row], u), parts.sum(dim=1)
    rows = [ImageRow("teacher", display(teacher.cpu())), ImageRow("sum of the modes", display(student.cpu()))]
    shown = _part(display, parts)
    rows += [
        ImageRow(label(read, index), shown[:, index], "differences", gap=0.35 if index == 0 else 0.0)
        for index in range(shown.shape[1])
    ]
    return Images(
        "modes.png",
        rows,
        columns=[f"u = {float(one):.2f}" for one in u],
        title=f"one path as the sum of its modes; {_AT_SIZE}",
        data_range=display.data_range,
        reach=max(float(shown.abs().flatten()[:100_000].quantile(_REACH)), 1e-6),
        scale="what the mode adds,\nat unit size of the state",
    )


def _pictures(display: Display, read: ModeReading) -> Images:
    """Image and partner of each mode: their mean and root mean square over rows, and those of single rows."""
    rows = []
    for index in range(read.modes.images.shape[1]):
        turns = bool(read.modes.partners[:, index].any())
        own = torch.cat([read.modes.images[:, index], read.modes.partners[:, index]])
        size = max(float(own.square().mean().sqrt()) * (math.sqrt(2) if not turns else 1), 1e-12)
        for name, pictures in (("image", read.modes.images), ("partner", read.modes.partners)):
            if name == "partner" and not turns:
                continue
            chosen = _part(display, pictures[:, index] / size)
            whole = [chosen.mean(dim=0, keepdim=True), chosen.square().mean(dim=0, keepdim=True).sqrt()]
            title = f"{read.modes.names[index]}" + (f", {name}" if turns else "")
            rows.append(ImageRow(title, torch.cat([*whole, chosen[:_SAMPLES]]), "differences", gap=0.0))
    samples = min(_SAMPLES, len(read.modes.images))
    return Images(
        "modes_pictures.png",
        rows,
        columns=["mean", "root mean\nsquare", *(f"row {number + 1}" for number in range(samples))],
        title="the modes themselves, over rows and of single rows; each in units of its root mean square",
        data_range=display.data_range,
        reach=2.5,
        scale="in units of the mode's\nroot mean square",
    )


def _clouds(subject: Subject, batch: Batch, read: ModeReading) -> PointStrips:
    """All paths at some moments: the teacher's states, the student's, and what each mode adds to them."""
    display, kept = subject.display, _moments(batch, _COLUMNS)
    u = batch.progress[kept].to(batch.states)
    parts = _unit(subject, read.modes.contributions(u), u)  # (N, B, M, *shape)
    shown = _part(display, parts)
    rows = {
        "teacher": display(_unit(subject, batch.states[kept], u).cpu()),
        "sum of the modes": display(parts.sum(dim=2).cpu()),
    }
    rows |= {label(read, index): shown[:, :, index] for index in range(shown.shape[2])}
    heads, title = [f"u = {float(one):.2f}" for one in u], "paths as sums of their modes"
    return PointStrips("modes.png", rows, heads, display(batch.data.cpu()), cells_of(subject), f"{title}; {_AT_SIZE}")


def _fields(subject: Subject, batch: Batch, read: ModeReading) -> Fields:
    """Image and partner of each mode over the noise in the plane."""
    arrows: dict[str, Tensor] = {}
    for index, name in enumerate(read.modes.names):
        own = {"image": read.modes.images[:, index].cpu(), "partner": read.modes.partners[:, index].cpu()}
        turns = bool(own["partner"].any())
        arrows |= {
            f"{name}, {which}" if turns else name: one for which, one in own.items() if turns or which == "image"
        }
    noise = (batch.states[0] / subject.student.facts.noise_scale).cpu()
    axes = ("noise x_T, first coordinate", "second coordinate")
    title = "the modes of each noise, as arrows in units of their root mean square"
    colours, cells = batch.data.cpu(), cells_of(subject)
    return Fields("modes_pictures.png", noise, arrows, colours, cells, columns=5, axes=axes, title=title)


def _along(read: ModeReading, missed: PathErrors | None) -> Curves:
    """How much of the states each mode is at every u; and what their sum misses of them."""
    panels: dict[str, Mapping[str, Line]] = {
        "size of each mode's part, over the states'": {
            name: (read.u.tolist(), sizes) for name, sizes in zip(read.modes.names, read.size.T.tolist(), strict=True)
        }
    }
    if missed is not None:
        u, ours = missed.u.tolist(), missed.unexplained.tolist()
        unexplained: dict[str, Line] = {"student": (u, ours)}
        if bool(missed.unseen.any()):
            never = [one if new else math.nan for one, new in zip(ours, missed.unseen.tolist(), strict=True)]
            unexplained["at times never trained on"] = (u, never)
        panels["unexplained share of the states"] = unexplained | {
            "standing still": (u, missed.standing_still.tolist())
        }
    return Curves(
        "modes_along.png",
        panels,
        across="u (0: noise, 1: data)",
        faint=("standing still",),
        rings=("at times never trained on",),
        title="the modes along the path, and what their sum misses of held-out states",
    )


def _profiles(read: ModeReading) -> Curves:
    """Radial spectra of the modes' pictures."""
    assert read.profile is not None
    at = radii(read.profile.shape[1]).tolist()
    lines = {name: (at, one.tolist()) for name, one in zip(read.modes.names, read.profile, strict=True)}
    return Curves(
        "modes_spectrum.png",
        {"share of each mode's power": lines},
        across="spatial frequency, cycles a pixel",
        title="how fine each mode's pictures are",
    )


def _rates_of_rows(read: ModeReading, class_labels: Tensor | None) -> Curves:
    """The rates of classes by number where they are classes'; else those of all rows from the lowest to the highest."""
    rates = {"growth rate": read.modes.growth_rates, "rotation rate, radians": read.modes.rotation_rates}
    labels = None if class_labels is None else class_labels.cpu()
    classes = torch.zeros(0) if labels is None else torch.unique(labels)
    by_class = labels is not None and all(
        bool((values[class_labels == one] == values[class_labels == one][:1]).all())
        for values in rates.values()
        for one in classes.to(values.device)
    )
    panels: dict[str, Mapping[str, Line]] = {}
    for head, values in rates.items():
        lines: dict[str, Line] = {}
        for index, name in enumerate(read.modes.names[1:], 1):
            own = values[:, index].float().cpu()
            if labels is not None and by_class:
                lines[name] = (classes.tolist(), [float(own[labels == one].mean()) for one in classes])
            else:
                order = torch.linspace(0, 1, 21)
                lines[name] = ((100 * order).tolist(), own.quantile(order).tolist())
        panels[head] = lines
    across = "class" if by_class else "per cent of the rows"
    return Curves(
        "modes_rates.png",
        panels,
        across=across,
        from_zero=False,
        joined=not by_class,
        title="the rates that rows have of their own",
    )


def captions_of(read: ModeReading, missed: PathErrors | None, shown: str, who: str) -> dict[str, Caption]:
    """Captions by file; ``who`` has the rates, where rows have their own."""
    fine = ""
    if read.frequency is not None and len(read.leading) == 1:
        (only,) = read.leading
        fine = f"The leading mode, {read.modes.names[only]}, has {float(read.frequency[only]):.3f} cycles a pixel on the mean."
    elif read.frequency is not None and read.leading:
        mean = {index: float(read.frequency[index]) for index in read.leading}
        least, most = min(mean, key=lambda index: mean[index]), max(mean, key=lambda index: mean[index])
        fine = (
            f"Of the leading modes {read.modes.names[least]} is the coarsest ({mean[least]:.3f} cycles a pixel on the mean) "
            f"and {read.modes.names[most]} the finest ({mean[most]:.3f})."
        )
    return {
        "modes.png": Caption(
            "From noise to data, mode by mode",
            "Below the states: what each mode adds to them at u. The rows add up to the path; drop one, and what is left is "
            f"exact.{shown}",
            rates_words(read),
        ),
        "modes_pictures.png": Caption(
            "The modes themselves",
            "As they stand at u = 0. A mode that rotates goes from its image to its partner in a quarter of its period.",
        ),
        "modes_along.png": Caption(
            "The modes along the path",
            "Left: how much of the state each mode's part is; parts may cancel. Right: what the sum misses of the teacher's "
            "states over what differs between rows; rings: times that training never saw; pale: the one-step sample taken for "
            "every state.",
            path_words(missed),
        ),
        "modes_spectrum.png": Caption(
            "How fine the modes are", "Share of the power of image and partner by spatial frequency.", fine
        ),
        "modes_rates.png": Caption(
            "Rates of their own", "The rates of classes, or of noises in order.", spread_words(read, who)
        ),
    }
