"""Which setting wins, and what a wrong name is answered with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.data.sources import SOURCES
from koopstep.evaluation.metrics import METRICS
from koopstep.recipes import layers as recipes
from koopstep.recipes.layers import method_names, preset_names
from koopstep.recipes.recipe import Recipe, full_settings, load_recipe, load_teacher_recipe
from koopstep.workflows.presets import list_presets, show_preset

PRESETS, METHODS = sorted(preset_names()), sorted(method_names())

_NETWORK = {"kind": "mlp", "width": 8}
_PRESET: dict[str, Any] = {
    "preset": "made-up",
    "about": "for this test",
    "data": "checkerboard",
    "teacher": {
        "file": "x",
        "model": {"kind": "edm", "shape": [2], "network": _NETWORK, "sigma_data": 1.0, "sigma_max": 9.0},
        "training": {"steps": 1, "batch_size": 1},
    },
    "collect": {"count": 1, "steps": 1},
    "student": {"kind": "kdm", "encoder": _NETWORK, "decoder": _NETWORK, "operator": {"kind": "dense"}, "latent": 1},
    "objective": {"prediction": 1.0},
    "training": {"steps": 1, "batch_size": 1},
    "evaluation": {"metrics": ["pair_mse"]},
}
_LAYERS = ("the preset", "the method", "the preset's method", "the budget", "the budget's method", "a change")


def _seed_after(monkeypatch: pytest.MonkeyPatch, layers: int) -> Recipe:
    """Resolve with the first ``layers`` layers each setting ``training.seed`` to its own number."""
    preset = {**_PRESET, "training": {**_PRESET["training"], "seed": 0}}
    own = {"training": {"seed": 2}} if layers > 2 else {}
    budget: dict[str, Any] = {"training": {"seed": 3}} if layers > 3 else {}
    if layers > 4:
        budget["methods"] = {"other": {"training": {"seed": 4}}}
    files = {
        "made-up": {
            **preset,
            "methods": {"other": own, "kdm": {"training": {"seed": 90}}},
            "budgets": {"quick": budget, "demo": {"training": {"seed": 91}}},
        },
        "methods": {
            "other": {"about": "", "settings": {"training": {"seed": 1}} if layers > 1 else {}},
            "kdm": {"about": "", "settings": {"training": {"seed": 92}}},
        },
    }
    monkeypatch.setattr(recipes, "read_packaged", lambda name: json.loads(json.dumps(files[name])))
    monkeypatch.setattr(recipes, "preset_names", lambda: {"made-up": ""})
    changes = ["training.seed=5"] if layers > 5 else []
    return load_recipe("made-up", "other", changes, budget="quick")


@pytest.mark.parametrize("layers", range(1, len(_LAYERS) + 1), ids=_LAYERS)
def test_later_ones_win(monkeypatch: pytest.MonkeyPatch, layers: int) -> None:
    found = _seed_after(monkeypatch, layers)
    assert found.training.seed == layers - 1
    assert (found.preset, found.method) == ("made-up", "other")
    assert found.training.batch_size == 1  # what a layer does not name stays


def test_another_kind_replaces_the_whole() -> None:
    below = {"operator": {"kind": "dense", "affine": True}, "latent": 3}
    assert recipes.merge(below, {"operator": {"kind": "spectral"}}) == {"operator": {"kind": "spectral"}, "latent": 3}
    assert recipes.merge(below, {"operator": {"continuous": True}})["operator"] == {
        "kind": "dense",
        "affine": True,
        "continuous": True,
    }
    assert below["operator"] == {"kind": "dense", "affine": True}


def test_changes_reach_everything() -> None:
    found = load_recipe(
        "checkerboard",
        "kdm-f",
        ["student.operator={kind: dense, affine: true}", "training.learning_rate=1e-2", "collect.keep=all"],
    )
    assert found.student.operator.kind == "dense" and found.student.operator.affine
    assert found.training.learning_rate == 0.01
    assert found.collect.keep == "all"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("checkerbord",),
            "unknown preset 'checkerbord'; did you mean 'checkerboard'? known: afhqv2-64, checkerboard,",
        ),
        (("nothing-like-it",), "unknown preset 'nothing-like-it'; known: afhqv2-64, checkerboard,"),
        (("checkerboard", "kmd"), "unknown method 'kmd'; did you mean 'kdm'? known: "),
        (("methods",), "unknown preset 'methods'"),
        (("../presets/checkerboard",), "unknown preset"),
        (
            ("checkerboard", "kdm", ["training.stepz=3"]),
            "unknown setting 'training.stepz'; did you mean training.steps",
        ),
        (("checkerboard", "kdm", ["lerning_rate=3"]), "training.learning_rate"),
        (("checkerboard", "kdm", ["training.steps"]), "expected key=value, got 'training.steps'"),
        (("checkerboard", "kdm", ["training.steps=many"]), "field 'training.steps' got 'many'"),
        (("checkerboard", "kdm", ["training.steps=1.5"]), "field 'training.steps' got 1.5"),
        (("checkerboard", "kdm", ["training.optimizer=sgd"]), "field 'training.optimizer' got 'sgd'"),
        (
            ("checkerboard", "kdm", ["student.operator={kind: magic}"]),
            "field 'student.operator.kind' got 'magic'; allowed: ",
        ),
        (
            ("checkerboard", "kdm", ["student.operator.kind=densse"]),
            "'student.operator.kind' got 'densse'; did you mean 'dense'",
        ),
        (
            ("checkerboard", "kdm", ["student.operator={kind: dense, afine: true}"]),
            "'student.operator.afine'; did you mean 'affine'",
        ),
        (
            ("digits", "kdm", ["student.encoder={kind: mlp, wdth: 3}"]),
            "field 'student.encoder.wdth'; did you mean 'width'?",
        ),
        (("checkerboard", "kdm", ["student={kind: kdn}"]), "field 'student.kind' got 'kdn'; did you mean 'kdm'?"),
        (("checkerboard", "kdm", ["training.learning_rate=-1"]), "field 'training.learning_rate' got -1"),
        (("checkerboard", "kdm", ["training.learning_rate=.nan"]), "field 'training.learning_rate' got nan"),
        (("checkerboard", "kdm", ["objective.prediction=-1"]), "field 'objective.prediction' got -1"),
        (("checkerboard", "kdm", ["training.steps=0"]), "field 'training.steps' got 0"),
        (("checkerboard", "kdm", ["training.batch_size=0"]), "field 'training.batch_size' got 0"),
        (("checkerboard", "kdm", [f"training.seed={2**70}"]), "field 'training.seed' got 1180591620717411303424"),
        (
            ("checkerboard", "kdm", ["training.micro_batch=5"]),
            "field 'training': micro_batch 5 must divide batch_size 1024",
        ),
        (("checkerboard", "kdm", ["student.latent=0"]), "field 'student.latent' got 0"),
        (("checkerboard", "kdm", ["collect.keep=14"]), "field 'collect': keep must be ends, all or a number from 2 to"),
        (("checkerboard", "kdm", ["collect.hold_out=220000"]), "field 'collect': hold_out = 220000 leaves no row"),
        (("checkerboard", "kdm", ["teacher.model.sigma_min=26"]), "sigma_min 26.0 must be below sigma_max 25.0"),
        (("checkerboard", "kdm", ["evaluation.seed=-1"]), "field 'evaluation.seed' got -1"),
        (
            ("checkerboard", "kdm", ["evaluation.metrics=[pair_mes]"]),
            "unknown metric 'pair_mes'; did you mean 'pair_mse'?",
        ),
        (("checkerboard", "kdm", ["evaluation.metrics=[]"]), "field 'evaluation.metrics' got []"),
        (
            ("checkerboard", "kdm", ["method=hkd"]),
            "setting 'method' cannot be changed: `--method` chooses the method",
        ),
        (("checkerboard", "kdm", [" preset =digits"]), "setting 'preset' cannot be changed"),
        (("checkerboard", "kdm", ["about=mine"]), "setting 'about' cannot be changed"),
        (("checkerboard", "kdm", ["tracking=wandb"]), "field 'tracking' got 'wandb'"),
    ],
)
def test_wrong_names_and_values(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe(*arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "change", "key"),
    [
        ("hkd", "student.operator.initial_rate=-0.5", "student.operator.initial_rate"),
        ("kdm", "teacher.model.data_range=[0.0, 1.0]", "teacher.model.data_range"),
    ],
)
def test_settings_that_old_files_lack_are_shown_and_changed(method: str, change: str, key: str) -> None:
    value = json.loads(change.partition("=")[2])
    assert key not in _flat(dump(load_recipe("digits", method)))  # a file without it keeps its digest
    assert key in _flat(show_preset("digits", method)["config"]) and key in _flat(full_settings("digits", method))
    assert _flat(dump(load_recipe("digits", method, [change])))[key] == value
    if key.startswith("teacher"):
        assert load_teacher_recipe("digits", [change]).teacher.model.data_range == tuple(value)


def test_the_list_is_whole() -> None:
    listed = list_presets()
    assert {"checkerboard", "checkerboard-fm", "digits", "digits-cond"} <= {row["name"] for row in listed["presets"]}
    assert {"kdm", "kdm-f", "direct"} <= {row["name"] for row in listed["methods"]}
    assert all(row["about"] for kind in ("presets", "methods") for row in listed[kind])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds_with_every_method(preset: str, method: str) -> None:
    shown = show_preset(preset, method)
    assert (shown["preset"], shown["method"]) == (preset, method)
    assert shown["teacher"]["parameters"] > 0
    assert shown["student"]["parameters"] >= shown["student"]["sampling_parameters"] > 0
    assert Recipe.parse(shown["config"], "shown") == load_recipe(preset, method)


@pytest.mark.parametrize("budget", [None, "demo", "quick"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_budget_fits(preset: str, method: str, budget: str | None) -> None:
    recipe = load_recipe(preset, method, budget=budget)
    for world in (1, 2):
        recipe.training.check(world)
        load_teacher_recipe(preset).teacher.training.check(world)
    held_out = recipe.collect.hold_out
    assert held_out is not None and recipe.collect.count - held_out >= recipe.training.batch_size
    assert set(recipe.evaluation.metrics) <= set(METRICS)
    assert recipe.data in SOURCES or recipe.data.endswith((".npz", ".zip"))
    assert Recipe.parse(dump(recipe), "dumped") == recipe


def test_a_budget_is_shorter() -> None:
    for preset in ("checkerboard", "digits"):
        whole, quick = load_recipe(preset).training, load_recipe(preset, budget="quick").training
        assert quick.steps * quick.batch_size < whole.steps * whole.batch_size


def _flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in settings.items():
        result |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return result


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("base", ["digits", "cifar10"])
def test_presets_with_classes_differ_in_what_they_say(base: str, method: str) -> None:
    """They extend the one without; every other value is its own."""
    plain, classes = (_flat(dump(load_recipe(name, method))) for name in (base, f"{base}-cond"))
    different = {name for name in {*plain, *classes} if plain.get(name) != classes.get(name)}
    assert different == {"preset", "about", "teacher.file", "teacher.model.num_classes", "evaluation.metrics"}
    assert (plain["teacher.model.num_classes"], classes["teacher.model.num_classes"]) == (0, 10)
    quick = (load_recipe("digits-cond", method, budget=budget) for budget in (None, "quick"))
    assert len({recipe.training.steps for recipe in quick}) == 1  # the budget of `digits` is not its own


def test_hkd_takes_the_teachers_network() -> None:
    for preset in ("digits", "mnist", "cifar10", "ffhq64", "checkerboard"):
        for method in ("hkd", "hkd+", "trajectory"):
            recipe = load_recipe(preset, method)
            assert recipe.student.kind == "hkd" and recipe.collect.keep != "ends"
            theirs = recipe.teacher.model.network.model_dump() | {"augment_channels": 0}
            assert recipe.student.network is not None
            ours = recipe.student.network.model_dump() | {"augment_channels": 0}
            assert ours == theirs
    own = load_recipe("digits", "hkd", ["student.network={kind: unet, model_channels: 8}"]).student
    assert own.kind == "hkd" and own.network is not None and own.network.kind == "unet"
    assert own.network.model_channels == 8


def test_hkds_rates_are_as_many_as_the_paper_has() -> None:
    """One for every number of every skip: 1,589,248 on CIFAR-10 and 4,210,688 at 64 x 64."""
    for preset, rates in (("cifar10", 1_589_248), ("ffhq64", 4_210_688)):
        shown = show_preset(preset, "hkd")
        network = shown["teacher"]["parameters"] - 9 * 128  # the student is not told of augmentation
        assert shown["student"]["parameters"] == shown["student"]["sampling_parameters"] == network + rates
