"""One batch on its way through a student, computed piece by piece as the terms of an objective ask for it."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.losses.adversarial import ADVERSARIAL_LOSSES, AdversarialLoss
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.distances import Distance, Known, mse
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent


class RealRows(NamedTuple):
    """Rows the discriminator takes for real: (B, *shape), and their classes (B,) or None."""

    data: Tensor
    class_labels: Tensor | None

    def rows(self, few: slice) -> RealRows:
        """Some of them."""
        return RealRows(self.data[few], None if self.class_labels is None else self.class_labels[few])


class Judged(NamedTuple):
    """What the discriminator compares: generated rows (B, *shape), their classes, and what it takes for real beside them."""

    samples: Tensor
    class_labels: Tensor | None
    real: RealRows


class Point(NamedTuple):
    """A state of the path, another one in each row.

    Attributes:
        place: int64 (B,), among the kept states.
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
        config: the objective's settings.
        student: in training.
        batch: (B, ...) rows with both ends of the path.
        distance: ``d`` of Eqs. 5 and 7.
        discriminator: when the objective has an adversarial term.
        seed: of the spectral penalty's fixed random target.
        jitter: (2, B, d) standard normal numbers over all levels of the latent; times ``config.latent_noise`` they are the
            latent noise of the paper's Alg. 1 (line 3). None for none.
        draws: (B, 1 + points) uniform numbers that choose states within the path; None for terms of the ends only.
        real: what the discriminator takes for real; the teacher's samples when absent.
    """

    config: ObjectiveConfig
    student: KoopmanStudent
    batch: Batch
    _: KW_ONLY
    distance: Distance = mse
    discriminator: nn.Module | None = None
    seed: int = 0
    jitter: Tensor | None = None
    draws: Tensor | None = None
    real: RealRows | None = None
    known: Known = field(default_factory=dict, init=False, repr=False)

    @property
    def adversarial_loss(self) -> AdversarialLoss:
        """The game that student and discriminator play."""
        return ADVERSARIAL_LOSSES[self.config.adversarial_loss]

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

    def to_data(self, prediction: Tensor) -> Tensor:
        """The distance of ``prediction`` (B, *shape) to x_0; what it needs of x_0 is worked out once for all terms."""
        return self.distance(prediction, self.batch.data, self.known)

    def _jittered(self, latent: Latent, which: int) -> Latent:
        if self.jitter is None or not self.config.latent_noise:
            return latent
        scaled = self.jitter[which] * self.config.latent_noise
        shares = torch.split(scaled, [math.prod(level.shape[1:]) for level in latent], dim=1)
        return tuple(
            level + share.view(level.shape).to(level.dtype) for level, share in zip(latent, shares, strict=True)
        )

    @cached_property
    def within(self) -> Pass:
        """The rows that learn from states within the path: one in ``trajectory_every``, as a pass of their own."""
        every = self.config.trajectory_every
        if every == 1:
            return self
        few = slice(None, None, every)
        return replace(
            self,
            config=self.config.model_copy(update={"trajectory_every": 1}),
            batch=self.batch[few],
            jitter=None if self.jitter is None else self.jitter[:, few],
            draws=None if self.draws is None else self.draws[few],
            real=None if self.real is None else self.real.rows(few),
        )

    @property
    def judged(self) -> Judged:
        """What the discriminator compares: the one-step samples."""
        return Judged(self.predicted, self.batch.class_labels, self._taken_for_real)

    @property
    def judged_within(self) -> Judged:
        """The same for samples that start within the path: of every row at the first of its points."""
        run = self.within
        return Judged(run.ends[0], run.batch.class_labels, run._taken_for_real)

    @property
    def _taken_for_real(self) -> RealRows:
        """Real rows where they were given, else the teacher's for the same noise."""
        return self.real or RealRows(self.batch.data, self.batch.class_labels)

    @cached_property
    def learned(self) -> Tensor:
        """Indices, int64, of the kept states that terms learn from: all but those held out; both ends among them."""
        kept = len(self.batch.states)
        left_out = self.config.held_out(kept)
        return torch.tensor([k for k in range(kept) if k not in left_out], device=self.batch.states.device)

    @property
    def inner(self) -> Tensor:
        """Those of :attr:`learned` within the path.

        Raises:
            UsageError: if the paths have no states between their ends.
        """
        if len(self.batch.states) < 3:
            raise UsageError(
                "this objective learns from states within the path, and the store keeps its ends only; "
                "collect with --keep all, or --keep 5 for five of them"
            )
        return self.learned[1:-1]

    @cached_property
    def points(self) -> list[Point]:
        """Encoded states within the path, chosen evenly among those that were kept (HKD Alg. 1).

        Raises:
            UsageError: if the paths have no states between their ends.
        """
        draws, inner = self._drawn(), self.inner
        return [self.point(inner[(draws[:, column] * len(inner)).long()]) for column in range(1, draws.shape[1])]

    @property
    def from_end(self) -> int:
        """How many of the rows, the first ones, :attr:`start` at the end of their path."""
        return math.ceil(self.config.states_from_end * len(self.batch))

    @cached_property
    def start(self) -> Point:
        """For each row a state behind the noise: of the first ones the end, of the others one within the path."""
        inner = self.inner
        place = inner[(self._drawn()[:, 1] * len(inner)).long()]
        place[: self.from_end] = self.learned[-1]
        return self.point(place)

    @cached_property
    def earlier(self) -> Point:
        """For each row of the first of :attr:`points` a state before it, which may be the noise."""
        before = torch.searchsorted(self.learned, self.points[0].place)  # so many learned states are before it
        return self.point(self.learned[(self._drawn()[:, 0] * before).long()])

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
        if self.draws is None:
            raise UsageError(
                "terms within the path need draws: (B, 1 + objective.trajectory_points) uniform numbers that choose the states"
            )
        return self.draws
