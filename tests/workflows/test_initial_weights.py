"""`training.seed` reaches every initial weight of every method and every kind of operator."""

from __future__ import annotations

import pytest
import torch

from koopstep.core.devices import seeded
from koopstep.operators.dense import DenseConfig
from koopstep.operators.table import OPERATORS, build_operator
from koopstep.recipes.layers import method_names
from koopstep.recipes.recipe import Recipe, load_recipe
from koopstep.runs.task import first_student
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.teachers.base import TeacherIdentity

FACTS = DataFacts(shape=(2,), noise_scale=80.0, data_scale=0.7)
TEACHER = TeacherIdentity(
    kind="edm",
    name="none",
    sha256="0" * 64,
    solver="heun",
    num_function_evaluations=17,
    noise_scale=80.0,
    data_scale=0.7,
    num_classes=0,
    shape=(2,),
)
OPERATOR_CONFIGS = {kind: entry.config() for kind, entry in OPERATORS.items()} | {
    "dense-default": DenseConfig(init="default", affine=True),
    "dense-continuous": DenseConfig(init="default", continuous=True),
}


def fresh(recipe: Recipe, seed: int) -> KoopmanStudent:
    training = recipe.training.model_copy(update={"seed": seed})
    with seeded(seed, torch.device("cpu")):
        return first_student(recipe.model_copy(update={"training": training}), FACTS, TEACHER)[1]


def changed_by_seed(recipe: Recipe) -> set[str]:
    """The names of the initial weights that two seeds give different values."""
    first, again, other = (fresh(recipe, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    return {name for name in first if not torch.equal(first[name], other[name])}


@pytest.mark.parametrize("kind", sorted(OPERATOR_CONFIGS))
def test_operators_of_kdm(kind: str) -> None:
    recipe, config = load_recipe("checkerboard", "kdm"), OPERATOR_CONFIGS[kind]
    student = recipe.student.model_copy(update={"operator": config, "latent": 8})
    one, two = (build_operator(config, (8,), seed).state_dict() for seed in (0, 1))
    drawn = {f"operators.0.{name}" for name in one if not torch.equal(one[name], two[name])}
    found = changed_by_seed(recipe.model_copy(update={"student": student}))
    assert {name for name in found if name.startswith("operators.")} == drawn
    assert bool(drawn) == (kind not in ("block", "dense", "identity"))  # those start from the identity under any seed


@pytest.mark.parametrize("method", sorted(method_names()))
def test_networks_and_operators_of_every_method(method: str) -> None:
    recipe = load_recipe("checkerboard", method)
    recipe = recipe.model_copy(update={"initialise": "fresh"})
    found = changed_by_seed(recipe)
    assert any(name.startswith("codec.") for name in found)
    if method in ("kdm-f", "kdm-spectral"):
        assert any(name.startswith("operators.") for name in found)


def test_the_caller_s_generator_is_not_seeded_again() -> None:
    recipe = load_recipe("checkerboard", "kdm")
    made = []
    for seed in (0, 1):
        with seeded(seed, torch.device("cpu")):
            made.append(first_student(recipe, FACTS, TEACHER)[1].state_dict())
    assert any(not torch.equal(made[0][name], made[1][name]) for name in made[0])
