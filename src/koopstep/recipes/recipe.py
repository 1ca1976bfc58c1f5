"""A recipe: every setting of the way from a teacher to an evaluated student. Presets are recipes, methods change some lines."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from koopstep.core.arguments import AnyPath, checked, checked_but
from koopstep.core.config import Changes, Config, assignments, dump, override, refuse_changes
from koopstep.core.errors import UsageError
from koopstep.core.explain import nearest
from koopstep.data.collect import CollectSettings, settings_of
from koopstep.data.store import Store
from koopstep.evaluation.metrics import METRICS
from koopstep.losses.config import OWN_WEIGHTS, ObjectiveConfig
from koopstep.recipes.layers import resolve
from koopstep.students.table import StudentConfig
from koopstep.teachers.table import TeacherConfig
from koopstep.training.settings import TrainingConfig

Tracking = Literal["none", "tensorboard"]

_FIXED = {
    "preset": "it is the name of the preset that the settings come from",
    "method": "`--method` chooses the method, with its settings",
    "about": "it describes the preset; a .yaml file that extends it can have a line of its own",
}


class TeacherChoice(Config):
    """The teacher that a student learns from.

    Attributes:
        file: name of a packaged teacher, or a file: what ``demo`` collects from, and where ``train`` looks for the teacher of
            the paths. Of a run: where that was, or its name.
        model: the configuration that the preset was written for; of a run, the teacher's own. None where it is not known.
    """

    file: str
    model: TeacherConfig | None = None


class TeacherSettings(Config):
    """How ``koopstep teacher train`` makes a teacher.

    Attributes:
        file: the name under which presets know it.
        model: the teacher's configuration.
        training: how it is trained.
        weights_dtype: how its weights are stored.
        augment: probability of each of EDM's augmentations, a condition of the network (it needs ``augment_channels: 9``).
        xflip: mirror every other image at random; the network is not conditioned on it.
    """

    file: str
    model: TeacherConfig
    training: TrainingConfig
    weights_dtype: Literal["float32", "float16", "float64"] = "float32"
    augment: float = Field(default=0.0, ge=0, le=1)
    xflip: bool = False


class TeacherRecipe(Config):
    """What ``koopstep teacher train`` reads of a preset: the teacher, and the data (name or path) it learns from."""

    data: str
    teacher: TeacherSettings


class EvaluationRecipe(Config):
    """What is measured: metric names, and the seed of everything random in them."""

    metrics: tuple[str, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0, lt=1 << 63)

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name in self.metrics:
            if name not in METRICS:
                raise ValueError(f"unknown metric {name!r}; {nearest(name, METRICS)}")
        return self


class Recipe(Config):
    """All settings of one way from noise to numbers.

    Attributes:
        preset: the name it started from; of one's own file, the name without its ending.
        method: the method applied to it.
        about: one line for people.
        data: name or path of what `teacher train` learns from; samples are compared with what their own teacher learned from.
        initialise: what the student starts from: ``fresh`` weights, or the ``teacher``'s in the decoder.
        paths: what a step learns from: rows ``stored`` by ``collect``, or fresh ones that the teacher makes ``live``.
        tracking: ``tensorboard`` writes event files into the run beside ``metrics.jsonl``.
    """

    preset: str
    method: str
    about: str
    data: str
    teacher: TeacherChoice
    collect: CollectSettings
    initialise: Literal["fresh", "teacher"] = "fresh"
    paths: Literal["stored", "live"] = "stored"
    tracking: Tracking = "none"
    student: StudentConfig
    objective: ObjectiveConfig
    training: TrainingConfig
    evaluation: EvaluationRecipe

    @classmethod
    @checked
    def for_store(
        cls,
        store: Store,
        *,
        student: StudentConfig,
        training: TrainingConfig,
        objective: ObjectiveConfig | None = None,
        metrics: tuple[str, ...] = ("pair_mse", "pair_mse_permuted", "sliced_wasserstein"),
        name: str = "own",
    ) -> Self:
        """A recipe put together in Python, for the paths of ``store``.

        Args:
            store: what will be learned.
            student: the student's networks and operator.
            training: how it is trained.
            objective: what it is asked for; the terms of the paper on KDM when absent.
            metrics: what it is measured by.
            name: what reports call it, in place of a preset's name.
        """
        manifest = store.manifest
        learned_from = manifest.teacher.training_data
        return cls(
            preset=name,
            method=student.kind,
            about=f"{name}, from paths of {manifest.teacher.name}",
            data="" if learned_from is None else learned_from.name,
            teacher=TeacherChoice(file=manifest.teacher.name),
            collect=settings_of(manifest),
            student=student,
            objective=objective or ObjectiveConfig(),
            training=training,
            evaluation=EvaluationRecipe(metrics=metrics),
        )


@checked_but("changes")
def load_recipe(
    preset: AnyPath, method: str | None = None, changes: Changes = (), *, budget: str | None = None
) -> Recipe:
    """Resolve a preset, a method and single changes into a complete recipe.

    Later ones win: the preset, the method's settings, the preset's own settings for that method, the same of each file that
    extends it, the budget (``demo`` or ``quick``: shorter versions a preset may define, with settings for the method
    again), then ``changes``.

    Args:
        preset: one of :func:`preset_names`, or the path of a ``.yaml`` file of the same layout or of a run's
            ``config.yaml``.
        method: one of :func:`method_names`; the one that the file is written for when absent, else ``kdm``.
        changes: single settings: ``{"training.steps": 500}``, or texts as in ``["training.steps=500"]``.
        budget: name of a budget of the preset; None for the full one.

    Raises:
        UsageError: on unknown names, keys or values, a file that is no preset, or one that holds another method's settings.
    """
    found = resolve(os.fspath(preset), method, budget)
    where = f"{found.where} with method {found.method}"
    _check_teacher(found.settings.get("teacher"), where)
    settings = student_part(found.settings)
    _take_network(settings)
    return change_recipe(Recipe.parse(settings, where), assignments(changes), where)


def change_recipe(recipe: Recipe, changes: Iterable[str], where: str) -> Recipe:
    """``recipe`` with single settings changed.

    Args:
        recipe: complete.
        changes: ``key=value`` texts with dotted keys; not of ``preset``, ``method`` and ``about``.
        where: the start of the message about a wrong value.

    Raises:
        UsageError: on unknown keys, wrong values, or keys that say what the recipe is.
    """
    changes = list(changes)
    refuse_changes(changes, _FIXED)
    settings = dump(recipe, complete=True)
    settings["objective"]["terms"] = dict.fromkeys(OWN_WEIGHTS, 0.0) | settings["objective"]["terms"]
    return Recipe.parse(override(settings, changes), where)


def load_teacher_recipe(preset: str, changes: Iterable[str] = ()) -> TeacherRecipe:
    """The teacher's part of a preset, with single changes (``teacher.training.steps=500``).

    Raises:
        UsageError: on unknown names, keys or values, or a file that is no preset or does not say how its teacher is trained.
    """
    found = resolve(preset)
    settings = {name: found.settings[name] for name in TeacherRecipe.model_fields if name in found.settings}
    complete = dump(TeacherRecipe.parse(settings, f"teacher of {found.where}"), complete=True)
    return TeacherRecipe.parse(override(complete, changes), f"teacher of {found.where}")


def full_settings(preset: str, method: str | None = None) -> dict[str, Any]:
    """A preset resolved, as plain settings that `load_recipe` and, where it says how, `load_teacher_recipe` take."""
    found = resolve(preset, method)
    result = dump(load_recipe(preset, method), complete=True)
    if "training" in (found.settings.get("teacher") or {}):
        result["teacher"] = dump(load_teacher_recipe(preset), complete=True)["teacher"]
    return result


def student_part(settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` without what is of the teacher's training only."""
    teacher = settings.get("teacher")
    if not isinstance(teacher, dict):
        return settings
    others = set(TeacherSettings.model_fields) - set(TeacherChoice.model_fields)
    return settings | {"teacher": {name: value for name, value in teacher.items() if name not in others}}


def _check_teacher(teacher: Any, where: str) -> None:
    """Raise UsageError for a name that neither the student's part of a preset nor the teacher's has."""
    for name in teacher if isinstance(teacher, dict) else ():
        if name not in TeacherSettings.model_fields:
            raise UsageError(f"{where}: unknown field 'teacher.{name}'; {nearest(name, TeacherSettings.model_fields)}")


def _take_network(settings: dict[str, Any]) -> None:
    """A student of whole paths without a network of its own has the teacher's, less the place for augmentation labels."""
    student, teacher = settings.get("student"), settings.get("teacher")
    model = teacher.get("model") if isinstance(teacher, dict) else None
    network = model.get("network") if isinstance(model, dict) else None
    if isinstance(student, dict) and student.get("kind") in ("hkd", "modes") and "network" not in student and network:
        left_out = ("augment_channels",)
        student["network"] = {name: value for name, value in network.items() if name not in left_out}
