"""``koopstep presets``: what there is, and one preset resolved, counted without building weights."""

from __future__ import annotations

from typing import Any

import torch
import yaml

from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.recipes.layers import method_names, preset_names
from koopstep.recipes.recipe import full_settings, load_recipe
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student
from koopstep.teachers.table import TEACHERS


def list_presets() -> dict[str, Any]:
    """Names and one line each of all presets and methods."""
    return {
        "presets": [{"name": name, "about": about} for name, about in preset_names().items()],
        "methods": [{"name": name, "about": about} for name, about in method_names().items()],
    }


def preset_yaml(name: str, method: str | None = None) -> str:
    """One preset with a method as a file that ``train`` takes, and ``teacher train`` where the preset has its settings.

    Raises:
        UsageError: on an unknown preset or method.
    """
    settings = full_settings(name, method)
    del settings["preset"]  # a file's name is its own
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def show_preset(name: str, method: str | None = None) -> dict[str, Any]:
    """One preset with a method: every setting, and the sizes of its networks.

    Raises:
        UsageError: on an unknown preset or method.
    """
    recipe = load_recipe(name, method)
    model = recipe.teacher.model
    if model is None:
        raise UsageError(
            f"{name} does not say what its teacher is (teacher.model), so networks cannot be counted; try --yaml"
        )
    with torch.device("meta"):
        teacher = TEACHERS[model.kind].build(model)
        facts = DataFacts(shape=model.shape, num_classes=model.num_classes)
        student = build_student(recipe.student, facts)
    everything, sampling = student.parameter_counts()
    return {
        "preset": recipe.preset,
        "method": recipe.method,
        "about": recipe.about,
        "teacher": {
            "file": recipe.teacher.file,
            "kind": model.kind,
            "parameters": sum(p.numel() for p in teacher.parameters()),
        },
        "student": {"kind": recipe.student.kind, "parameters": everything, "sampling_parameters": sampling},
        "config": dump(recipe, complete=True),
    }
