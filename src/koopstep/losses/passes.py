"""One batch on its way through a student, computed piece by piece as the terms of an objective ask for it."""

from __future__ import annotations

from dataclasses import dataclass
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

    @cached_property
    def noise_latent(self) -> Latent:
        """E_T(x_T), jittered."""
        return self._shaken(self.student.encode(self.batch.states[0], 0.0, self.batch.class_labels), 0)

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
        return self.student.decode(self._shaken(self.clean_data_latent, 1), 1.0, self.batch.class_labels)

    @cached_property
    def to_data(self) -> Towards:
        """The distance to x_0; what it needs of x_0 is worked out once for all terms."""
        return self.distance(self.batch.data)

    def _shaken(self, latent: Latent, which: int) -> Latent:
        if self.jitter is None:
            return latent
        return (latent[0] + self.jitter[which].to(latent[0].dtype), *latent[1:])

    @property
    def taken_for_real(self) -> Genuine:
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
