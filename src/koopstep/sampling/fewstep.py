"""More steps than one: a student that knows the whole path can start again within it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian, stream_seed
from koopstep.students.student import KoopmanStudent

Between = Literal["noise", "path"]


@dataclass(frozen=True)
class Stepping:
    """How a sample is made.

    Attributes:
        steps: network evaluations; the first at the noise, the others at progress spread over those that were trained.
        between: what leads from one to the next. ``noise``: the sample is made noisy again, less each time, with fresh
            noise (Consistency Models, arXiv 2303.01469, Algorithm 1): what a step got wrong does not add up, and the
            sample leaves the path of its noise. ``path``: the next state is read out of the latent and
            lifted again, along one path; for students whose decoder is conditioned on its target.
        seed: of the fresh noise.

    Raises:
        UsageError: if ``steps`` < 1.
    """

    steps: int = 1
    between: Between = "noise"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"steps must be at least 1, got {self.steps}")


ONE_STEP = Stepping()


def generate_in_steps(
    student: KoopmanStudent,
    noise: Tensor,
    class_labels: Tensor | None = None,
    *,
    stepping: Stepping = ONE_STEP,
    rows: range | None = None,
) -> Tensor:
    """Unit-variance ``noise`` (B, *shape) -> data (B, *shape) by ``stepping.steps`` network evaluations each.

    ``rows`` are the samples' numbers, of which (with the seed) their fresh noise is a function; 0 to B - 1 when absent.

    Raises:
        UsageError: above one step, if the student knows the two ends of the path only, or cannot read within it.
    """
    if stepping.steps == 1:
        return student.generate(noise, class_labels)
    path, progress = student.codec.schedule(), progress_within(student, stepping.steps)
    if stepping.between == "path":
        return _along_the_path(student, noise, class_labels, progress)
    numbers = rows or range(len(noise))
    data = student.generate(noise, class_labels)
    for step, (u, level) in enumerate(zip(progress, path.levels_at(progress), strict=True), start=1):
        fresh = gaussian(stream_seed("step", stepping.seed, step), numbers, student.facts.shape).to(data)
        data = to_end(student, path.noisy(data, fresh, level), u, class_labels)
    return data


def progress_within(student: KoopmanStudent, steps: int) -> list[float]:
    """Where the ``steps - 1`` later evaluations start: spread over the states that the student learned from.

    Between those it was never asked, and can be far off.

    Raises:
        UsageError: if it learned from fewer.
    """
    known = student.facts.learned[1:-1]
    if steps - 1 > len(known):
        raise UsageError(
            f"this student learned from {len(known)} states within the path, so it takes at most {len(known) + 1} steps, "
            f"not {steps}; train it on a store collected with a larger --keep"
        )
    return [known[round(step * (len(known) + 1) / steps) - 1] for step in range(1, steps)]


def _along_the_path(
    student: KoopmanStudent, noise: Tensor, class_labels: Tensor | None, progress: Sequence[float]
) -> Tensor:
    if not student.codec.reads_path:
        raise UsageError(
            "this student's decoder was made for the end of the path; steps along it need one conditioned on its target "
            "(--method hkd+, or student.decoder_condition=target); or take --between noise"
        )
    state = noise * student.facts.noise_scale
    for start, end in pairwise([0.0, *progress, 1.0]):
        moved = student.evolve(student.encode(state, start, class_labels), end - start, class_labels)
        state = student.decode(moved, end, class_labels)
    return state


def to_end(student: KoopmanStudent, state: Tensor, u: float, class_labels: Tensor | None = None) -> Tensor:
    """The data (B, *shape) that the path through ``state`` (B, *shape) at progress ``u`` ends in, by one evaluation."""
    latent = student.encode(state, u, class_labels)
    return student.decode(student.evolve(latent, 1 - u, class_labels), 1.0, class_labels)
