"""``koopstep teacher convert``: weights of other programs, read as data and written as ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from koopstep.core.config import dump, override
from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import make_folder, publish_folder, remove_stale, temporary_beside
from koopstep.core.job import Job
from koopstep.core.outputs import check_not_input, check_output
from koopstep.core.text import markdown
from koopstep.data.sources import load_source
from koopstep.students.files import load_student, save_student
from koopstep.students.foreign import ForeignStudent, is_checkerboard_module, read_checkerboard_module
from koopstep.students.table import build_student
from koopstep.teachers.base import TrainingData
from koopstep.teachers.files import TeacherHeader, save_teacher
from koopstep.teachers.foreign.base import ForeignTeacher
from koopstep.teachers.foreign.open import Described, beside, read_foreign
from koopstep.teachers.foreign.table import source_sha256
from koopstep.teachers.table import TEACHERS
from koopstep.workflows.teacher import teacher_info

WEIGHTS_DTYPES = ("float32", "float16", "float64")
KDM_MODULE = "kdm-module"
_OF_WEIGHTS = ("kind", "shape", "num_classes", "network", "preconditioning", "schedule", "sigma_data")


def convert(
    source: Path,
    out: Path,
    *,
    config: Path | None,
    sha256: str | None,
    weights_dtype: str,
    job: Job,
    changes: Sequence[str] = (),
    overwrite: bool = False,
    data: str | None = None,
) -> dict[str, Any]:
    """Read a foreign checkpoint without running anything in it, and write it as a teacher file or a student folder.

    Args:
        source: an EDM network pickle, a diffusers folder, a state dict with a config, or the published checkerboard module.
        out: the teacher's file; for the checkerboard module the student's folder, which must not exist.
        config: a teacher's config (YAML or JSON) for weights that do not say what they are.
        sha256: refuse any other file than the one with this digest.
        weights_dtype: how floats are stored.
        job: where it runs, where it speaks and when it stops.
        changes: ``key=value`` texts for the teacher's config, such as ``solver=ddim``; not for what the weights decide.
        overwrite: whether a teacher's file that is there may be replaced; what is read never is.
        data: name or path of what the teacher learned from, where the user knows it; every store repeats it.

    Raises:
        UsageError: an ``out`` that is there or is an input, an unknown format or content, another digest, a missing
            config, or a change that cannot be.
        DamagedError: the source is broken or holds what it should not.
        StorageError: the result cannot be written.
    """
    if weights_dtype not in WEIGHTS_DTYPES:
        raise UsageError(f"weights are stored as {', '.join(WEIGHTS_DTYPES)}, got {weights_dtype!r}")
    if not source.exists():
        raise UsageError(f"{source} does not exist")
    _check_place(source, config, out, overwrite)
    digest = source_sha256(source)
    job.console.say(f"SHA-256 of {source}: {digest}")
    if sha256 is not None and sha256.lower() != digest:
        raise DamagedError(f"{source} has SHA-256 {digest}, wanted {sha256}; it is another file, or was changed")
    if is_checkerboard_module(source):
        if changes or data is not None:
            raise UsageError("this file is a student, which has nothing to change; leave -o and --data away")
        return _write_student(read_checkerboard_module(source), source, digest, out, weights_dtype)
    name, found = read_foreign(source, config)
    teacher = _changed(found, changes, source)
    for note in teacher.notes:
        job.console.say(note)
    learned_from = None if data is None else _learned_from(data, teacher)
    return _write_teacher(teacher, name, source, digest, out, weights_dtype, learned_from)


def _learned_from(data: str, teacher: ForeignTeacher) -> TrainingData:
    """The record of the data that a user says the teacher learned from."""
    found = load_source(data).identity()
    classes = teacher.config.num_classes
    if found.shape != tuple(teacher.config.shape) or (classes and found.num_classes != classes):
        raise UsageError(
            f"--data {data}: has shape {found.shape} with {found.num_classes or 'no'} classes, the teacher makes "
            f"{tuple(teacher.config.shape)} with {classes or 'no'}; it did not learn from this"
        )
    return found


def _check_place(source: Path, config: Path | None, out: Path, overwrite: bool) -> None:
    """Neither the source, a file of its folder, nor a config that is or could be read beside it is written over."""
    inside = source.rglob("*") if source.is_dir() else beside(source)
    check_not_input(out, [source, *inside, *([] if config is None else [config])])
    if not out.is_dir():  # a student's folder must be new; a teacher is no folder
        check_output(out, overwrite=overwrite)
    elif not is_checkerboard_module(source):
        raise UsageError(f"{out} is a folder; name the teacher's file")


def _changed(teacher: ForeignTeacher, changes: Sequence[str], source: Path) -> ForeignTeacher:
    plain = override(dump(teacher.config, complete=True), changes)
    for change in changes:
        if change.split("=")[0].split(".")[0].strip() in _OF_WEIGHTS:
            raise UsageError(f"-o {change}: this is what the weights are; change how paths are made, such as solver")
    config = Described.parse({"config": plain}, f"the teacher of {source} with its changes").config
    return replace(teacher, config=config)


def _write_teacher(
    teacher: ForeignTeacher,
    name: str,
    source: Path,
    digest: str,
    out: Path,
    weights_dtype: str,
    learned_from: TrainingData | None,
) -> dict[str, Any]:
    model = TEACHERS[teacher.config.kind].build(teacher.config)
    model.load_state_dict(dict(teacher.tensors))  # every reader has checked that they fit
    recorded = {"name": source.name, "sha256": digest, "format": name, **teacher.recorded}
    header = TeacherHeader(
        config=teacher.config,
        name=source.stem,
        made_by=f"koopstep teacher convert {source.name} (SHA-256 {digest}); torch {torch.__version__}",
        weights_dtype=weights_dtype,
        source=recorded,
        training_data=learned_from,
    )
    save_teacher(out, header, model)
    written = teacher_info(str(out))
    return written | {"source": str(source), "source_sha256": digest, "format": name, "notes": list(teacher.notes)}


def _write_student(foreign: ForeignStudent, source: Path, digest: str, out: Path, weights_dtype: str) -> dict[str, Any]:
    if weights_dtype != "float32":
        raise UsageError("students are stored in float32; leave --dtype away")
    if out.exists():
        raise UsageError(f"{out} exists already; this becomes a student folder, so name one that does not exist")
    student = build_student(foreign.config, foreign.facts)
    student.load_state_dict(foreign.tensors)
    provenance = {"source": source.name, "source_sha256": digest, "source_format": KDM_MODULE}
    make_folder(out.parent)
    remove_stale(out.parent)
    temporary = temporary_beside(out)
    save_student(temporary, foreign.config, student, provenance, _card(foreign, source, digest))
    publish_folder(temporary, out)
    opened, described = load_student(out)
    return {
        "file": str(out),
        "name": source.stem,
        "sha256": described.sha256,
        "kind": foreign.config.kind,
        "shape": list(foreign.facts.shape),
        "num_classes": foreign.facts.num_classes,
        "parameters": opened.parameter_counts()[0],
        "source": str(source),
        "source_sha256": digest,
        "format": KDM_MODULE,
        "notes": ["a student, not a teacher: `koopstep sample` and `koopstep evaluate` open the folder"],
    }


def _card(foreign: ForeignStudent, source: Path, digest: str) -> str:
    return "\n".join(
        [
            "---",
            "library_name: koopstep",
            "tags:",
            "- koopman",
            "- distillation",
            "- one-step",
            "---",
            "",
            f"# {markdown(source.stem)}, a published KDM student",
            "",
            f"Converted from {markdown(source.name)} (SHA-256 {digest}), a pickled module that was read as data and never run.",
            "",
            f"- samples: shape {foreign.facts.shape}; one network evaluation a sample; unit-variance noise goes in",
            f"- latent: {foreign.config.latent} dimensions, affine operator",
            "",
            "The licence is the source's; it is not stated here.",
            "",
        ]
    )
