"""A complete recipe for any teacher: networks, objective and lengths follow from what it says of itself.

The numbers are those of the presets, where they were measured: `checkerboard` for vectors, `digits` for small images,
`mnist` and `cifar10-small` for larger ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.recipes.layers import Settings, check_known, merge, method_names, method_settings
from koopstep.recipes.material import Material, gives_weights
from koopstep.recipes.networks import mlp, unet, vector_mlp
from koopstep.recipes.recipe import Recipe
from koopstep.teachers.edm import EDMConfig
from koopstep.teachers.flow import FlowConfig

_LARGEST_FLAT = 4096  # numbers of a sample that fit a flat latent of as many dimensions
_LARGEST_FRECHET = 3072  # numbers of an image whose covariance is still worth its square root
_LARGEST_CLASSIFIED = 1024
_DETAILED = 2048  # numbers of a sample from which the teacher's grid is finer
_MOST_HELD_OUT, _LEAST_HELD_OUT = 10_000, 1000


DEFAULT_METHODS = {
    "vector": ("kdm", "for vectors none measures better, and it learns from the two ends of the path alone"),
    "small image": ("kdm", "on 8 x 8 digits its samples come nearest to real ones for the time (1.13 times the teacher's "
                    "Fréchet distance, hkd 1.16)"),
    "image": ("hkd", "on MNIST its held-out error is half that of kdm (0.027, 0.050), whose encoder sees all pixels at "
              "once and learns paths by heart"),
    "image from nothing": ("kdm", "without weights to start from it follows its noise soonest (a mixture at 28 x 28, 60 "
                           "steps: 0.34 of the error of wrong partners, hkd 0.80)"),
}  # fmt: skip
"""Kind of data -> the method that measures best for it (docs/results.md), and why in words."""


@dataclass(frozen=True)
class Lengths:
    """Paths and training at full quality."""

    count: int
    steps: int
    batch_size: int


_LENGTHS = {
    ("vector", "kdm"): Lengths(220_000, 10_000, 1024),
    ("vector", "hkd"): Lengths(220_000, 6000, 1024),
    ("small image", "kdm"): Lengths(28_000, 2000, 128),
    ("small image", "hkd"): Lengths(84_000, 3000, 128),
    ("image", "kdm"): Lengths(50_000, 4000, 128),
    ("image", "hkd"): Lengths(50_000, 5000, 64),
    ("vector", "modes"): Lengths(220_000, 8000, 1024),
    ("small image", "modes"): Lengths(84_000, 3000, 128),
    ("image", "modes"): Lengths(50_000, 5000, 64),
}
"""(kind of data, kind of student) -> as the presets have them; of larger images a few epochs more."""


def default_method(material: Material) -> tuple[str, str]:
    """The method that measures best for such data, and the reason."""
    nothing = material.kind == "image" and not gives_weights(material)
    return DEFAULT_METHODS["image from nothing" if nothing else material.kind]


def derive(material: Material, method: str) -> Recipe:
    """Every setting of the way from such a teacher to an evaluated student, at full quality.

    Raises:
        UsageError: on an unknown method, or data that no student of this method is made for.
    """
    check_known("method", method, method_names())
    of_method: Settings = method_settings(method)
    family = of_method.get("student", {}).get("kind", "kdm")
    _check_shape(material, family)
    lengths = _LENGTHS[material.kind, family]
    settings = merge(_frame(material, lengths), _pairs(material))
    settings = merge(settings, of_method)
    if family == "hkd":
        settings = merge(settings, _paths(material, method))
    if family == "modes":
        settings = merge(settings, _modes(material))
    settings |= {"preset": material.teacher, "method": method}
    return Recipe.parse(settings, f"recipe for {material.teacher}")


def held_out(count: int) -> int:
    """Rows kept from training: a tenth, and at least the thousand that metrics of distributions want, if there are some."""
    return min(max(count // 10, min(_LEAST_HELD_OUT, count // 4)), _MOST_HELD_OUT)


def of_lengths(recipe: Recipe, count: int, steps: int) -> Recipe:
    """``recipe`` with other numbers of paths and training steps, and what hangs on them."""
    collect = recipe.collect.model_copy(update={"count": count, "hold_out": held_out(count)})
    return of_steps(recipe.model_copy(update={"collect": collect}), steps, count - held_out(count))


def of_steps(recipe: Recipe, steps: int, rows: int) -> Recipe:
    """``recipe`` with another length of training on ``rows`` rows: a batch that is not more than all of them."""
    batch = min(recipe.training.batch_size, 1 << max(rows, 1).bit_length() - 1)
    warmup = min(recipe.training.warmup_steps, steps // 10)
    update = {"steps": steps, "batch_size": batch, "warmup_steps": warmup}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=update)})


def _check_shape(material: Material, family: str) -> None:
    if family == "hkd" and len(material.shape) == 3 and not material.square:
        raise UsageError(
            f"hkd cuts a U-Net at its skips, which wants square images; the teacher makes {material.shape}; "
            "take --method kdm"
        )
    if not material.square and material.size > _LARGEST_FLAT:
        raise UsageError(
            f"samples of shape {material.shape} are neither square images nor at most {_LARGEST_FLAT} numbers; there is no "
            "recipe for them: write one, starting from `koopstep presets cifar10 --yaml`"
        )


def _frame(material: Material, lengths: Lengths) -> Settings:
    """What does not depend on the method."""
    steps = (18 if material.size >= _DETAILED else 12) if material.twice else 24
    model = None if material.model is None else dump(material.model, complete=True)
    training: dict[str, Any] = {
        "steps": lengths.steps,
        "batch_size": lengths.batch_size,
        "schedule": "cosine",
        "checkpoint_every": 250,
    }
    if material.kind == "vector":
        training |= {"optimizer": "muon", "learning_rate": 0.01, "ema_halflife_images": 40_000.0}
    else:
        training |= {
            "optimizer": "adam",
            "learning_rate": 0.001,
            "warmup_steps": 50,
            "ema_halflife_images": 20_000.0,
        }
    starts = "teacher" if material.square and gives_weights(material) else "fresh"
    if starts == "fresh" and material.kind != "vector":
        training["learning_rate"] = 0.002
    return {
        "about": f"samples of {' x '.join(map(str, material.shape))} numbers, distilled from {material.teacher}",
        "data": material.data or "none",
        "teacher": {"file": material.file, "model": model},
        "collect": {"count": lengths.count, "steps": steps, "hold_out": held_out(lengths.count)},
        "initialise": starts,
        "training": training,
        "evaluation": {"metrics": metrics(material)},
    }


def _network(material: Material) -> Settings:
    """The U-Net of the student: the teacher's where it has one of ours, without what only its training needed."""
    model = material.model
    if isinstance(model, EDMConfig | FlowConfig) and model.network.kind in ("unet", "adm"):
        return dump(model.network) | {"dropout": 0.0, "augment_channels": 0}
    return unet(material.shape)


def _pairs(material: Material) -> Settings:
    """A student of pairs (KDM and its relatives)."""
    student: Settings = {"kind": "kdm", "operator": {"kind": "dense"}}
    if material.kind == "vector":
        networks = {
            "encoder": vector_mlp(material.size),
            "data_encoder": vector_mlp(material.size, small=True),
            "decoder": mlp(width=256 if material.size <= 64 else 512, depth=4),
            "latent": max(256, material.size),
        }
        return {
            "student": student | networks,
            "objective": {"reconstruction": 0.1, "latent": 0.1, "prediction": 1.0},
        }
    if material.size > _LARGEST_FLAT:  # as published: the linear modules around a small latent
        network = unet(material.shape)
        networks = {"encoder": network, "decoder": network, "latent": 1024, "latent_channels": 1}
        terms = {"reconstruction": 1.0, "latent": 1.0, "prediction": 1.0, "adversarial": 0.01, "latent_noise": 0.4}
        return {"initialise": "fresh", "student": student | networks, "objective": terms}
    networks = {
        "encoder": mlp(width=512, depth=4, output_scale=0.0),
        "data_encoder": mlp(width=256, depth=3),
        "decoder": _network(material),
        "latent": material.size,
        "latent_channels": material.shape[0],
        "carry": 1.0,
    }
    terms = {"reconstruction": 0.0, "latent": 0.01, "prediction": 1.0, "adversarial": 0.02 * gives_weights(material)}
    return {"student": student | networks, "objective": terms}


def _paths(material: Material, method: str) -> Settings:
    """A student of whole paths (HKD and its relatives), over :func:`_pairs` and the method."""
    plus = method == "hkd+"
    initialise = "teacher" if material.square and gives_weights(material) else "fresh"
    collect: Settings = {"keep": 5}
    if material.kind == "vector":
        student: Settings = {"network": vector_mlp(material.size) | {"fourier": 4}, "latent": max(256, material.size)}
        terms: Settings = {"adversarial": 0.0, "linearity": 0.3, "intermediate": 0.5}
        if not plus:
            terms = {"prediction": 1.0, "trajectory": 0.25, "trajectory_points": 1}
        return {"collect": collect, "student": student, "objective": terms}
    student = {"network": _network(material)}
    training: Settings = {}
    if material.kind == "small image":
        student["lift"] = mlp(width=512, depth=4, output_scale=0.0)
        terms = {"trajectory_every": 4, "adversarial": 0.05}
        training = {"learning_rate": 0.0015, "discriminator_learning_rate": 0.003, "ema_halflife_images": 40_000.0}
        if plus:
            terms, training = {"trajectory_every": 2, "adversarial": 0.03}, {"ema_halflife_images": 40_000.0}
    else:
        collect |= {"dtype": "float16"}
        terms = {"trajectory_every": 2, "adversarial": 0.02}
        terms |= {} if plus else {"adversarial_within": 0.005}
    if not plus:
        terms |= {"prediction": 1.0, "trajectory": 0.25, "trajectory_points": 1}
    if not gives_weights(material):  # an early discriminator beats a student that starts from nothing
        terms |= {"adversarial": 0.0, "adversarial_within": 0.0}
        student["lift"] = mlp(width=512, depth=4)
        training = {}
    result = {"initialise": initialise, "collect": collect, "student": student, "objective": terms}
    return result | ({"training": training} if training else {})


def _modes(material: Material) -> Settings:
    """A student of Koopman modes, over :func:`_pairs` and the method."""
    operator = {"modes": 1} if isinstance(material.model, FlowConfig) else {}  # straight paths have no more
    if not material.square:
        network = vector_mlp(material.size) | {"depth": 7, "fourier": 4}
        student: Settings = {"network": network, "operator": operator}
        return {"initialise": "fresh", "student": student, "objective": {"states": 1.0}}
    starts = gives_weights(material)
    student = {"network": _network(material), "operator": operator}
    result: Settings = {"initialise": "teacher" if starts else "fresh", "student": student}
    if material.kind == "small image":
        result |= {"training": {"ema_halflife_images": 40_000.0}}
    else:
        result |= {"collect": {"keep": 5, "dtype": "float16"}}
    result |= {
        "objective": {"adversarial": 0.02 * starts}
    }  # an early discriminator beats a student that starts from nothing
    if not starts or material.kind == "small image":
        student["lift"] = mlp(width=512, depth=4, **({"output_scale": 0.0} if starts else {}))
    return result


def metrics(material: Material) -> list[str]:
    """What can be measured of such data without a network of features; where no real data is known, some may be named later."""
    names = ["pair_mse", "pair_mse_permuted"]
    if not material.is_image:
        cells = ["in_cell"] if material.cells else []
        return [*names, *cells, "sliced_wasserstein", "mmd"]
    if material.size <= _LARGEST_FRECHET:
        names.append("frechet_pixel")
    names.append("sliced_wasserstein")
    if material.labelled and material.size <= _LARGEST_CLASSIFIED:
        names += ["class_balance", *(["class_accuracy"] if material.num_classes else [])]
    return names
