"""The figures of a report: noise beside what becomes of it, and every analysis and edit of this very student."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from koopstep.analysis.display import Display, display_of
from koopstep.analysis.outcomes import outcomes, quadrants
from koopstep.analysis.pairs import even_rows, pairs_view
from koopstep.analysis.subject import HeldOut
from koopstep.core.errors import KoopstepError
from koopstep.core.job import Job
from koopstep.core.noise import gaussian
from koopstep.core.pixels import DataRange
from koopstep.figures.draw import draw
from koopstep.figures.html import Part, Picture, number
from koopstep.figures.html_links import ImageLinks, PointLinks
from koopstep.figures.images import pixels
from koopstep.figures.lines import loss_curves
from koopstep.figures.style import colours_of
from koopstep.runs.findings import Captions, lacks_teacher, read_captions, write_findings
from koopstep.runs.folder import read_metrics
from koopstep.runs.subject import RunSubject
from koopstep.sampling.onestep import generate_in_batches, sampling_labels
from koopstep.students.student import DataFacts
from koopstep.workflows.analyses import ANALYSES, Entry
from koopstep.workflows.analyze import require

_POINTS, _IMAGES, _LARGE_IMAGES, _LARGE = 500, 36, 24, 48
_MOST_SIDE = 128
_PAIRS = 40
SECONDS = 15.0
"""What a report takes for analyses that were not made yet."""


def links(subject: RunSubject, held_out: HeldOut | None, finding: str) -> PointLinks | ImageLinks:
    """Some noise, and what teacher and student make of it; without held-out rows what the student makes of fresh noise."""
    facts = subject.student.facts
    count = _POINTS if len(facts.shape) != 3 else _IMAGES if max(facts.shape[1:]) <= _LARGE else _LARGE_IMAGES
    if held_out is None:
        noise = gaussian(0, range(count), facts.shape)
        labels = sampling_labels(facts.num_classes, 0, count, None)
        sets = {"student": torch.cat(list(generate_in_batches(subject.student, noise, labels)))}
    else:
        batch = held_out.batch
        rows = (
            even_rows(batch.class_labels, len(batch), count)
            if len(facts.shape) == 3
            else torch.arange(len(batch))[:count]
        )
        noise, labels = batch.noise[rows], None if batch.class_labels is None else batch.class_labels[rows]
        sets = {"teacher": batch.data[rows], "student": held_out.samples[rows]}
    heads = _heads(
        held_out, 0 if held_out is None else subject.compared.store.manifest.teacher.num_function_evaluations
    )
    display = subject.display if held_out is not None else display_of(facts, sets["student"])
    if display.kind == "images":
        return _image_links(display, facts, noise, labels, sets, heads, finding)
    return _point_links(subject, display, held_out, noise, sets, heads, finding)


def _heads(held_out: HeldOut | None, evaluations: int) -> dict[str, str]:
    """The panels' headings, each with what explains it."""
    many = f"{evaluations} network evaluations" if evaluations else "many network evaluations"
    start = "what both start from" if held_out is not None else "what it starts from"
    return {"noise": f"noise x_T\n{start}", "teacher": f"teacher\n{many}", "student": "student\n1 network evaluation"}


def _image_links(
    display: Display,
    facts: DataFacts,
    noise: Tensor,
    labels: Tensor | None,
    sets: Mapping[str, Tensor],
    heads: Mapping[str, str],
    finding: str,
) -> ImageLinks:
    every = -(-max(facts.shape[1:]) // _MOST_SIDE)  # of large images every second pixel, or third, ...
    text = f"Shown: {display.note}." if display.note else ""
    if not text and not facts.is_image:
        text = "These samples are no images; black and white are two standard deviations either way."
    if every > 1:
        text += f" Of {every} x {every} pixels one is shown."

    def shown(data: Tensor, data_range: DataRange) -> np.ndarray:
        return pixels(display(data[..., ::every, ::every]), data_range)

    panels = {heads["noise"]: shown(noise, display.data_range if display.note else (-2.5, 2.5))}
    panels |= {heads[name]: shown(data, display.data_range) for name, data in sets.items()}
    names = () if labels is None else tuple(str(int(label)) for label in labels)
    return ImageLinks(panels, finding, text, names)


def _point_links(
    subject: RunSubject,
    display: Display,
    held_out: HeldOut | None,
    noise: Tensor,
    sets: Mapping[str, Tensor],
    heads: Mapping[str, str],
    finding: str,
) -> PointLinks:
    facts, first = subject.student.facts, sets.get("teacher", sets["student"])
    shown = {name: display(rows) for name, rows in {"noise": noise, **sets}.items()}
    text = "Every point has the colour of where the teacher sends its noise."
    if facts.shape != (2,):
        text = (
            f"Samples have {first[0].numel()} numbers each; shown are the two directions in which the "
            f"{'teacher' if 'teacher' in sets else 'student'}'s differ most. A colour is a quadrant of that plane."
        )
    numbers, cells = quadrants(display(first)), None
    if held_out is not None and facts.shape == (2,):
        known = outcomes(subject)
        numbers, cells = known.teacher[: len(first)], known.cells
    squares = () if cells is None else cells.squares
    colours = [str(colour) for colour in colours_of(numbers, cells)]
    panels = {heads[name]: rows.double().cpu().numpy() for name, rows in shown.items()}
    return PointLinks(panels, colours, finding, text, squares)


def samples_part(subject: RunSubject, held_out: HeldOut, folder: Path) -> Part:
    """More held-out samples of the student beside the teacher's, where they are points or images."""
    teacher, student, facts = held_out.batch.data, held_out.samples, subject.student.facts
    errors = (facts.in_plain_range(student) - facts.in_plain_range(teacher)).square().flatten(1).mean(dim=1)
    finding = (
        f"Half of the {len(errors):,} held-out samples are less than {number(float(errors.median()))} from the teacher's (mean "
        f"squared error of one sample), nine of ten less than {number(float(errors[:100_000].quantile(0.9)))}."
    )
    display, picture = subject.display, draw(pairs_view(subject, _PAIRS), folder)
    if display.kind == "points":
        heading = "All held-out samples"
        text = "A point and its partner have one colour: that of the cell or quadrant where the teacher's lies."
    else:
        heading = "Teacher above, student below"
        text = "Each sample of the teacher and the student's below it come from the same noise."
    return Part("More samples", "", [Picture(picture, heading, finding, f"{text} {display.note}".strip())])


def losses_part(run: Path, folder: Path) -> Part:
    """The course of the training; without pictures where nothing was written down."""
    records = [row for row in read_metrics(run) if isinstance(row.get("step"), (int, float))]
    name = next((name for name in ("prediction", "trajectory", "total") if all(name in row for row in records)), None)
    if not records or name is None:
        return Part("The training", "", [])
    first, last = records[0], records[-1]
    finding = (
        f"The {name} loss went from {number(float(first[name]))} at step {first['step']:,} to {number(float(last[name]))} at "
        f"step {last['step']:,}."
    )
    path = loss_curves(folder / "losses.png", records)
    text = "Each term of the objective, before its weight, over the steps of the training."
    return Part("The training", "", [Picture(path, "Losses", finding, text)])


class Analyses:
    """The analyses and edits of a run: those that were made of this student, and those there is time for.

    Attributes:
        parts: with their pictures.
        leading: how many of the parts come before samples: the modes, where they are what the run is about.
        left_out: analysis -> why it is not on the page.
    """

    def __init__(self, subject: RunSubject, folder: Path, seconds_a_sample: float, job: Job) -> None:
        self.parts: list[Part] = []
        self.left_out: dict[str, str] = {}
        self._subject, self._folder, self._job = subject, folder, job
        self._seconds_a_sample, self._spent = seconds_a_sample, 0.0
        found: dict[str, Captions] = {}
        for name, entry in sorted(ANALYSES.items(), key=lambda one: one[1].passes):
            captions = self._kept(name) or self._made(name, entry)
            if captions is not None:
                found[name] = captions
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            captions = self._kept(path.name) if path.name not in ANALYSES else None
            if captions is not None:
                found[path.name] = captions
        order = [*ANALYSES, *(name for name in found if name not in ANALYSES)]
        self.parts = [part for name in order if name in found for part in self._part(name, found[name])]
        self.leading = sum(part.title == _TITLES["modes"] for part in self.parts[:1])

    def _kept(self, name: str) -> Captions | None:
        captions = read_captions(self._folder / name)
        if self._subject.given is not None and self._subject.teacher().value and lacks_teacher(self._folder / name):
            return None
        return captions if captions and captions.student_sha256 == self._subject.run.file.sha256 else None

    def _made(self, name: str, entry: Entry) -> Captions | None:
        """Make an analysis, if it fits and there is time."""
        try:
            require(entry, self._subject)
            estimate = entry.passes * self._seconds_a_sample * (len(self._subject.rows()) if entry.needs else 64)
            if self._spent + estimate > SECONDS:
                again = f"koopstep analyze {self._subject.run.folder} {name}"
                self.left_out[name] = (
                    f"it takes about {estimate:,.0f} s; make it with `{again}` and then the report again"
                )
                return None
            started = time.perf_counter()
            self._job.console.say(f"analysing: {name}")
            digest = self._subject.run.file.sha256
            write_findings(entry.find(self._subject), self._folder / name, student_sha256=digest)
            self._spent += time.perf_counter() - started
        except KoopstepError as error:  # damaged data too: the report goes without what it cannot show
            self.left_out[name] = str(error)
            return None
        return read_captions(self._folder / name)

    def _part(self, name: str, captions: Captions) -> Iterator[Part]:
        pictures = [
            Picture(self._folder / name / one.file, one.heading, one.finding, one.text) for one in captions.pictures
        ]
        if pictures:
            yield Part(_TITLES.get(name, name.capitalize()), captions.conclusion, pictures)


_TITLES = {
    "modes": "The path as a sum of modes",
    "spectrum": "The operator's spectrum",
    "verify": "Which eigenvalues are real?",
    "bands": "What each third of the modes does",
    "cumulative": "The modes along the path",
    "linearity": "Is the latent path straight?",
    "steps": "What more steps are worth",
    "trajectory": "The path",
    "inversion": "Back to the noise",
    "vicinity": "Noise moved a little",
    "outliers": "Samples that lie apart",
    "neighbours": "Does near noise end near?",
    "mix": "Edited: modes of another sample",
    "scale": "Edited: modes made stronger and weaker",
    "inpaint": "Edited: a part filled in",
    "colorize": "Edited: colours filled in",
    "superres": "Edited: details filled in",
}
