"""The objective: which terms, with which weights, over which distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from koopstep.core.config import Config
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.losses.adversary import ADVERSARIES, critic_loss
from koopstep.losses.distances import DISTANCES, Distance, pointwise
from koopstep.losses.passes import Genuine
from koopstep.losses.perceptual import PerceptualNetwork, check_images, perceptual
from koopstep.losses.terms import TERMS, Pass
from koopstep.nets.discriminators import CriticName, build_discriminator
from koopstep.students.student import DataFacts, KoopmanStudent

FeatureNetName = Literal["squeeze", "vgg", "alex"]


class ObjectiveConfig(Config):
    """Weights of the terms (0 leaves a term out and does not compute it), the distance of Eqs. 5 and 7, the game.

    Attributes:
        reconstruction, latent, prediction, adversarial, adversarial_within, spectral, inverse_consistency: the weights.
        trajectory, intermediate, linearity, generator: weights of the terms within the path (``losses.trajectory``).
        trajectory_points: states within the path that each row learns from in a step (HKD: 4, besides the noise).
        trajectory_every: of so many rows one learns from states within the path (HKD: all): the others cost less.
        distance: ``perceptual`` is LPIPS, as published for images.
        perceptual_net: the network LPIPS looks through; its weights are found by path.
        pixel: weight of the mean squared error over pixels beside LPIPS; 0 as KDM was published.
        pixel_fade: that weight falls over the training to ``10^-pixel_fade`` of itself (HKD: 3, from 1).
        adversary: the game (``losses.adversary``); the paper's is ``nonsaturating``.
        adversary_data: what the discriminator takes for real: the ``teacher``'s samples (the paper), or ``real`` ones.
        critic: the discriminator (``nets.discriminators``); the paper's four convolutions are ``conv``.
        critic_net: the network whose features the critic ``features`` judges.
        r1, r2: weights of the critic's gradient penalties on real and generated rows.
        spectral_target: where the eigenvalues are drawn to.
        latent_noise: standard deviation of what is added to both latents in training (the paper's 0.4).
    """

    reconstruction: float = 1.0
    latent: float = 1.0
    prediction: float = 1.0
    adversarial: float = 0.0
    adversarial_within: float = 0.0
    spectral: float = 0.0
    inverse_consistency: float = 0.0
    trajectory: float = 0.0
    intermediate: float = 0.0
    linearity: float = 0.0
    generator: float = 0.0
    trajectory_points: int = Field(default=4, ge=1)
    trajectory_every: int = Field(default=1, ge=1)
    distance: Literal["mse", "pseudo-huber", "perceptual"] = "mse"
    perceptual_net: FeatureNetName = "vgg"
    pixel: float = 0.0
    pixel_fade: float = Field(default=0.0, ge=0)
    adversary: Literal["nonsaturating", "hinge", "relativistic"] = "nonsaturating"
    adversary_data: Literal["teacher", "real"] = "teacher"
    critic: CriticName = "conv"
    critic_net: FeatureNetName = "squeeze"
    r1: float = 0.0
    r2: float = 0.0
    spectral_target: Literal["uniform", "circle", "bound"] = "bound"
    latent_noise: float = 0.0

    def weights(self) -> dict[str, float]:
        """Name -> weight of the terms that are switched on."""
        every = {name: float(getattr(self, name)) for name in TERMS}
        return {name: weight for name, weight in every.items() if weight}

    @property
    def critical(self) -> bool:
        """Whether a term needs a discriminator."""
        return bool(self.adversarial or self.adversarial_within)

    @property
    def within(self) -> bool:
        """Whether a term learns from states within the path."""
        return bool(self.trajectory or self.adversarial_within or self.intermediate or self.linearity or self.generator)


@dataclass(frozen=True)
class Objective:
    """A ready objective; ``distance`` is resolved, ``critic`` present when the adversarial term is on.

    ``fading``, where there is one, gives the distance at a share of the training that is done.
    """

    config: ObjectiveConfig
    distance: Distance
    critic: nn.Module | None = None
    fading: Callable[[float], Distance] | None = None

    def run(
        self,
        student: KoopmanStudent,
        batch: Batch,
        seed: int,
        jitter: Tensor | None = None,
        *,
        draws: Tensor | None = None,
        done: float = 0.0,
        genuine: Genuine | None = None,
    ) -> Pass:
        """Send ``batch`` through ``student`` (lazily).

        Args:
            student: in training.
            batch: its rows.
            seed: of the spectral penalty's target.
            jitter: (2, B, d) standard normal.
            draws: (B, 1 + trajectory_points) uniform, for terms within the path.
            done: share of the training that is done, in [0, 1].
            genuine: real rows for the critic; else it gets the teacher's.
        """
        distance = self.distance if self.fading is None else self.fading(done)
        scaled = None if jitter is None or not self.config.latent_noise else jitter * self.config.latent_noise
        return Pass(
            student,
            batch,
            distance,
            scaled,
            self.critic,
            seed,
            self.config.spectral_target,
            ADVERSARIES[self.config.adversary],
            draws,
            genuine,
            every=self.config.trajectory_every,
        )

    def terms(self, run: Pass) -> dict[str, Tensor]:
        """Unweighted value of every term that is switched on."""
        return {name: TERMS[name](run) for name in self.config.weights()}

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum (KDM Eq. 9)."""
        weights = self.config.weights()
        return torch.stack([weights[name] * value for name, value in terms.items()]).sum()

    def critic_loss(self, run: Pass) -> Tensor | None:
        """What the discriminator minimises on the rows of ``run``; None without one. It gives the student no gradient."""
        if run.critic is None:
            return None
        sides = [run.judged] if self.config.adversarial else []
        sides += [run.judged_within] if self.config.adversarial_within else []
        losses = [
            critic_loss(
                run.critic,
                real,
                samples,
                labels,
                adversary=run.adversary,
                r1=self.config.r1,
                r2=self.config.r2,
                real_labels=real_labels,
            )
            for samples, labels, (real, real_labels) in sides
        ]
        return torch.stack(losses).mean()


def build_objective(
    config: ObjectiveConfig,
    critic: nn.Module | None = None,
    perceptual_distance: Distance | None = None,
    fading: Callable[[float], Distance] | None = None,
) -> Objective:
    """Resolve the distance and check that everything the weights ask for is there.

    Args:
        config: the weights.
        critic: the discriminator, needed when ``adversarial`` > 0.
        perceptual_distance: the distance called ``perceptual``.
        fading: the same at a share of the training that is done, where it changes.

    Raises:
        UsageError: if no term is on, a weight is negative or without its term, or something needed is missing.
    """
    for name in (*TERMS, "pixel", "r1", "r2"):
        weight = float(getattr(config, name))
        if weight < 0:
            raise UsageError(f"objective.{name} is a weight and must not be negative, got {weight}")
    if not config.weights():
        raise UsageError("the objective has no term: give at least one weight above 0")
    if config.critical and critic is None:
        raise UsageError("objective.adversarial is above 0, but no discriminator was given")
    if (config.r1 or config.r2) and not config.critical:
        raise UsageError("objective.r1 and r2 are penalties on a discriminator; set objective.adversarial above 0")
    if config.pixel_fade and not config.pixel:
        raise UsageError("objective.pixel_fade lowers objective.pixel over the training; set that above 0")
    if config.pixel and config.distance != "perceptual":
        raise UsageError(
            f"objective.pixel is added to the distance 'perceptual', not to {config.distance!r}; set it to 0"
        )
    if config.distance == "perceptual":
        if perceptual_distance is None:
            raise UsageError("objective.distance is 'perceptual', but no perceptual distance was given; use mse")
        return Objective(config, perceptual_distance, critic, fading)
    return Objective(config, pointwise(DISTANCES[config.distance]), critic)


def objective_for(
    config: ObjectiveConfig,
    facts: DataFacts,
    device: torch.device,
    find_network: Callable[[FeatureNetName], PerceptualNetwork],
) -> Objective:
    """The objective for data of ``facts`` with everything it needs: its discriminator, its feature networks, on ``device``.

    ``find_network`` gives a frozen network by name, on the CPU; it is asked once a name, and only for what is used.

    Raises:
        UsageError: as :func:`build_objective`; or if a network's weights are missing, or it cannot look at this data.
    """
    find = cache(find_network)
    critic = distance = fading = None
    if config.critical:
        network = None
        if config.critic == "features":
            network = find(config.critic_net)
            check_images(network, facts.shape, torch.device("cpu"), "the critic 'features'")
        critic = build_discriminator(facts.shape, facts.num_classes, config.critic, network).to(device)
        if network is not None:
            network.to(device)
    if config.distance == "perceptual":
        seen = find(config.perceptual_net)
        seen.to(device)
        check_images(seen, facts.shape, device, "the distance 'perceptual'")
        distance = perceptual(seen, config.pixel)
        if config.pixel_fade:
            fading = partial(_faded, seen, config)
    return build_objective(config, critic, distance, fading)


def _faded(network: PerceptualNetwork, config: ObjectiveConfig, done: float) -> Distance:
    """HKD App. D.4: ``LPIPS + 10^(-3 done) MSE``."""
    return perceptual(network, config.pixel * 10 ** (-config.pixel_fade * done))
