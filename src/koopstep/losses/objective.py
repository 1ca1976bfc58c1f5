"""The objective: which terms, with which weights, over which distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.core.pixels import PLAIN
from koopstep.core.records import Batch
from koopstep.losses.adversarial import discriminator_loss
from koopstep.losses.config import FeatureNetName, ObjectiveConfig
from koopstep.losses.distances import DISTANCES, Distance
from koopstep.losses.passes import Pass, RealRows
from koopstep.losses.perceptual import InRange, PerceptualNetwork, check_images, perceptual
from koopstep.losses.terms import chosen
from koopstep.nets.discriminators import build_discriminator
from koopstep.students.student import DataFacts, KoopmanStudent


@dataclass(frozen=True)
class Objective:
    """A ready objective.

    Attributes:
        config: its settings.
        discriminator: present where a term judges samples.
        network: present where the distance is ``perceptual``; LPIPS looks through it.
    """

    config: ObjectiveConfig
    discriminator: nn.Module | None = None
    network: PerceptualNetwork | None = None

    @property
    def within(self) -> bool:
        """Whether a term learns from states within the path."""
        return any(term.within for term in chosen(self.config).values())

    def run(
        self,
        student: KoopmanStudent,
        batch: Batch,
        seed: int,
        jitter: Tensor | None = None,
        *,
        draws: Tensor | None = None,
        done: float = 0.0,
        real: RealRows | None = None,
    ) -> Pass:
        """Send ``batch`` through ``student`` (lazily).

        Args:
            student: in training.
            batch: its rows.
            seed: of the spectral penalty's target.
            jitter: (2, B, d) standard normal, d over all levels of the latent.
            draws: (B, 1 + trajectory_points) uniform, for terms within the path.
            done: share of the training that is done, in [0, 1].
            real: real rows for the discriminator; else it gets the teacher's.
        """
        return Pass(
            self.config,
            student,
            batch,
            distance=self.distance(done),
            discriminator=self.discriminator,
            seed=seed,
            jitter=jitter,
            draws=draws,
            real=real,
        )

    def distance(self, done: float = 0.0) -> Distance:
        """``d`` of Eqs. 5 and 7 when a share ``done`` of the training is done (HKD App. D.4: ``LPIPS + 10^(-3 done) MSE``)."""
        if self.network is None:
            return DISTANCES[self.config.distance]
        return perceptual(self.network, self.config.pixel * 10 ** (-self.config.pixel_fade * done))

    def terms(self, run: Pass) -> dict[str, Tensor]:
        """Unweighted value of every term that is switched on."""
        return {name: term.value(run) for name, term in chosen(self.config).items()}

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum (KDM Eq. 9)."""
        return torch.stack([self.config.weight(name) * value for name, value in terms.items()]).sum()

    def discriminator_loss(self, run: Pass) -> Tensor | None:
        """What the discriminator minimises on the rows of ``run``; None without one. It gives the student no gradient."""
        if run.discriminator is None:
            return None
        sides = [term.judged(run) for term in chosen(self.config).values() if term.judged]
        losses = [
            discriminator_loss(
                run.discriminator,
                real,
                samples,
                labels,
                adversarial_loss=run.adversarial_loss,
                r1=self.config.r1,
                r2=self.config.r2,
                real_labels=real_labels,
            )
            for samples, labels, (real, real_labels) in sides
        ]
        return torch.stack(losses).mean()


def build_objective(
    config: ObjectiveConfig, discriminator: nn.Module | None = None, network: PerceptualNetwork | None = None
) -> Objective:
    """Check that the settings fit together and that everything they ask for is there.

    Args:
        config: the settings.
        discriminator: needed when ``adversarial`` or ``adversarial_within`` is above 0.
        network: what the distance ``perceptual`` looks through; left alone by others.

    Raises:
        UsageError: if no term is on, a weight is without its term, or something needed is missing.
    """
    if not chosen(config):
        raise UsageError("the objective has no term: give at least one weight above 0")
    if _judges(config) and discriminator is None:
        raise UsageError("objective.adversarial is above 0, but no discriminator was given")
    if (config.r1 or config.r2) and not _judges(config):
        raise UsageError("objective.r1 and r2 are penalties on a discriminator; set objective.adversarial above 0")
    if config.generator and config.states_held_out:
        raise UsageError(
            "objective.generator compares neighbouring states, of which objective.states_held_out leaves some out; set one of "
            "them to 0"
        )
    if config.inversion and not config.states_from_end:
        raise UsageError("objective.inversion is of rows that start at the data; set objective.states_from_end above 0")
    if config.states_power and not config.states:
        raise UsageError("objective.states_power weighs the states of objective.states; set that above 0")
    if config.pixel_fade and not config.pixel:
        raise UsageError("objective.pixel_fade lowers objective.pixel over the training; set that above 0")
    if config.distance != "perceptual":
        if config.pixel:
            raise UsageError(
                f"objective.pixel is added to the distance 'perceptual', not to {config.distance!r}; set it to 0"
            )
        return Objective(config, discriminator)
    if network is None:
        raise UsageError("objective.distance is 'perceptual', but no network to look through was given; use mse")
    return Objective(config, discriminator, network)


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
    find = cache(lambda name: _in_range_of(facts, find_network(name)))
    discriminator = network = None
    if _judges(config):
        seen = None
        if config.discriminator == "features":
            seen = find(config.discriminator_net)
            check_images(seen, facts, torch.device("cpu"), "the discriminator 'features'")
        discriminator = build_discriminator(facts.shape, facts.num_classes, config.discriminator, seen).to(device)
        if seen is not None:
            seen.to(device)
    if config.distance == "perceptual":
        network = find(config.perceptual_net)
        network.to(device)
        check_images(network, facts, device, "the distance 'perceptual'")
        low, high = facts.shown_range
        config = config.model_copy(update={"pixel": config.pixel * (2 / (high - low)) ** 2})  # as of images in [-1, 1]
    return build_objective(config, discriminator, network)


def _in_range_of(facts: DataFacts, network: PerceptualNetwork) -> PerceptualNetwork:
    if facts.data_range is None or facts.data_range == PLAIN:
        return network
    return InRange(network, facts.data_range)


def _judges(config: ObjectiveConfig) -> bool:
    """Whether a term needs a discriminator."""
    return any(term.judged for term in chosen(config).values())
