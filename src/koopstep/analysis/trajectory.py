"""A student's path as a film: the latent moved along to every u and decoded, beside the teacher's states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Findings, Movie
from koopstep.analysis.outcomes import cells_of
from koopstep.analysis.sets import how_shown, view_of_sets
from koopstep.analysis.subject import Subject
from koopstep.analysis.words import held_out_rows, percent, short
from koopstep.core.records import Batch
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

_DRAWN = 6  # pictures in the film
_FOLLOWS = 0.5  # of the distance of strangers: nearer than that is following


@dataclass(frozen=True)
class Film:
    """States at unit size: each over its standard deviation at u, times that of the data, so that noise can be seen.

    What a student that knows the end only decodes on the way has the data's size as it is.

    Attributes:
        u: (K,) of the strip.
        student: (K, N, *shape).
        teacher: (K, N, *shape), NaN where the store kept no state.
        times: (F,), u of the moving frames.
        frames: (F, D, *shape), the student's, of the first D rows.
        reads_path: whether the student reads states on the way; else each latent was decoded as if it were at the end.
        evaluations: of the student's networks, for all of its states together; None where each was decoded.
    """

    u: tuple[float, ...]
    student: Tensor
    teacher: Tensor
    times: tuple[float, ...]
    frames: Tensor
    reads_path: bool
    evaluations: int | None = None

    def beside(self) -> Tensor | None:
        """The teacher's last kept state at each moving frame (F, D, *shape); None where the store kept the ends only."""
        if bool(self.teacher.isnan().any()):
            return None
        last = [max(k for k, u in enumerate(self.u) if u <= time + 1e-6) for time in self.times]
        return self.teacher[last, : self.frames.shape[1]]

    def apart(self) -> tuple[float | None, float, float]:
        """Mean squared distance of the two at the middle of the path (None where unknown) and at its end; of strangers there.

        Strangers are the teacher's own ends of other noise: what a student that ignored its noise would score.
        """
        distances = self.summary()["distance_by_u"]
        others = float((self.teacher[-1] - self.teacher[-1].roll(1, dims=0)).square().mean())
        return distances[len(distances) // 2], distances[-1], others

    def summary(self) -> dict[str, Any]:
        """In plain numbers; ``distance_by_u`` is the mean squared distance of the two at unit size, None where unknown."""
        apart = (self.student - self.teacher).square().flatten(1).mean(dim=1).tolist()
        known = [None if value != value else value for value in apart]
        return {
            "rows": self.student.shape[1],
            "u": list(self.u),
            "reads_path": self.reads_path,
            "evaluations": self.evaluations,
            "distance_by_u": known if self.reads_path else [None] * (len(known) - 1) + known[-1:],
        }


@torch.no_grad()
def film(
    student: KoopmanStudent, batch: Batch, *, columns: int = 13, frames: int = 25, drawn: int | None = None
) -> Film:
    """Decode the student's path at the kept states, at most ``columns``, and at even frames; those of ``drawn`` rows alone.

    If the store kept the ends only, the path is read at 9 even u.

    Raises:
        UsageError: if the student knows the two ends of the path only.
    """
    student.codec.schedule()  # says so where a codec knows the ends only
    kept = [float(u) for u in batch.progress]
    shown = _thinned(len(kept), columns)
    u = [kept[index] for index in shown] if len(kept) > 2 else [index / 8 for index in range(9)]
    times = [index / (frames - 1) for index in range(frames)]
    teacher = torch.full((len(u), *batch.data.shape), torch.nan)
    for place, index in zip(range(len(u)) if len(kept) > 2 else (0, len(u) - 1), shown, strict=True):
        teacher[place] = _unit(student, batch.states[index], u[place]).cpu()
    labels = batch.class_labels
    start = student.encode(batch.states[0], 0.0, labels)
    few = tuple(level[:drawn] for level in start)
    return Film(
        tuple(u),
        _read(student, start, u, labels),
        teacher,
        tuple(times),
        _read(student, few, times, None if labels is None else labels[:drawn]),
        student.codec.reads_path,
        1 if student.codec.has_modes else None,
    )


def _read(student: KoopmanStudent, start: Latent, progress: Sequence[float], class_labels: Tensor | None) -> Tensor:
    """States (K, N, *shape) at unit size; of students that know the end only, latents decoded as if they were there."""
    if student.codec.reads_path:
        at = torch.tensor(progress, device=start[0].device)
        states = student.read(start, 0.0, at, class_labels)
        return torch.stack([_unit(student, state, u) for u, state in zip(progress, states, strict=True)]).cpu()
    moved = (student.evolve(start, u, class_labels) for u in progress)
    return torch.stack([student.decode(latent, 1.0, class_labels).cpu() for latent in moved])


def _unit(student: KoopmanStudent, state: Tensor, u: float) -> Tensor:
    """A state at ``u``, brought to the size of data."""
    size = student.codec.state_size(torch.full((1,), u, device=state.device))
    return state / float(size[0]) * student.facts.data_scale


def _thinned(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` states, evenly, both ends among them."""
    most = min(count, most)
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def beside_the_teacher(subject: Subject) -> Findings:
    """The student's straight path, read at every u, beside the teacher's stored states; a film strip and a film."""
    display, batch = subject.display, subject.rows()
    columns, drawn = (13, _DRAWN) if display.kind == "images" else (5, len(batch))
    found = film(subject.student, batch, columns=columns, drawn=drawn)
    title = (
        "states at unit size; the student's read at u"
        if found.reads_path
        else "the student's latents at u, decoded as if at the end; the teacher's states at unit size"
    )
    sentence, text = film_sentence(found), f"Each column is a moment of the path from x_T to x_0: {title}."
    middle, end, others = found.apart()
    numbers = {
        "distance to the teacher at the middle": "unknown" if middle is None else short(middle),
        "at the end": short(end),
        "between samples of other noise": short(others),
        "held-out rows": len(batch),
    }
    heads = [f"u = {u:.2f}" for u in found.u]
    sets: dict[str, Tensor] = {}
    if display.kind == "images":
        for row in range(min(3, len(batch))):
            sets |= {f"teacher {row + 1}": found.teacher[:, row], f"student {row + 1}": found.student[:, row]}
    else:
        for name, states in (("teacher", found.teacher), ("student", found.student)):
            sets |= {f"{name}, {head}": points for head, points in zip(heads, states, strict=True)}
    ends = batch.data.cpu()
    strip = view_of_sets(subject, "trajectory.png", sets, heads=heads, columns=len(heads), title=title, colours=ends)
    captions = {strip.file: Caption("The path, beside the teacher's", text + how_shown(subject), sentence)}
    return Findings(found.summary(), [strip, _movie(subject, found, ends[:drawn])], sentence, captions, numbers)


def _movie(subject: Subject, found: Film, ends: Tensor) -> Movie:
    cells, beside = cells_of(subject), found.beside()
    sets = [found.frames] if beside is None else [beside, found.frames]
    shown = [subject.display(frames) for frames in sets]
    outcomes = None if cells is None else cells.nearest(ends)
    return Movie("trajectory.gif", shown, subject.display.data_range, outcomes, cells)


def film_sentence(found: Film) -> str:
    """How far the student's path is from the teacher's, at its middle and its end."""
    middle, end, others = found.apart()
    follows = "follows" if end <= _FOLLOWS * others else "does not follow"
    text = (
        f"The student {follows} the teacher to its end: {short(end)} apart, {percent(end / max(others, 1e-30))} of what "
        f"samples of other noise are ({held_out_rows(found.student.shape[1])})"
    )
    if not found.reads_path:
        return f"{text}; it reads the end only, so what it shows on the way is no state of the teacher's."
    cost = " Every state of the film is from one evaluation of the network." if found.evaluations == 1 else ""
    if middle is None:
        return f"{text}; the store kept no states within the path to compare with.{cost}"
    return f"{text}; halfway its path is {short(middle)} from the teacher's.{cost}"
