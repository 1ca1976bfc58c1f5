"""The objective: weights, what is left out, and what is missing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.distances import mse, pseudo_huber
from koopstep.losses.objective import build_objective
from koopstep.losses.terms import TERMS, chosen
from koopstep.nets.discriminators import build_discriminator
from koopstep.nets.mlp import MLPConfig
from koopstep.operators.factorised import FactorisedConfig
from koopstep.students.kdm import FlatCodec, KDMConfig, build_kdm
from koopstep.students.student import DataFacts, KoopmanStudent

MLP = MLPConfig(width=5, depth=1, fourier=0)
OFF = {"reconstruction": 0.0, "latent": 0.0, "prediction": 0.0}

ENDS = [name for name, term in TERMS.items() if not term.within]
"""The terms that need no state within the path."""


def tiny() -> KoopmanStudent:
    torch.manual_seed(0)
    config = KDMConfig(encoder=MLP, decoder=MLP, operator=FactorisedConfig(), latent=4)
    return build_kdm(config, DataFacts(shape=(2,)))


def batch() -> Batch:
    states = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(1))
    return Batch(states[0], states, torch.tensor([0.0, 1.0]))


class Calls:
    """Counts how often each part of a student runs."""

    def __init__(self, student: KoopmanStudent) -> None:
        codec = student.codec
        assert isinstance(codec, FlatCodec)
        assert codec.data_encoder is not None
        self.counts = {"noise": 0, "data": 0, "decoder": 0}
        for name, part in (("noise", codec.noise_encoder), ("data", codec.data_encoder), ("decoder", codec.decoder)):
            part.register_forward_pre_hook(lambda *_, name=name: self.add(name))

    def add(self, name: str) -> None:
        self.counts[name] += 1

    def values(self) -> tuple[int, ...]:
        return tuple(self.counts.values())


@pytest.mark.parametrize(
    ("weights", "calls"),
    [
        ({"prediction": 1.0}, (1, 0, 1)),  # the control `direct`: no data encoder
        ({"reconstruction": 1.0}, (0, 1, 1)),
        ({"latent": 1.0}, (1, 1, 0)),
        ({"prediction": 1.0, "latent": 1.0}, (1, 1, 1)),
        ({"prediction": 1.0, "latent": 1.0, "reconstruction": 1.0, "adversarial": 1.0}, (1, 1, 2)),
        ({"spectral": 1.0, "inverse_consistency": 1.0}, (0, 0, 0)),
    ],
)
def test_only_what_is_weighted_is_computed_and_only_once(weights: dict[str, float], calls: tuple[int, ...]) -> None:
    student, discriminator = tiny(), build_discriminator((2,))
    counted = Calls(student)
    objective = build_objective(ObjectiveConfig(**(OFF | weights)), discriminator)
    terms = objective.terms(objective.run(student, batch(), 0))
    assert set(terms) == set(weights)
    objective.total(terms).backward()
    assert counted.values() == calls
    codec = student.codec
    assert isinstance(codec, FlatCodec)
    parts = (codec.noise_encoder, codec.data_encoder, codec.decoder)
    for part, count in zip(parts, calls, strict=True):
        assert all((parameter.grad is not None) == bool(count) for parameter in part.parameters())  # type: ignore[union-attr]


def test_the_total_is_the_weighted_sum() -> None:
    weights = {name: 0.1 * (index + 1) for index, name in enumerate(ENDS)}
    objective = build_objective(ObjectiveConfig(**weights), build_discriminator((2,)))
    terms = objective.terms(objective.run(tiny(), batch(), 0))
    assert list(terms) == list(ENDS)
    expected = sum(weights[name] * value for name, value in terms.items())
    torch.testing.assert_close(objective.total(terms), expected)


def test_every_term_has_a_weight() -> None:
    assert set(TERMS) <= set(ObjectiveConfig.model_fields)
    paper = ObjectiveConfig()
    assert set(chosen(paper)) == {"reconstruction", "latent", "prediction"}
    assert paper.reconstruction == paper.latent == paper.prediction == 1.0


def test_distances_by_name() -> None:
    class Eye:
        def features(self, x: Tensor) -> list[Tensor]:
            return [x]

        def compare(self, features_a: list[Tensor], features_b: list[Tensor]) -> Tensor:
            return (features_a[0] - features_b[0]).abs().mean(dim=1)

        def to(self, device: torch.device) -> None:
            raise AssertionError("it is where it should be")

    def absolute(prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).abs().mean()

    expected: dict[str, Any] = {"mse": mse, "pseudo-huber": pseudo_huber, "perceptual": absolute}
    student, rows = tiny(), batch()
    for name, distance in expected.items():
        settings = ObjectiveConfig(**(OFF | {"prediction": 1.0}), distance=name)  # type: ignore[arg-type]
        objective = build_objective(settings, network=Eye())
        run = objective.run(student, rows, 0)
        torch.testing.assert_close(objective.terms(run)["prediction"], distance(run.predicted, rows.data))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (OFF, "no term"),
        ({"adversarial": 0.01}, "no discriminator was given"),
        ({"distance": "perceptual"}, "no network to look through was given; use mse"),
        ({"r2": 0.1}, "set objective.adversarial above 0"),
        ({"pixel": 0.1}, "objective.pixel is added to the distance 'perceptual', not to 'mse'"),
    ],
)
def test_what_is_missing_is_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_objective(ObjectiveConfig(**settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"distance": "lpips"}, "field 'distance' got 'lpips'"),
        ({"spectral_target": "disk"}, "field 'spectral_target' got 'disk'"),
        ({"adversarial_loss": "wasserstein"}, "field 'adversarial_loss' got 'wasserstein'"),
        ({"discriminator": "vit"}, "field 'discriminator' got 'vit'"),
        ({"perceptual_net": "inception"}, "field 'perceptual_net' got 'inception'"),
        ({"reconstruct": 1.0}, "did you mean 'reconstruction'"),
        ({"latent": "much"}, "field 'latent' got 'much'"),
        *(({name: -0.5}, f"field '{name}' got -0.5") for name in (*TERMS, "r1", "r2", "pixel", "latent_noise")),
        ({"prediction": math.nan}, "field 'prediction' got nan"),
        ({"trajectory": math.inf}, "field 'trajectory' got inf"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ObjectiveConfig.parse(settings, "objective")


def test_a_discriminator_that_is_not_asked_for_is_left_alone() -> None:
    class Refuses(nn.Module):
        def forward(self, x: Tensor, class_labels: Tensor | None = None) -> Tensor:
            raise AssertionError("the discriminator was called")

    objective = build_objective(ObjectiveConfig(), Refuses())
    assert "adversarial" not in objective.terms(objective.run(tiny(), batch(), 0))


def test_without_a_discriminator_there_is_no_discriminator_s_loss() -> None:
    objective = build_objective(ObjectiveConfig())
    assert objective.discriminator_loss(objective.run(tiny(), batch(), 0)) is None
