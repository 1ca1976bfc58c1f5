"""The settings of an objective: weights of its terms, and what these need."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from koopstep.core.config import Added, Config
from koopstep.nets.discriminators import DiscriminatorName

FeatureNetName = Literal["squeeze", "vgg", "alex"]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
OWN_WEIGHTS: dict[str, float] = {}
"""Registered term -> the weight it has where a recipe names it without one."""


class ObjectiveConfig(Config):
    """Weights of the terms (0 leaves a term out and does not compute it), the distance of Eqs. 5 and 7, the game.

    Attributes:
        reconstruction, latent, prediction, adversarial, adversarial_within, spectral, inverse_consistency: the weights.
        trajectory, intermediate, linearity, generator: weights of the terms within the path (``losses.trajectory``).
        linearity_scale: what the errors of ``linearity`` and ``generator`` are relative to: the target's own size, ``state``
            (version 0.1), or its ``spread`` between rows at the same state of the path, which leaves out what is the same
            for all of them.
        states, states_within: weights of the states on the way (``losses.states``).
        inversion: weight of coming back to the data by way of its noise, of rows that start there (``losses.states``).
        sparsity, apart: weights of what keeps modes few, and their rates apart.
        states_power: a state at u has the weight ``u^states_power`` in ``states``: 0 is even, more looks at the end.
        states_from_end: in this share of the rows ``states_within`` starts at the data, in the others within the path.
        states_held_out: kept states within the path, evenly spread, that no term learns from: they tell, after the training,
            how well the path is known between the others. Of paths that keep few, at least one is learned from.
        terms: weights of registered terms by name (:func:`~koopstep.register_term`); or names alone, for their usual weights.
        trajectory_points: states within the path that each row learns from in a step (HKD: 4, besides the noise).
        trajectory_every: of so many rows one learns from states within the path (HKD: all): the others cost less.
        distance: ``perceptual`` is LPIPS, as published for images.
        perceptual_net: the network LPIPS looks through; its weights are found by path.
        pixel: weight of the mean squared error over pixels beside LPIPS; 0 as KDM was published.
        pixel_fade: that weight falls over the training to ``10^-pixel_fade`` of itself (HKD: 3, from 1).
        adversarial_loss: the game (``losses.adversarial``); the paper's is ``nonsaturating``.
        discriminator_data: what the discriminator takes for real: the ``teacher``'s samples (the paper), or ``real`` ones.
        discriminator: the discriminator (``nets.discriminators``); the paper's four convolutions are ``conv``.
        discriminator_net: the network whose features the discriminator ``features`` judges.
        r1, r2: weights of the discriminator's gradient penalties on real and generated rows.
        spectral_target: where the eigenvalues are drawn to.
        latent_noise: standard deviation of what is added to both latents in training (the paper's 0.4).
    """

    reconstruction: Weight = 1.0
    latent: Weight = 1.0
    prediction: Weight = 1.0
    adversarial: Weight = 0.0
    adversarial_within: Weight = 0.0
    spectral: Weight = 0.0
    inverse_consistency: Weight = 0.0
    trajectory: Weight = 0.0
    intermediate: Weight = 0.0
    linearity: Weight = 0.0
    generator: Weight = 0.0
    linearity_scale: Annotated[Literal["state", "spread"], Added()] = "state"
    states: Annotated[Weight, Added()] = 0.0
    states_within: Annotated[Weight, Added()] = 0.0
    inversion: Annotated[Weight, Added()] = 0.0
    sparsity: Annotated[Weight, Added()] = 0.0
    apart: Annotated[Weight, Added()] = 0.0
    states_power: Annotated[float, Field(ge=0, allow_inf_nan=False), Added()] = 0.0
    states_from_end: Annotated[float, Field(ge=0, le=1), Added()] = 0.0
    states_held_out: Annotated[int, Field(ge=0), Added()] = 0
    terms: Annotated[dict[str, Weight], Added()] = Field(default={})
    trajectory_points: int = Field(default=4, ge=1)
    trajectory_every: int = Field(default=1, ge=1)
    distance: Literal["mse", "pseudo-huber", "perceptual"] = "mse"
    perceptual_net: FeatureNetName = "vgg"
    pixel: Weight = 0.0
    pixel_fade: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    adversarial_loss: Literal["nonsaturating", "hinge", "relativistic"] = "nonsaturating"
    discriminator_data: Literal["teacher", "real"] = "teacher"
    discriminator: DiscriminatorName = "conv"
    discriminator_net: FeatureNetName = "squeeze"
    r1: Weight = 0.0
    r2: Weight = 0.0
    spectral_target: Literal["uniform", "circle", "bound"] = "bound"
    latent_noise: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @field_validator("terms", mode="before")
    @classmethod
    def _usual_weights(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
            value = {name: OWN_WEIGHTS.get(name, 1.0) for name in value}
        return {name: weight for name, weight in value.items() if weight != 0} if isinstance(value, dict) else value

    def held_out(self, kept: int) -> tuple[int, ...]:
        """Indices of the held-out states among ``kept`` ones."""
        inner = kept - 2
        count = min(self.states_held_out, max(inner - 1, 0))
        return tuple(round((place + 1) * (inner + 1) / (count + 1)) for place in range(count))

    @property
    def sees_data(self) -> bool:
        """Whether a term encodes the end of the path."""
        from_end = (self.states_within or self.inversion) and self.states_from_end
        return bool(self.reconstruction or self.latent or self.linearity or from_end)

    @property
    def encoding_terms(self) -> list[str]:
        """The terms that are on and encode other states than the noise."""
        names = ("states_within", "inversion", "trajectory", "intermediate", "linearity", "generator", "reconstruction")
        return [name for name in (*names, "latent") if self.weight(name)]

    def weight(self, name: str) -> float:
        """Of a term, built in or registered."""
        return float(self.terms[name] if name in self.terms else getattr(self, name, 0.0))
