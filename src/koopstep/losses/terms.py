"""The terms of KDM's objective (Eqs. 4 to 9), one pure function each, over one lazily computed pass.

To add a term: a function of a :class:`Pass` here, a line in :data:`TERMS`, a weight in ``ObjectiveConfig``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from koopstep.core.records import Batch
from koopstep.losses.adversary import ADVERSARIES, Adversary
from koopstep.losses.distances import Distance, Towards
from koopstep.operators import penalties
from koopstep.students.student import KoopmanStudent, Latent


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
    """

    student: KoopmanStudent
    batch: Batch
    distance: Distance
    jitter: Tensor | None = None
    critic: nn.Module | None = None
    seed: int = 0
    spectral_target: str = "bound"
    adversary: Adversary = ADVERSARIES["nonsaturating"]

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


def reconstruction(run: Pass) -> Tensor:
    """KDM Eq. 5: ``d(x_0, D(E_0(x_0)))``."""
    return run.to_data(run.reconstructed)


def latent(run: Pass) -> Tensor:
    """KDM Eq. 6: mean squared difference of ``E_0(x_0)`` and ``C E_T(x_T)``."""
    pairs = zip(run.clean_data_latent, run.pushed, strict=True)
    return torch.stack([functional.mse_loss(pushed, target) for target, pushed in pairs]).mean()


def prediction(run: Pass) -> Tensor:
    """KDM Eq. 7: ``d(x_0, D(C E_T(x_T)))``."""
    return run.to_data(run.predicted)


def adversarial(run: Pass) -> Tensor:
    """KDM Eq. 8, the student's side of the game; only the student gets its gradient."""
    if run.critic is None:
        raise RuntimeError("the adversarial term needs a critic")
    labels, real = run.batch.class_labels, None
    if run.adversary.pairs:
        with torch.no_grad():
            real = run.critic(run.batch.data, labels)
    return run.adversary.student(run.critic(run.predicted, labels), real)


def spectral(run: Pass) -> Tensor:
    """A penalty on the operators' eigenvalues (KDM App. C, 'EL'); which one is ``spectral_target``."""
    total = []
    for operator in run.student.operators:
        real, imaginary = operator.controlled_eigenvalues()  # type: ignore[operator]
        if run.spectral_target == "uniform":
            total.append(penalties.uniform_target_penalty(real, imaginary, run.seed))
        elif run.spectral_target == "circle":
            total.append(penalties.unit_circle_penalty(real, imaginary))
        else:
            total.append(penalties.bound_penalty(real, imaginary))
    return torch.stack(total).mean()


def inverse_consistency(run: Pass) -> Tensor:
    """How far ``P_inv`` of a factorised operator is from the inverse of ``P`` (published code; not in the paper)."""
    parts = [operator.inverse_consistency() for operator in run.student.operators]  # type: ignore[operator]
    return torch.stack(parts).mean()


TERMS: dict[str, Callable[[Pass], Tensor]] = {
    "reconstruction": reconstruction,
    "latent": latent,
    "prediction": prediction,
    "adversarial": adversarial,
    "spectral": spectral,
    "inverse_consistency": inverse_consistency,
}
