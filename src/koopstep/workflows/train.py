"""``koopstep train``: settings and a store in, a finished run out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from koopstep.core.arguments import AnyDevice, AnyPath, checked_but
from koopstep.core.config import Changes, assignments
from koopstep.core.devices import barrier, seeded
from koopstep.core.errors import UsageError
from koopstep.core.files import remove_stale
from koopstep.core.job import Job, working
from koopstep.data.store import Store
from koopstep.recipes.layers import own_files
from koopstep.recipes.recipe import Recipe
from koopstep.runs.card import student_card
from koopstep.runs.claim import claimed
from koopstep.runs.folder import RunConfig, write_config
from koopstep.runs.record import (
    choose_run,
    growth_note,
    longer_note,
    own_recipe,
    record,
    recorded,
    with_growth,
)
from koopstep.runs.resumable import Trained, begin_training, run_training
from koopstep.runs.task import first_student, task_of
from koopstep.students.files import save_student
from koopstep.students.initialise import note_on_start
from koopstep.students.student import DataFacts
from koopstep.training.checkpoint import checkpoints
from koopstep.workflows.run import Run

# of config.yaml: what makes it the same run
_DECIDES = (
    "data_root",
    "recipe.initialise",
    "recipe.paths",
    "recipe.student",
    "recipe.objective",
    "recipe.training",
)
_LOOKED_AT = 64  # rows, before the first step


@checked_but("changes")
def train(
    recipe: str | os.PathLike[str] | Recipe | None = None,
    store: AnyPath | None = None,
    out: AnyPath | None = None,
    *,
    method: str | None = None,
    changes: Changes = (),
    resume: bool = False,
    overwrite: bool = False,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Run:
    """Train a student on stored paths.

    Args:
        recipe: every setting: the name of a preset, a ``.yaml`` file of one's own, a run's ``config.yaml``, or a `Recipe`.
            With ``resume`` the run itself, which knows the rest.
        store: the paths to learn from.
        out: the run's folder, made if absent.
        method: how the student learns; what the file says, else ``kdm``, when absent.
        changes: single settings: ``{"training.steps": 500}``, or texts as in ``["training.steps=500"]``.
        resume: go on with the run in ``out``, if there is one; with more ``training.steps`` it becomes longer.
        overwrite: delete the run in ``out`` first.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words and no progress bars on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Raises:
        UsageError: something does not fit or is unknown, or ``out`` holds a run and neither ``resume`` nor ``overwrite``.
        NumericsError: the loss is not finite.

    Example:
        >>> run = koopstep.train("digits", "paths", "run", method="hkd", changes={"training.steps": 2000})
        >>> koopstep.train(run, resume=True, changes={"training.steps": 4000})
    """
    texts = assignments(changes)
    paths = [None if path is None else Path(path) for path in (store, out)]
    if isinstance(recipe, Recipe):
        chosen, data, folder = own_recipe(recipe, method, texts, *paths)
        inputs = []
    else:
        name = None if recipe is None else str(Path(recipe) if isinstance(recipe, os.PathLike) else recipe)
        chosen, data, folder = choose_run(name, method, texts, *paths, resume=resume)
        inputs = [] if resume or name is None else own_files(name)
    with working(job, device, quiet) as job:
        done = train_student(chosen, data, folder, resume=resume, overwrite=overwrite, inputs=inputs, job=job)
    return Run(folder, device=device, trained=done)


def train_student(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: bool,
    job: Job,
    overwrite: bool = False,
    inputs: Iterable[Path] = (),
) -> Trained:
    """Train a student of ``recipe`` on the store ``data`` into the run folder ``out``; ``inputs`` are the recipe's own files.

    Raises:
        UsageError: if something does not fit, ``out`` holds a run and neither ``resume`` nor ``overwrite`` is set, or
            another process trains in it.
        Interrupted: after ``job.stop`` said so and a checkpoint was written.
    """
    recipe.training.check(job.place.world)
    store = Store.open(data)
    identity = store.manifest.teacher
    facts = DataFacts.of(store.manifest)
    _check_fit(recipe, facts)
    goes_on = resume and bool(checkpoints(out / "checkpoints"))
    known = recorded(out) if resume else None
    before = known if goes_on else None
    earlier = [root for root in store.history() if root != store.root]
    with seeded(recipe.training.seed, torch.device("cpu")):  # the discriminator's weights are drawn after the student's
        recipe, student = first_student(recipe, facts, identity, before)
        task, depends_on = task_of(recipe, student, store, job.place)
    config = record(recipe, store, out, before) if job.place.leads else None
    reads = [data, *inputs]
    grown = known is not None and known.data_root in earlier
    decides = tuple(name for name in _DECIDES if name != "data_root" or not grown)
    with claimed(out, config, decides, reads, resume=resume, overwrite=overwrite, job=job):
        if job.place.leads and not goes_on:
            _say(_held_out_note(recipe, len(facts.progress)), job)
            note = note_on_start(student, store.batch(store.training_rows()[:_LOOKED_AT]))
            _say(note, job)
        state = begin_training(task, recipe.training, out, depends_on, job=job, earlier={"data": earlier})
        if goes_on and state.step == 0:
            raise UsageError(f"the checkpoints of {out} were deleted just now; begin again without --resume")
        if config is not None:
            config = with_growth(config, before, store, state.step)
            _say(longer_note(config), job)
            _say(growth_note(config, before, store, state.step), job)
            write_config(out, config)
        done = run_training(
            task,
            state,
            recipe.training,
            out,
            depends_on,
            job=job,
            tracking=recipe.tracking,
        )
        if config is not None:
            _save(out / "student", config, state.average.model, facts)
        barrier(job.place)
    return done


def _held_out_note(recipe: Recipe, kept: int) -> str:
    """What to say where paths keep too few states to leave out as many as was asked."""
    asked, found = recipe.objective.states_held_out, len(recipe.objective.held_out(kept))
    if found == asked:
        return ""
    return (
        f"objective.states_held_out is {asked}, and {found or 'none'} can be left out of the {max(kept - 2, 0)} states that "
        "these paths keep between their ends; collect with a larger --keep"
    )


def _say(note: str | None, job: Job) -> None:
    if note:
        job.console.say(note)


def _save(folder: Path, config: RunConfig, student: nn.Module, facts: DataFacts) -> None:
    recipe = config.recipe
    provenance = {
        "preset": recipe.preset,
        "method": recipe.method,
        "teacher": config.teacher,
        "teacher_sha256": config.teacher_sha256,
        "data_root": config.data_root,
    }
    remove_stale(folder)  # what a kill left of the last attempt to write it
    save_student(folder, recipe.student, student, provenance, student_card(recipe, facts, provenance))  # type: ignore[arg-type]


def _check_fit(recipe: Recipe, facts: DataFacts) -> None:
    wanted = recipe.teacher.model
    if wanted is not None and tuple(wanted.shape) != facts.shape:
        raise UsageError(
            f"the preset {recipe.preset!r} is for data of shape {tuple(wanted.shape)}, the store holds {facts.shape}; "
            "choose the preset that fits or collect with its teacher"
        )
