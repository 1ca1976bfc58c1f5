"""What is trained on what: the student before its first step, and the task of a recipe on a store."""

from __future__ import annotations

from pathlib import Path

import torch

from koopstep.core.config import dump
from koopstep.core.devices import Place
from koopstep.core.errors import UsageError
from koopstep.data.live import LivePaths
from koopstep.data.sources import DataSource, in_range
from koopstep.data.store import Store
from koopstep.features.lpips import LPIPS, find_lpips
from koopstep.losses.config import FeatureNetName
from koopstep.losses.objective import objective_for
from koopstep.losses.perceptual import PerceptualNetwork
from koopstep.recipes.recipe import Recipe
from koopstep.runs.folder import RunConfig
from koopstep.runs.origin import find_data, own_teacher, training_data
from koopstep.runs.record import teacher_choice
from koopstep.students.initialise import config_from_teacher, start_from_teacher
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student
from koopstep.teachers.base import TeacherIdentity
from koopstep.teachers.files import TeacherFile
from koopstep.training.checkpoint import NETWORK, flat
from koopstep.training.distillation import Distillation
from koopstep.training.settings import TrainingConfig


def first_student(
    recipe: Recipe, facts: DataFacts, identity: TeacherIdentity, before: RunConfig | None = None
) -> tuple[Recipe, KoopmanStudent]:
    """The student before its first step, and the recipe with what its start decided.

    Networks draw their weights from PyTorch's global generator, which the caller seeds. Where there is a run ``before`` to go
    on with, weights come from its checkpoint, not from the teacher: what that is stands in its header, or in the run.

    Raises:
        UsageError: if it should start from the teacher, but the teacher is not at hand or has other networks.
    """
    seed = recipe.training.seed
    unseen = tuple(facts.progress[state] for state in recipe.objective.held_out(len(facts.progress)))
    facts = facts.model_copy(update={"unseen": unseen})
    if recipe.initialise == "fresh":
        return recipe, build_student(recipe.student, facts, seed)
    known = None if before is None else teacher_choice(recipe, identity, before).model
    if known is not None:
        config = config_from_teacher(recipe.student, known)
        student = build_student(config, facts, seed)
    else:
        teacher = _own_teacher(recipe, identity)
        config = config_from_teacher(recipe.student, teacher.header.config)
        student = build_student(config, facts, seed)
        start_from_teacher(student, teacher)
    return recipe.model_copy(update={"student": config}), student


def task_of(recipe: Recipe, student: KoopmanStudent, store: Store, place: Place) -> tuple[Distillation, dict[str, str]]:
    """What is trained on what, and everything that its result depends on: name -> value."""
    looked_through: dict[str, str] = {}

    def find_network(name: FeatureNetName) -> PerceptualNetwork:
        network = _find_network(name)
        looked_through[f"{NETWORK}{name}"] = network.sha256
        return network

    real = _real_data(recipe, store.manifest.teacher) if recipe.objective.discriminator_data == "real" else None
    task = Distillation(
        student.to(place.device),
        objective_for(recipe.objective, student.facts, place.device, find_network),
        store,
        batch_size=recipe.training.batch_size,
        seed=recipe.training.seed,
        place=place,
        steps=recipe.training.steps,
        real=real,
        live=_live_paths(recipe, store, place) if recipe.paths == "live" else None,
        read_ahead=_reads_ahead(recipe.training, place),
    )
    settings = dump(recipe)
    depends_on = flat({name: settings[name] for name in ("initialise", "paths", "student", "objective", "training")})
    depends_on["data"] = store.root
    if real is not None:
        depends_on["real data"] = f"{real.name} {real.identity().sha256}"
    return task, depends_on | looked_through


def _real_data(recipe: Recipe, identity: TeacherIdentity) -> DataSource:
    """The data the teacher learned from, for the discriminator.

    Raises:
        UsageError: if it is not known, not at hand, or not what the recipe names.
    """
    advice = (
        "; objective.discriminator_data=real needs it: put it there, or set -o objective.discriminator_data=teacher"
    )
    learned = training_data(recipe.teacher.file, identity).need(advice)
    source = find_data(learned, [recipe.data]).need(advice)
    if Path(recipe.data).name != source.name:
        raise UsageError(
            f"objective.discriminator_data=real shows the discriminator what the teacher learned from, {source.name!r}, but "
            f"the recipe names {recipe.data!r}; set -o data={source.name}"
        )
    return in_range(source, identity.data_range)


def _live_paths(recipe: Recipe, store: Store, place: Place) -> LivePaths:
    """The store's teacher, going on where the store ends."""
    return LivePaths(_own_teacher(recipe, store.manifest.teacher, place.device).teacher, store.manifest, place.device)


def _own_teacher(recipe: Recipe, identity: TeacherIdentity, device: torch.device | None = None) -> TeacherFile:
    """The teacher that made the paths.

    Raises:
        UsageError: if it is not at hand.
    """
    without = "initialise=fresh" if recipe.initialise == "teacher" else "paths=stored"
    advice = f"; the student learns from it: name it with -o teacher.file=PATH, or set -o {without}"
    return own_teacher((recipe.teacher.file,), identity.name, identity.sha256, device).need(advice)


def _reads_ahead(config: TrainingConfig, place: Place) -> bool:
    """A thread helps where the networks do not need the processor themselves."""
    return place.device.type == "cuda" if config.read_ahead is None else config.read_ahead


def _find_network(name: FeatureNetName) -> LPIPS:
    return find_lpips(name)
