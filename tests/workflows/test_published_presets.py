"""The presets of the paper's image experiments: its numbers, and the sizes of the published networks."""

from __future__ import annotations

import math

import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.losses.terms import chosen
from koopstep.nets.discriminators import build_discriminator
from koopstep.recipes.recipe import Recipe, load_recipe, load_teacher_recipe
from koopstep.students.kdm import build_kdm
from koopstep.students.student import DataFacts
from koopstep.teachers.files import find_teacher
from koopstep.teachers.table import TEACHERS
from koopstep.workflows.presets import show_preset

# teacher, student (trained), student (to sample): published 55.73 M, 47.48 M (47.49 M with classes), 32.0 M; 18.20 M
SIZES = {
    "cifar10": (55_733_891, 47_476_165, 32_000_644),
    "cifar10-cond": (55_735_299, 47_488_517, 32_012_292),
    "cifar10-fm": (55_733_891, 47_476_165, 32_000_644),
    "ffhq64": (61_805_571, 18_203_365, 12_224_324),
    "afhqv2-64": (61_805_571, 18_203_365, 12_224_324),
}
# batch size, model channels, latent: Table 7
TABLE_7 = {
    "cifar10": (128, 64, 1024),
    "cifar10-cond": (128, 64, 1024),
    "cifar10-fm": (128, 64, 1024),
    "ffhq64": (64, 32, 512),
    "afhqv2-64": (64, 32, 512),
}
# data, NFE, pairs to train on, dropout of the teacher, its images a step: App. E.2 and EDM's Table 7
TEACHER = {
    "cifar10": ("cifar10", 35, 1_000_000, 0.13, 512),
    "cifar10-cond": ("cifar10", 35, 1_000_000, 0.13, 512),
    "cifar10-fm": ("cifar10", 36, 1_000_000, 0.13, 512),
    "ffhq64": ("ffhq-64x64.zip", 79, 1_000_000, 0.05, 256),
    "afhqv2-64": ("afhqv2-64x64.zip", 79, 250_000, 0.25, 256),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_networks_have_the_published_sizes(name: str) -> None:
    shown = show_preset(name)
    student = shown["student"]
    sizes = (shown["teacher"]["parameters"], student["parameters"], student["sampling_parameters"])
    assert sizes == SIZES[name]


def test_where_the_student_s_numbers_are() -> None:
    """47.48 M as counted in the published code: 15.48 for each of E_T, E_0 and D, 1.05 for the operator with its bias."""
    recipe = load_recipe("cifar10")
    with torch.device("meta"):
        student = build_kdm(recipe.student, DataFacts(shape=(3, 32, 32)))  # type: ignore[arg-type]
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in student.codec.named_children()}
    assert [round(size / 1e6, 2) for size in sizes.values()] == [15.48, 15.48, 15.48]
    assert sum(p.numel() for p in student.operators.parameters()) == 1024 * 1024 + 1024
    discriminator = build_discriminator((3, 32, 32))
    assert round(sum(p.numel() for p in discriminator.parameters()) / 1e6, 2) == 0.66


@pytest.mark.parametrize("name", TABLE_7)
def test_the_student_is_that_of_table_7(name: str) -> None:
    recipe = load_recipe(name)
    student, objective, training = recipe.student, recipe.objective, recipe.training
    batch, width, latent = TABLE_7[name]
    for network in (student.encoder, student.decoder):
        assert network.kind == "unet"
        assert (network.model_channels, network.channel_mult, network.num_blocks) == (width, (1, 2, 2, 2), 4)
        assert (network.attention_resolutions, network.dropout, network.augment_channels) == ((16,), 0.1, 0)
    assert (student.latent, student.latent_channels, student.data_encoder) == (latent, 1, None)
    assert (recipe.initialise, student.carry, student.decoder_label, student.tied) == ("fresh", 0.0, 0.0, False)
    weights = {name: getattr(objective, name) for name in chosen(objective)}
    assert weights == {"reconstruction": 1.0, "latent": 1.0, "prediction": 1.0, "adversarial": 0.01}
    assert (objective.distance, objective.perceptual_net, objective.pixel) == ("perceptual", "vgg", 0.0)
    assert (objective.latent_noise, objective.discriminator, objective.adversarial_loss) == (
        0.4,
        "conv",
        "nonsaturating",
    )
    assert (objective.r1, objective.r2) == (0.0, 0.0)
    assert (training.steps, training.batch_size, training.optimizer) == (800_000, batch, "adam")
    assert (training.warmup_steps, training.weight_decay, training.gradient_clip) == (0, 0.0, None)
    assert training.rate_at(0) == training.rate_at(799_999) == 3e-4
    assert 0.5 ** (batch / training.ema_halflife_images) == pytest.approx(0.9999, abs=1e-9)
    assert training.ema_ramp is None


@pytest.mark.parametrize("name", TEACHER)
def test_the_teacher_is_edm_s(name: str) -> None:
    recipe = load_recipe(name)
    made = load_teacher_recipe(name).teacher
    model, training, collect = made.model, made.training, recipe.collect
    assert recipe.teacher.model == model
    data, nfe, pairs, dropout, batch = TEACHER[name]
    assert recipe.data == data
    assert (model.network.dropout, model.network.augment_channels) == (dropout, 9)  # type: ignore[union-attr]
    assert training.batch_size == batch
    assert math.isclose(training.steps * batch, 200e6, rel_tol=1e-5)
    assert math.isclose(training.warmup_steps * batch, 10e6, rel_tol=1e-4)
    assert (training.ema_halflife_images, training.ema_ramp) == (500_000.0, 0.05)
    assert collect.hold_out is not None and collect.count - collect.hold_out == pairs
    with torch.device("meta"):
        built = TEACHERS[model.kind].build(model)
    teacher = TEACHERS[model.kind].teacher(model, built, "", "")
    assert teacher.evaluations(collect.steps) == nfe
    assert (teacher.noise_scale, teacher.data_scale) == (1.0 if name == "cifar10-fm" else 80.0, 0.5)


@pytest.mark.parametrize("name", SIZES)
def test_a_teacher_that_is_not_there_yet_says_how_to_make_it(name: str) -> None:
    file = load_recipe(name).teacher.file
    assert file.endswith(".safetensors")
    with pytest.raises(
        UsageError, match=r"koopstep teacher train PRESET --out FILE.*koopstep teacher convert"
    ) as caught:
        find_teacher(file)
    assert file in str(caught.value)


def test_every_value_of_the_objective_can_be_changed() -> None:
    changes = [
        "objective.perceptual_net=squeeze",
        "objective.pixel=0.5",
        "objective.adversarial_loss=relativistic",
        "objective.discriminator=multiscale",
        "objective.r1=0.1",
        "objective.r2=0.1",
    ]
    recipe: Recipe = load_recipe("cifar10", changes=changes)
    assert (recipe.objective.adversarial_loss, recipe.objective.discriminator) == ("relativistic", "multiscale")
    assert (recipe.objective.perceptual_net, recipe.objective.pixel) == ("squeeze", 0.5)
