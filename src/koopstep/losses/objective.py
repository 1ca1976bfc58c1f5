"""The objective: which terms, with which weights, over which distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from koopstep.core.config import Config
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.losses.distances import DISTANCES, Distance
from koopstep.losses.terms import TERMS, Pass
from koopstep.students.student import KoopmanStudent


class ObjectiveConfig(Config):
    """Weights of KDM Eqs. 4 to 9 (0 leaves a term out and does not compute it), and the distance of Eqs. 5 and 7.

    ``latent_noise`` is the standard deviation of what is added to both latents in training (the paper's 0.4).
    """

    reconstruction: float = 1.0
    latent: float = 1.0
    prediction: float = 1.0
    adversarial: float = 0.0
    spectral: float = 0.0
    inverse_consistency: float = 0.0
    distance: Literal["mse", "pseudo-huber", "perceptual"] = "mse"
    spectral_target: Literal["uniform", "circle", "bound"] = "bound"
    latent_noise: float = 0.0

    def weights(self) -> dict[str, float]:
        """Name -> weight of the terms that are switched on."""
        every = {name: float(getattr(self, name)) for name in TERMS}
        return {name: weight for name, weight in every.items() if weight}


@dataclass(frozen=True)
class Objective:
    """A ready objective; ``distance`` is resolved, ``critic`` present when the adversarial term is on."""

    config: ObjectiveConfig
    distance: Distance
    critic: nn.Module | None = None

    def run(self, student: KoopmanStudent, batch: Batch, seed: int, jitter: Tensor | None = None) -> Pass:
        """Send ``batch`` through ``student`` (lazily). ``jitter`` (2, B, d) is standard normal."""
        scaled = None if jitter is None or not self.config.latent_noise else jitter * self.config.latent_noise
        return Pass(student, batch, self.distance, scaled, self.critic, seed, self.config.spectral_target)

    def terms(self, run: Pass) -> dict[str, Tensor]:
        """Unweighted value of every term that is switched on."""
        return {name: TERMS[name](run) for name in self.config.weights()}

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum (KDM Eq. 9)."""
        weights = self.config.weights()
        return torch.stack([weights[name] * value for name, value in terms.items()]).sum()


def build_objective(
    config: ObjectiveConfig, critic: nn.Module | None = None, perceptual: Distance | None = None
) -> Objective:
    """Resolve the distance and check that everything the weights ask for is there.

    Args:
        config: the weights.
        critic: the discriminator, needed when ``adversarial`` > 0.
        perceptual: the distance called ``perceptual``.

    Raises:
        UsageError: if no term is on, a weight is negative, or something needed is missing.
    """
    weights = {name: float(getattr(config, name)) for name in TERMS}
    for name, weight in weights.items():
        if weight < 0:
            raise UsageError(f"objective.{name} is a weight and must not be negative, got {weight}")
    if not config.weights():
        raise UsageError("the objective has no term: give at least one weight above 0")
    if config.adversarial and critic is None:
        raise UsageError("objective.adversarial is above 0, but no discriminator was given")
    if config.distance == "perceptual":
        if perceptual is None:
            raise UsageError("objective.distance is 'perceptual', but no perceptual distance was given; use mse")
        return Objective(config, perceptual, critic)
    return Objective(config, DISTANCES[config.distance], critic)
