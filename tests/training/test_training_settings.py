"""Learning rates, which optimizer gets what, and settings that do not fit."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from tiny_task import settings
from torch import nn

from koopstep.core.errors import UsageError
from koopstep.nets.unet import UNetConfig
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student
from koopstep.training.settings import build_optimizers, is_hidden_matrix


def test_constant_rate() -> None:
    config = settings(schedule="constant", learning_rate=0.3)
    assert {config.rate_at(step) for step in range(10)} == {0.3}


def test_cosine_ends_at_zero() -> None:
    config = settings(schedule="cosine", learning_rate=0.2, steps=100)
    rates = [config.rate_at(step) for step in range(101)]
    assert rates[0] == 0.2
    assert rates[50] == pytest.approx(0.1)
    assert rates[25] == pytest.approx(0.2 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert rates == sorted(rates, reverse=True)


def test_linear_ends_at_zero() -> None:
    config = settings(schedule="linear", learning_rate=0.2, steps=100)
    assert [config.rate_at(step) for step in (0, 25, 100)] == pytest.approx([0.2, 0.15, 0.0])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_warm_up_is_linear_and_joins_without_a_jump(schedule: str) -> None:
    config = settings(schedule=schedule, learning_rate=0.4, steps=50, warmup_steps=10)
    assert [config.rate_at(step) for step in range(10)] == pytest.approx([0.04 * (step + 1) for step in range(10)])
    assert config.rate_at(10) == pytest.approx(0.4)


def _student(**changes: object) -> nn.Module:
    config = {
        "encoder": {"kind": "mlp", "width": 40, "depth": 3, "input_octaves": 2},
        "decoder": {"kind": "mlp", "width": 48, "depth": 2},
        "operator": {"kind": "dense", "affine": True},
        "latent": 36,
        **changes,
    }
    return build_student(KDMConfig.parse(config, "student"), DataFacts(shape=(2,), num_classes=33))


def _image_student() -> nn.Module:
    network = UNetConfig(model_channels=32).model_dump()
    config = {"encoder": network, "decoder": network, "operator": {"kind": "spectral"}, "latent": 64}
    return build_student(KDMConfig.parse(config, "student"), DataFacts(shape=(1, 8, 8), num_classes=33))


@pytest.mark.parametrize("build", [_student, _image_student])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_every_parameter_has_exactly_one_optimizer(build: object, optimizer: str) -> None:
    model = build()  # type: ignore[operator]
    built = build_optimizers(settings(optimizer=optimizer), model)
    counted = Counter(id(p) for each in built.values() for group in each.param_groups for p in group["params"])
    assert counted == Counter(id(p) for p in model.parameters())


def test_muon_gets_the_hidden_matrices_and_adam_the_rest() -> None:
    model = _student()
    built = build_optimizers(settings(optimizer="muon", weight_decay=0.1), model)
    assert isinstance(built["muon"], torch.optim.Muon)
    assert isinstance(built["adam"], torch.optim.AdamW)
    names = {id(p): name for name, p in model.named_parameters()}
    by_muon = {names[id(p)] for p in built["muon"].param_groups[0]["params"]}
    assert {name for name in by_muon if "hidden" in name} == {
        name for name in names.values() if "hidden" in name and name.endswith("weight")
    }
    assert "operators.0.weight" in by_muon
    small = [name for name, p in model.named_parameters() if p.ndim != 2 or min(p.shape) < 32]
    labels = [name for name in names.values() if "control" in name or "label" in name]
    assert len(labels) >= 4  # 33 classes: large enough for Muon by their shape, but embeddings
    assert not by_muon & {*small, *labels}
    assert all(group["weight_decay"] == 0.1 for each in built.values() for group in each.param_groups)


def test_frozen_parameters_have_no_optimizer() -> None:
    model = _student()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("decoder" in name)
    built = build_optimizers(settings(optimizer="muon"), model)
    trained = {id(p) for each in built.values() for group in each.param_groups for p in group["params"]}
    assert trained == {id(p) for name, p in model.named_parameters() if "decoder" in name}


def test_muon_without_hidden_matrices_is_adam_alone() -> None:
    model = nn.Linear(3, 4)
    assert set(build_optimizers(settings(optimizer="muon"), model)) == {"adam"}
    assert not is_hidden_matrix("weight", model.weight)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"keep_checkpoints": 0}, "keep_checkpoints"),
        ({"log_every": 0}, "log_every"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"gradient_clip": 0.0}, "gradient_clip"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"ema_halflife_images": -1.0}, "ema_halflife_images"),
        ({"ema_ramp": -1.0}, "ema_ramp"),
        ({"betas": [0.9, 1.0]}, "betas"),
        ({"discriminator_betas": [-0.1, 0.9]}, "discriminator_betas"),
        ({"discriminator_learning_rate": 0.0}, "discriminator_learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**70}, "seed"),
        ({"micro_batch": 3}, "micro_batch"),
        ({"micro_batch": 0}, "micro_batch"),
    ],
)
def test_wrong_values_are_named_when_they_are_read(changes: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=rf"settings: .*\b{named}\b"):
        settings(**changes)


@pytest.mark.parametrize(
    ("changes", "named"), [({"batch_size": 15}, "batch_size"), ({"batch_size": 16, "micro_batch": 16}, "micro_batch")]
)
def test_what_two_processes_cannot_share_is_named(changes: dict[str, object], named: str) -> None:
    config = settings(**changes)
    config.check(world=1)
    with pytest.raises(UsageError, match=f"training.{named}"):
        config.check(world=2)


def test_settings_that_fit() -> None:
    settings(batch_size=16, micro_batch=4, gradient_clip=1.0, warmup_steps=3, ema_ramp=None).check(world=2)
