"""What a run's ``config.yaml`` says: the recipe as it happened, and the recipe of a run that goes on."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from koopstep.core.config import refuse_changes
from koopstep.core.errors import DamagedError, UsageError
from koopstep.data.collect import settings_of
from koopstep.data.store import Store
from koopstep.recipes.layers import preset_names
from koopstep.recipes.recipe import Recipe, TeacherChoice, change_recipe, load_recipe
from koopstep.runs.folder import CONFIG, EarlierData, RunConfig, own_store, read_config
from koopstep.runs.origin import own_teacher_file
from koopstep.teachers.base import TeacherIdentity
from koopstep.teachers.files import read_header
from koopstep.teachers.packaged import packaged_teachers
from koopstep.training.settings import TrainingConfig


def record(recipe: Recipe, store: Store, run: Path, before: RunConfig | None) -> RunConfig:
    """What happens when ``recipe`` is trained on ``store``: the store's collection and teacher stand in place of the preset's.

    Args:
        recipe: complete.
        store: what is learned.
        run: the run's folder.
        before: what the run that is resumed says, whose earlier lengths are kept; None where training begins.
    """
    manifest = store.manifest
    identity = manifest.teacher
    happened = {"collect": settings_of(manifest), "teacher": teacher_choice(recipe, identity, before)}
    return RunConfig(
        recipe=recipe.model_copy(update=happened),
        data=str(store.folder.resolve()),
        data_root=store.root,
        teacher=identity.name,
        teacher_sha256=identity.sha256,
        training_data=identity.training_data,
        earlier_steps=() if before is None else _earlier_steps(recipe, before),
        earlier_data=() if before is None else before.earlier_data,
        data_beside=os.path.relpath(store.folder.resolve(), run.resolve()),
    )


def with_growth(config: RunConfig, before: RunConfig | None, store: Store, step: int) -> RunConfig:
    """``config`` of a run that goes on at ``step``, and whose store may have grown since ``before``."""
    held = None if before is None else store.history().get(before.data_root)
    if before is None or held is None or held.count == store.count:
        return config
    if step >= config.recipe.training.steps:  # it learns nothing from the new paths
        collect = {"collect": before.recipe.collect}
        unchanged = {"data_root": before.data_root, "recipe": config.recipe.model_copy(update=collect)}
        return config.model_copy(update=unchanged)
    earlier = EarlierData(root=before.data_root, count=held.count, steps=step)
    return config.model_copy(update={"earlier_data": (*before.earlier_data, earlier)})


def growth_note(config: RunConfig, before: RunConfig | None, store: Store, step: int) -> str | None:
    """What it means that a run's store has grown since ``before``; None where it has not."""
    held = None if before is None else store.history().get(before.data_root)
    if held is None or held.count == store.count:
        return None
    more = f"{store.count - held.count} more paths"
    if config.data_root != store.root:
        return f"the store has {more}, and no step is left to learn from them: set training.steps above {step}"
    return f"{more} since step {step}: the steps before learned from {held.count}, from now on they are {store.count}"


def recorded(run: Path) -> RunConfig | None:
    """What the run that is resumed says; None where that cannot be read."""
    try:
        return read_config(run)
    except (UsageError, DamagedError):
        return None


def teacher_choice(recipe: Recipe, identity: TeacherIdentity, before: RunConfig | None) -> TeacherChoice:
    """Where the teacher of the paths is, as it is; where it is not at hand (any more), what was known, or its name alone."""
    found = own_teacher_file((recipe.teacher.file, identity.name), identity.name, identity.sha256).value
    if found is None:
        known = before is not None and before.teacher_sha256 == identity.sha256
        return before.recipe.teacher if before is not None and known else TeacherChoice(file=identity.name)
    packaged = {path: name for name, path in packaged_teachers().items()}
    return TeacherChoice(file=packaged.get(found, str(found.resolve())), model=read_header(found).config)


def _earlier_steps(recipe: Recipe, before: RunConfig) -> tuple[int, ...]:
    """How long the run was meant to be before it was made as long as ``recipe`` says."""
    steps = before.recipe.training.steps
    return (*before.earlier_steps, *([steps] if steps < recipe.training.steps else []))


def longer_note(config: RunConfig) -> str | None:
    """What it means that a run was made longer, where its course depends on its length; None where it does not."""
    if not config.earlier_steps:
        return None
    recipe = config.recipe
    return course_note(config.earlier_steps[-1], recipe.training, recipe.objective.pixel_fade)


def course_note(earlier: int, training: TrainingConfig, pixel_fade: float = 0.0) -> str | None:
    """What it means that ``training`` was to be ``earlier`` steps long before; None where its course does not depend on it."""
    courses = {
        f"the learning rate ({training.schedule})": training.schedule != "constant",
        "the weight of the pixels' distance": pixel_fade > 0,
    }
    changed = [name for name, depends in courses.items() if depends]
    if not changed:
        return None
    return (
        f"{' and '.join(changed)} now follow{'s' if len(changed) == 1 else ''} a training of {training.steps} steps; "
        f"what was trained before followed one of {earlier}"
    )


def own_recipe(
    recipe: Recipe, method: str | None, changes: Iterable[str], data: Path | None, out: Path | None
) -> tuple[Recipe, Path, Path]:
    """A recipe made in Python, with changes, and the store and folder to train it with.

    Raises:
        UsageError: if one is missing, or ``method`` names another than the recipe is of.
    """
    if data is None or out is None:
        raise UsageError("train needs a store to learn from and a folder to make: train(recipe, store, out)")
    if method not in (None, recipe.method):
        raise UsageError(
            f"this recipe is of the method {recipe.method}, not {method}; load one: load_recipe(preset, method)"
        )
    return change_recipe(recipe, changes, f"recipe {recipe.preset}"), data, out


def choose_run(
    preset: str | None,
    method: str | None,
    changes: Iterable[str],
    data: Path | None,
    out: Path | None,
    *,
    resume: bool,
) -> tuple[Recipe, Path, Path]:
    """The recipe, the store and the run folder that ``koopstep train`` means; a run that goes on names them itself.

    Args:
        preset: a preset's name, a ``.yaml`` file, or the folder of a run to go on with.
        method: a method's name, or None for what the file says.
        changes: ``key=value`` texts.
        data: the store, or None for that of the run.
        out: the run folder, or None for ``preset``.
        resume: whether a run is resumed.

    Raises:
        UsageError: if something is missing or does not belong together.
    """
    changes = list(changes)
    refuse_changes(changes, {"collect": "the store says how it was collected; `koopstep collect` has these settings"})
    is_folder = preset is not None and preset not in preset_names() and Path(preset).is_dir()
    if preset is not None and not is_folder:
        if data is None or out is None:
            missing = "--data DIR (the store to learn from)" if data is None else "--out RUN (the folder to make)"
            raise UsageError(f"train needs {missing}; only `koopstep train RUN --resume` knows them itself")
        return load_recipe(preset, method, changes), data, out
    named = [path for path in (Path(preset) if preset is not None else None, out) if path is not None]
    if not named:
        raise UsageError("name a preset to train with, or a run to go on with: `koopstep train RUN --resume`")
    run = named[0]
    if not resume:
        raise UsageError(
            f"{run} is a folder; add --resume to go on with that run, or name {run}/config.yaml as a preset"
        )
    if any(path.resolve() != run.resolve() for path in named):
        raise UsageError(f"to go on with {run} leave --out away, or name the same folder; got {out}")
    config = read_config(run)
    if method not in (None, config.recipe.method):
        raise UsageError(
            f"{run} was begun with --method {config.recipe.method}, not {method}; train into another folder"
        )
    where = str(run / CONFIG)
    return change_recipe(config.recipe, changes, where), data or own_store(run, config).folder, run
