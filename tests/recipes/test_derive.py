"""A recipe for any teacher: it parses, its student can be built, and it says what presets say for their own teachers."""

from __future__ import annotations

import pytest

from koopstep.core.errors import UsageError
from koopstep.recipes.derive import default_method, derive, held_out, metrics, of_lengths, of_steps
from koopstep.recipes.layers import method_names
from koopstep.recipes.material import Material
from koopstep.recipes.networks import halvings, unet
from koopstep.recipes.recipe import load_recipe
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student
from koopstep.teachers.edm import EDMConfig
from koopstep.teachers.files import packaged_teachers, read_header
from koopstep.teachers.flow import FlowConfig

SHAPES = [(2,), (512,), (5, 7), (1, 8, 8), (4, 8, 8), (1, 9, 9), (3, 17, 17), (1, 28, 28), (3, 16, 16), (1, 2, 2)]
PATH = ("hkd", "hkd+", "trajectory")


def material(shape: tuple[int, ...], **facts: object) -> Material:
    return Material("mine", "mine", shape, data_range=(-1.0, 1.0), **facts)  # type: ignore[arg-type]


def packaged(name: str, data: str | None = None) -> Material:
    config = read_header(packaged_teachers()[name]).config
    assert isinstance(config, EDMConfig | FlowConfig)
    facts = {"num_classes": config.num_classes, "model": config, "data": data, "labelled": data == "digits"}
    return Material(name, name, config.shape, data_range=(-1.0, 1.0), cells=data == "checkerboard", **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("shape", SHAPES)
def test_a_student_of_any_shape_can_be_built(shape: tuple[int, ...], method: str) -> None:
    recipe = derive(material(shape, num_classes=3), method)
    keep = 5 if method in PATH else "ends"
    if method == "modes":
        keep = 5 if recipe.collect.dtype == "float16" else "all"  # large images take less room
    kept = (0.0, 1.0) if keep == "ends" else (0.0, 0.25, 0.5, 0.75, 1.0)
    levels = tuple(80.0 * (1 - u) for u in kept)
    facts = DataFacts(shape=shape, num_classes=3, noise_scale=80.0, progress=kept, levels=levels)
    assert build_student(recipe.student, facts).parameter_counts()[1] > 0
    assert (recipe.method, recipe.initialise, recipe.collect.keep) == (method, "fresh", keep)


def test_large_images_fit_memory_and_samples_that_nothing_fits_are_refused() -> None:
    assert derive(material((3, 64, 64)), "kdm").student.latent == 1024  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="square images"):
        derive(material((3, 8, 12)), "hkd")
    with pytest.raises(UsageError, match="there is no recipe"):
        derive(material((100_000,)), "kdm")
    with pytest.raises(UsageError, match="unknown method 'magic'"):
        derive(material((2,)), "magic")


def test_the_packaged_teachers_get_what_their_presets_have() -> None:
    mine, preset = derive(packaged("digits-edm", "digits"), "kdm"), load_recipe("digits")
    for part in ("student", "objective", "initialise", "evaluation", "teacher"):
        assert getattr(mine, part) == getattr(preset, part), part
    assert mine.training.steps == preset.training.steps and mine.collect.count == preset.collect.count
    board, preset = derive(packaged("checkerboard-edm", "checkerboard"), "kdm"), load_recipe("checkerboard")
    for part in ("student", "objective", "evaluation"):
        assert getattr(board, part) == getattr(preset, part), part
    assert board.training.optimizer == "muon"


@pytest.mark.parametrize("name", ["digits-edm", "digits-cond-edm"])
@pytest.mark.parametrize("method", ["kdm", "hkd", "hkd+"])
def test_a_u_net_of_edm_is_taken_over(name: str, method: str) -> None:
    recipe = derive(packaged(name), method)
    setting, network = recipe.student.network_of_teacher()
    assert recipe.initialise == "teacher" and network is not None and network.kind == "unet", setting


@pytest.mark.parametrize(("name", "weight"), [("checkerboard", 0.3), ("digits", 0.1)])
def test_hkd_plus_asks_for_a_straight_path_of_what_differs_between_rows(name: str, weight: float) -> None:
    for recipe in (load_recipe(name, "hkd+"), derive(packaged(f"{name}-edm"), "hkd+")):
        assert (recipe.objective.linearity, recipe.objective.linearity_scale) == (weight, "spread")


def test_other_labels_than_edm_s_are_not_taken_over() -> None:
    config = read_header(packaged_teachers()["digits-edm"]).config
    vp = config.model_copy(update={"preconditioning": "vp"})
    recipe = derive(Material("vp", "vp", (1, 8, 8), model=vp, data_range=(-1.0, 1.0)), "hkd")
    assert recipe.initialise == "fresh"


def test_the_default_method_says_why() -> None:
    chosen = {shape: default_method(material(shape))[0] for shape in SHAPES}
    assert chosen[(2,)] == chosen[(512,)] == chosen[(1, 8, 8)] == chosen[(5, 7)] == "kdm"
    assert all(len(default_method(material(shape))[1]) > 20 for shape in SHAPES)


def test_metrics_follow_the_data() -> None:
    pairs = ["pair_mse", "pair_mse_permuted"]
    assert metrics(material((2,))) == [*pairs, "sliced_wasserstein", "mmd"]  # real data may be named later
    assert metrics(material((2,), data="board", cells=True)) == [*pairs, "in_cell", "sliced_wasserstein", "mmd"]
    assert metrics(material((8,), data="mine")) == [*pairs, "sliced_wasserstein", "mmd"]
    labelled = metrics(material((1, 8, 8), data="digits", labelled=True, num_classes=10))
    assert labelled == [*pairs, "frechet_pixel", "sliced_wasserstein", "class_balance", "class_accuracy"]
    latents = Material("l", "l", (4, 8, 8), data="latents")
    assert metrics(latents) == [*pairs, "sliced_wasserstein", "mmd"]
    assert "frechet_pixel" not in metrics(material((3, 64, 64), data="faces"))


@pytest.mark.parametrize(("side", "levels"), [(8, 1), (9, 0), (16, 2), (14, 1), (7, 0), (64, 2), (2, 0)])
def test_only_as_many_halvings_as_the_side_allows(side: int, levels: int) -> None:
    assert halvings(side) == levels


def test_28_pixels_are_worked_on_in_squares_of_two() -> None:
    network = unet((1, 28, 28))
    assert (network["patch"], network["channel_mult"]) == (2, [1, 2])
    assert unet((1, 29, 29))["patch"] == 1


def test_rows_held_out() -> None:
    assert [held_out(count) for count in (100, 1000, 4000, 28_000, 10**6)] == [25, 250, 1000, 2800, 10_000]
    recipe = of_lengths(derive(material((2,)), "kdm"), 400, 20)
    assert (recipe.collect.count, recipe.collect.hold_out, recipe.training.steps) == (400, 100, 20)
    assert recipe.training.batch_size == 256  # no more than the 300 rows that are left
    assert of_steps(derive(material((1, 8, 8)), "kdm"), 100, 10_000).training.warmup_steps == 10


def test_modes_are_one_on_straight_paths_and_see_all_of_a_small_image() -> None:
    assert derive(packaged("checkerboard-fm"), "modes").student.operator.modes == 1  # type: ignore[union-attr]
    recipe = derive(packaged("digits-edm"), "modes")
    assert recipe.student.kind == "modes" and recipe.student.lift is not None and recipe.student.operator.modes == 2
    assert recipe.collect.keep == "all" and recipe.objective.states > 0 and recipe.objective.adversarial > 0
    assert derive(packaged("checkerboard-edm"), "modes").objective.adversarial == 0
