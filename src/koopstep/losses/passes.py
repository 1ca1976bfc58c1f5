"""One batch on its way through a student, computed piece by piece as the terms of an objective ask for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.losses.adversary import ADVERSARIES, Adversary
from koopstep.losses.distances import Distance, Towards
from koopstep.students.student import KoopmanStudent, Latent


class Genuine(NamedTuple):
    """Rows the critic takes for real: (B, *shape), and their classes (B,) or None."""

    data: Tensor
    class_labels: Tensor | None

    def rows(self, few: slice) -> Genuine:
        """Some of them."""
        return Genuine(self.data[few], None if self.class_labels is None else self.class_labels[few])


class Judged(NamedTuple):
    """What the critic compares: generated rows (B, *shape), their classes, and what it takes for real beside them."""

    samples: Tensor
    class_labels: Tensor | None
    real: Genuine


class Point(NamedTuple):
    """A state within the path, another one in each row.

    Attributes:
        place: int64 (B,), among the kept states; never an end.
        u: (B,), its progress.
        state: (B, *shape).
        latent: what the student's encoder makes of it.
    """

    place: Tensor
    u: Tensor
    state: Tensor
    latent: Latent


@dataclass(frozen=True)
class Pass:
    """One batch on its way through the student; each part is computed when a term first asks for it.

    Attributes:
        student: in training.
        batch: (B, ...) rows with both ends of the path.
        distance: ``d`` of Eqs. 5 and 7, as ``d(target)(prediction)``.
        jitter: standard normal numbers (2, B, d) times the latent noise of the paper's Alg. 1 (line 3); None for none.
        critic: the discriminator, when the objective has an adversarial term.
        seed: of the spectral penalty's fixed random target.
        spectral_target: ``uniform``, ``circle`` or ``bound``.
        adversary: the game that student and critic play.
        genuine: what the critic takes for real; the teacher's samples when absent.
        draws: (B, 1 + points) uniform numbers that choose states within the path; None for terms of the ends only.
        every: of so many rows one learns from states within the path.
    """

    student: KoopmanStudent
    batch: Batch
    distance: Distance
    jitter: Tensor | None = None
    critic: nn.Module | None = None
    seed: int = 0
    spectral_target: str = "bound"
    adversary: Adversary = ADVERSARIES["nonsaturating"]
    draws: Tensor | None = None
    genuine: Genuine | None = None
    every: int = 1

    @cached_property
    def noise_latent(self) -> Latent:
        """E_T(x_T), jittered."""
        return self._jittered(self.student.encode(self.batch.states[0], 0.0, self.batch.class_labels), 0)

    @cached_property
    def clean_data_latent(self) -> Latent:
        """E_0(x_0)."""
        return self.student.encode(self.batch.data, 1.0, self.batch.class_labels)

    @cached_property
    def pushed(self) -> Latent:
        """C E_T(x_T) (+ C_mu(c))."""
        return self.student.evolve(self.noise_latent, 1.0, self.batch.class_labels)

    @cached_property
    def predicted(self) -> Tensor:
        """D(C E_T(x_T)): the one-step sample."""
        return self.student.decode(self.pushed, 1.0, self.batch.class_labels)

    @cached_property
    def reconstructed(self) -> Tensor:
        """D(E_0(x_0))."""
        return self.student.decode(self._jittered(self.clean_data_latent, 1), 1.0, self.batch.class_labels)

    @cached_property
    def to_data(self) -> Towards:
        """The distance to x_0; what it needs of x_0 is worked out once for all terms."""
        return self.distance(self.batch.data)

    def _jittered(self, latent: Latent, which: int) -> Latent:
        if self.jitter is None:
            return latent
        shares = torch.split(self.jitter[which], [math.prod(level.shape[1:]) for level in latent], dim=1)
        return tuple(
            level + share.view(level.shape).to(level.dtype) for level, share in zip(latent, shares, strict=True)
        )

    @cached_property
    def within(self) -> Pass:
        """The rows that learn from states within the path: one in ``every``, as a pass of their own."""
        if self.every == 1:
            return self
        few = slice(None, None, self.every)
        return replace(
            self,
            every=1,
            batch=self.batch[few],
            jitter=None if self.jitter is None else self.jitter[:, few],
            draws=None if self.draws is None else self.draws[few],
            genuine=None if self.genuine is None else self.genuine.rows(few),
        )

    @property
    def judged(self) -> Judged:
        """What the critic compares: the one-step samples."""
        return Judged(self.predicted, self.batch.class_labels, self._taken_for_real)

    @property
    def judged_within(self) -> Judged:
        """The same for samples that start within the path: of every row at the first of its points."""
        run = self.within
        return Judged(run.ends[0], run.batch.class_labels, run._taken_for_real)

    @property
    def _taken_for_real(self) -> Genuine:
        """Real rows where they were given, else the teacher's for the same noise."""
        return self.genuine or Genuine(self.batch.data, self.batch.class_labels)

    @cached_property
    def points(self) -> list[Point]:
        """Encoded states within the path, chosen evenly among those that were kept (HKD Alg. 1).

        Raises:
            UsageError: if the paths have no states between their ends.
        """
        draws = self._drawn()
        inner = len(self.batch.states) - 2
        return [self.point(1 + (draws[:, column] * inner).long()) for column in range(1, draws.shape[1])]

    @cached_property
    def earlier(self) -> Point:
        """For each row of the first of :attr:`points` a state before it, which may be the noise."""
        return self.point((self._drawn()[:, 0] * self.points[0].place).long())

    @cached_property
    def ends(self) -> list[Tensor]:
        """D(e^{(1-u)A} E(x_u)) of :attr:`points`: where their paths end."""
        labels = self.batch.class_labels
        moved = [self.student.evolve(point.latent, 1 - point.u, labels) for point in self.points]
        return [self.student.decode(latent, 1.0, labels) for latent in moved]

    def point(self, place: Tensor) -> Point:
        """The kept states ``place`` (B,), encoded."""
        rows = torch.arange(len(self.batch), device=place.device)
        state, u = self.batch.states[place, rows], self.batch.progress[place]
        return Point(place, u, state, self.student.encode(state, u, self.batch.class_labels))

    def _drawn(self) -> Tensor:
        if len(self.batch.states) < 3:
            raise UsageError(
                "this objective learns from states within the path, and the store keeps its ends only; "
                "collect with --keep all, or --keep 5 for five of them"
            )
        if self.draws is None or self.draws.shape[1] < 2:
            raise UsageError(
                "this objective learns from states within the path; set objective.trajectory_points above 0"
            )
        return self.draws
