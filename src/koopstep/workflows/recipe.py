"""A recipe: every setting of the way from a teacher to an evaluated student. Presets are recipes, methods change some lines."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from koopstep.core.config import Config, dump, override
from koopstep.core.errors import UsageError
from koopstep.core.explain import nearest
from koopstep.core.files import read_bytes
from koopstep.core.yaml_reader import parse_yaml
from koopstep.data.collect import CollectSettings
from koopstep.evaluation.metrics import METRICS
from koopstep.losses.objective import ObjectiveConfig
from koopstep.students.table import StudentConfig
from koopstep.teachers.table import TeacherConfig
from koopstep.training.settings import TrainingConfig
from koopstep.workflows.tracking import Tracking


class TeacherRecipe(Config):
    """The teacher: a packaged file's name (or a path), and how it was trained.

    Attributes:
        file: what ``collect`` uses when no other teacher is named.
        model: the teacher's configuration.
        training: how ``koopstep teacher train`` trains it.
        weights_dtype: how its weights are stored.
        augment: probability of each of EDM's augmentations, which the network is told (it needs ``augment_channels: 9``).
        xflip: mirror every other image at random; the network is not told.
    """

    file: str
    model: TeacherConfig
    training: TrainingConfig
    weights_dtype: Literal["float32", "float16", "float64"] = "float32"
    augment: float = Field(default=0.0, ge=0, le=1)
    xflip: bool = False


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
    teacher: TeacherRecipe
    collect: CollectSettings
    initialise: Literal["fresh", "teacher"] = "fresh"
    paths: Literal["stored", "live"] = "stored"
    tracking: Tracking = "none"
    student: StudentConfig
    objective: ObjectiveConfig
    training: TrainingConfig
    evaluation: EvaluationRecipe


def _read(name: str) -> dict[str, Any]:
    text = (resources.files("koopstep") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    result: dict[str, Any] = parse_yaml(text, f"preset {name}")
    return result


def _read_own(path: Path) -> dict[str, Any]:
    """A preset that is somebody's own file: plain settings, laid out as the packaged ones are."""
    try:
        settings = parse_yaml(read_bytes(path).decode(), str(path))
        plain: Any = json.loads(json.dumps(settings))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path} is no preset: {error}") from error
    if not isinstance(plain, dict):
        raise UsageError(f"{path} is no preset: it must hold settings by name, as `koopstep presets NAME` shows them")
    for layers in [plain, *_layers(plain, "budgets", path).values()]:
        _layers(layers, "methods", path)
    return plain


def _layers(settings: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    found = settings.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise UsageError(f"{path}: {key!r} must hold settings under each name")
    return found


def method_names() -> dict[str, str]:
    """Method -> one line about it."""
    return {name: str(entry["about"]) for name, entry in _read("methods").items()}


def preset_names() -> dict[str, str]:
    """Preset -> one line about it."""
    folder = resources.files("koopstep") / "presets"
    names = sorted(file.name[: -len(".yaml")] for file in folder.iterdir() if file.name.endswith(".yaml"))
    return {name: str(_read(name)["about"]) for name in names if name != "methods"}


def load_recipe(preset: str, method: str = "kdm", changes: Iterable[str] = (), *, budget: str | None = None) -> Recipe:
    """Resolve a preset, a method and single changes into a complete recipe.

    Later ones win: the preset, the method's settings, the preset's own settings for that method, the budget (``demo`` or
    ``quick``: shorter versions a preset may define, with settings for the method again), then ``changes``.

    Args:
        preset: one of :func:`preset_names`, or the path of a ``.yaml`` file of the same layout.
        method: one of :func:`method_names`.
        changes: ``key=value`` texts with dotted keys.
        budget: name of a budget of the preset; None for the full one.

    Raises:
        UsageError: on unknown names, keys or values, or a file that is no preset.
    """
    own_file = Path(preset) if preset.endswith((".yaml", ".yml")) else None
    if own_file is None:
        _check_known("preset", preset, preset_names(), "; or name a .yaml file")
    _check_known("method", method, method_names())
    settings = _read(preset) if own_file is None else _read_own(own_file)
    budgets, own = settings.pop("budgets", {}), settings.pop("methods", {})
    settings = _merge(settings, _read("methods")[method]["settings"])
    settings = _merge(settings, own.get(method, {}))
    chosen = dict(budgets.get(budget, {})) if budget else {}
    of_method = chosen.pop("methods", {}).get(method, {})
    settings = _merge(_merge(settings, chosen), of_method)
    _take_network(settings)
    settings = settings | {"preset": own_file.stem if own_file else preset, "method": method}
    complete = dump(Recipe.parse(settings, f"preset {preset} with method {method}"))
    return Recipe.parse(override(complete, changes), f"preset {preset} with method {method}")


def _take_network(settings: dict[str, Any]) -> None:
    """An HKD student without a network of its own has the teacher's, less the place for augmentation labels."""
    student, model = settings.get("student"), settings.get("teacher", {}).get("model", {})
    if isinstance(student, dict) and student.get("kind") == "hkd" and "network" not in student and "network" in model:
        told = ("augment_channels",)
        student["network"] = {name: value for name, value in model["network"].items() if name not in told}


def _check_known(what: str, name: str, known: Iterable[str], otherwise: str = "") -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"unknown {what} {name!r}; {hint}known: {', '.join(known)}{otherwise}")


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``above`` on top of ``below``; a mapping that names another ``kind`` replaces the one below whole."""
    result = json.loads(json.dumps(below))
    for key, value in above.items():
        old = result.get(key)
        same_kind = (
            isinstance(value, dict) and isinstance(old, dict) and value.get("kind", old.get("kind")) == old.get("kind")
        )
        result[key] = _merge(old, value) if same_kind else value
    return result  # type: ignore[no-any-return]
