"""``koopstep teacher``: train one from scratch, say what one is."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import torch

from koopstep.core.arguments import AnyDevice, AnyPath, checked_but
from koopstep.core.config import Changes, assignments, dump
from koopstep.core.devices import barrier, seeded
from koopstep.core.errors import UsageError
from koopstep.core.files import read_bytes
from koopstep.core.job import Job, working
from koopstep.core.outputs import check_output
from koopstep.core.yaml_reader import parse_yaml
from koopstep.data.augment import LABELS
from koopstep.data.sources import DataSource, in_range, load_source
from koopstep.recipes.layers import own_files
from koopstep.recipes.recipe import TeacherRecipe, load_teacher_recipe
from koopstep.runs.claim import claimed
from koopstep.runs.folder import CONFIG, write_config
from koopstep.runs.record import course_note
from koopstep.runs.resumable import Trained, begin_training, run_training
from koopstep.teachers.base import Teacher
from koopstep.teachers.files import TeacherHeader, header_of, save_teacher
from koopstep.teachers.table import TEACHERS
from koopstep.training.checkpoint import checkpoints, flat
from koopstep.training.denoising import Denoising
from koopstep.workflows.load_teacher import load_teacher

_DECIDES = ("data", "teacher")  # of config.yaml: what makes it the same training


@checked_but("changes")
def train_teacher(
    preset: AnyPath,
    out: AnyPath,
    *,
    changes: Changes = (),
    resume: bool = False,
    overwrite: bool = False,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Teacher:
    """Train the teacher of a preset from scratch and write it to a file.

    Args:
        preset: the name of a preset, or a ``.yaml`` file of one's own.
        out: the teacher's file (``.safetensors``); checkpoints live in a folder beside it meanwhile.
        changes: single settings: ``{"teacher.training.steps": 500}``, or texts as in ``["teacher.training.steps=500"]``.
        resume: go on with the training of ``out``, if there is one.
        overwrite: delete the training of ``out`` first, and write over the file at the end.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words and no progress bars on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Raises:
        UsageError: unknown names, data that does not fit, or a file or a training there without ``resume`` or ``overwrite``.

    Example:
        >>> teacher = koopstep.train_teacher("digits", "mine.safetensors")
    """
    with working(job, device, quiet) as job:
        teach(os.fspath(preset), Path(out), changes=assignments(changes), resume=resume, overwrite=overwrite, job=job)
        return load_teacher(Path(out), device=job.place.device)


def teach(
    preset: str,
    out: Path,
    *,
    changes: list[str],
    resume: bool,
    job: Job,
    overwrite: bool = False,
) -> Trained:
    """Train the teacher of ``preset`` and write it to the file ``out``; checkpoints live in ``out`` + ``.run`` meanwhile.

    Raises:
        UsageError: on unknown names, data that does not fit, another process that trains it, or a file or a training there
            without ``resume`` or ``overwrite``.
        Interrupted: after ``job.stop`` said so and a checkpoint was written.
    """
    recipe = load_teacher_recipe(preset, changes)
    inputs = [path for path in (*own_files(preset), Path(recipe.data)) if path.exists()]
    work = _work_folder(inputs, out, resume, overwrite)
    config, training = recipe.teacher.model, recipe.teacher.training
    kind = TEACHERS[config.kind]
    if kind.loss is None:
        raise UsageError(
            f"a teacher of kind {config.kind!r} is known in closed form or comes trained; nothing to train"
        )
    source = load_source(recipe.data)
    _check_data(recipe, source)
    with seeded(training.seed, torch.device("cpu")):
        model = kind.build(config).to(job.place.device)
    source = in_range(source, kind.teacher(config, model, recipe.teacher.file, "").data_range)
    task = Denoising(
        model,
        functools.partial(kind.loss, config),
        source,
        conditional=bool(config.num_classes),
        batch_size=training.batch_size,
        seed=training.seed,
        place=job.place,
        augment=recipe.teacher.augment,
        xflip=recipe.teacher.xflip,
    )
    settings = dump(recipe)
    depends_on = flat({"teacher": settings["teacher"]}) | {"data": f"{recipe.data} {source.sha256()}"}
    written = recipe if job.place.leads else None
    with claimed(work, written, _DECIDES, inputs, resume=resume, overwrite=overwrite, job=job):
        state = begin_training(task, training, work, depends_on, job=job)
        if job.place.leads:
            note = _longer_note(work, recipe) if state.step else None
            if note:
                job.console.say(note)
            write_config(work, recipe)
        done = run_training(task, state, training, work, depends_on, job=job)
        if job.place.leads:
            save_teacher(out, _header(recipe, preset, changes, out, source), state.average.model)
        barrier(job.place)
    return done


def _header(recipe: TeacherRecipe, preset: str, changes: list[str], out: Path, source: DataSource) -> TeacherHeader:
    """The teacher is called after its file: the preset's name is that of another teacher."""
    command = f"koopstep teacher train {preset}" + "".join(f" -o {change}" for change in changes)
    learned_from = source.identity()
    return TeacherHeader(
        config=recipe.teacher.model,
        name=out.stem,
        made_by=f"{command}; data {source.name} {learned_from.sha256[:16]}; torch {torch.__version__}",
        weights_dtype=recipe.teacher.weights_dtype,
        training_data=learned_from,
    )


def teacher_info(source: str) -> dict[str, Any]:
    """What a teacher is: anything that :func:`~koopstep.load_teacher` opens.

    Raises:
        UsageError: if it is no teacher.
        DamagedError: if its file is damaged.
    """
    teacher = load_teacher(source, device="cpu")
    header = None if teacher.source is None or teacher.source.is_dir() else header_of(teacher.source)
    found = teacher.training_data
    return {
        "file": None if teacher.source is None else str(teacher.source),
        "sha256": teacher.sha256,
        "kind": teacher.kind,
        "name": teacher.name,
        "shape": list(teacher.shape),
        "num_classes": teacher.num_classes,
        "parameters": teacher.parameters,
        "weights_dtype": None if header is None else header.weights_dtype,
        "made_by": "" if header is None else header.made_by,
        "source": {} if header is None else header.source,
        "training_data": None if found is None else dump(found),
        "config": None if teacher.config is None else dump(teacher.config, complete=True),
    }


def _work_folder(inputs: list[Path], out: Path, resume: bool, overwrite: bool) -> Path:
    """Where the checkpoints of ``out`` live. A training that is resumed may write again what it wrote itself."""
    work = out.with_name(out.name + ".run")
    if not (resume and checkpoints(work / "checkpoints")):
        check_output(out, inputs=inputs, overwrite=overwrite)
    return work


def _longer_note(work: Path, recipe: TeacherRecipe) -> str | None:
    """What it means that the training in ``work`` was made longer; None where nothing changes by it."""
    try:
        before = TeacherRecipe.parse(parse_yaml(read_bytes(work / CONFIG).decode(errors="replace"), CONFIG), CONFIG)
    except UsageError:
        return None
    steps, training = before.teacher.training.steps, recipe.teacher.training
    return course_note(steps, training) if steps < training.steps else None


def _check_data(recipe: TeacherRecipe, source: DataSource) -> None:
    config = recipe.teacher.model
    if (recipe.teacher.augment or recipe.teacher.xflip) and len(config.shape) != 3:
        raise UsageError(f"teacher.augment and teacher.xflip change images, the data {source.name!r} are none")
    channels = getattr(getattr(config, "network", None), "augment_channels", 0)
    if recipe.teacher.augment and channels != LABELS:
        raise UsageError(
            f"teacher.augment tells the network {LABELS} numbers about each image; set "
            f"-o teacher.model.network.augment_channels={LABELS}, or teacher.augment=0"
        )
    if source.shape != tuple(config.shape):
        raise UsageError(f"the data {source.name!r} has shape {source.shape}, the teacher wants {tuple(config.shape)}")
    if config.num_classes and source.num_classes != config.num_classes:
        raise UsageError(
            f"the teacher wants {config.num_classes} classes, the data {source.name!r} has {source.num_classes}"
        )
