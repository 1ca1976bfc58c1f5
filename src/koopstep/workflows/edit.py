"""``koopstep edit``: mixing modes of a picture, and filling in what is missing of one."""

from __future__ import annotations

from pathlib import Path

from koopstep.core.errors import UsageError
from koopstep.core.job import Job
from koopstep.editing.fill import FillOptions, Task, basis_of, fill_pictures
from koopstep.editing.mix import Edit, MixOptions, mix_modes
from koopstep.figures.images import write_images
from koopstep.workflows.edit_images import (
    check_training,
    mean_picture,
    pictures_to_mix,
    real_pictures,
    teacher_network,
)
from koopstep.workflows.findings import Written, free_folder, write_findings
from koopstep.workflows.run_folder import OpenRun, open_run


def mix_run(run: Path, options: MixOptions, *, out: Path | None, job: Job, overwrite: bool = False) -> Written:
    """Mix modes of a reference into a part of pictures; figures, pictures and ``values.json`` go to ``out``.

    Args:
        run: run or student folder.
        options: settings.
        out: folder; ``report/mix`` of the run when absent.
        job: where it runs, where it speaks and when it stops.
        overwrite: whether an ``out`` that is not empty may be written into.

    Raises:
        UsageError: on a folder that is not free, settings or pictures that do not fit, or a student that cannot do it.
    """
    folder = free_folder(run, "mix", out, [options.image, options.mask, options.reference], overwrite)
    opened = _of_images(run, job)
    given = None
    if options.image is not None:
        given = pictures_to_mix(opened, options.image, options.count, options.seed)
    job.console.say(f"mixing modes into {options.count if given is None else len(given.data)} pictures")
    return _write(mix_modes(opened.student, options, given), folder, opened)


def fill_run(
    run: Path,
    task: Task,
    options: FillOptions,
    *,
    out: Path | None,
    job: Job,
    overwrite: bool = False,
) -> Written:
    """Fill in what is missing of real pictures; figures, pictures and ``values.json`` go to ``out``.

    Args:
        run: run or student folder.
        task: what is missing.
        options: settings.
        out: folder; ``report/TASK`` of the run when absent.
        job: where it runs, where it speaks and when it stops.
        overwrite: whether an ``out`` that is not empty may be written into.

    Raises:
        UsageError: on a folder that is not free, settings or pictures that do not fit, or a student that cannot do it.
    """
    folder = free_folder(run, task, out, [options.image, options.mask], overwrite)
    opened = _of_images(run, job)
    check_training(opened)
    basis_of(task, options, opened.student.facts.shape)  # says what does not fit before any data is read
    pictures = real_pictures(opened, options.image, options.count, options.seed)
    job.console.say(f"filling in {len(pictures.data)} pictures in {options.steps} network calls each")
    mean, teacher = mean_picture(opened), teacher_network(opened, job.place.device)
    edit = fill_pictures(opened.student, task, options, pictures, mean=mean, teacher=teacher)
    return _write(edit, folder, opened)


def _of_images(run: Path, job: Job) -> OpenRun:
    opened = open_run(run, job.place.device)
    facts = opened.student.facts
    if not facts.is_image:
        what = "vectors" if len(facts.shape) != 3 else "data that are no images (their data_range is None)"
        raise UsageError(f"editing is for images; this student makes {what} of shape {facts.shape}")
    return opened


def _write(edit: Edit, folder: Path, opened: OpenRun) -> Written:
    write_images(folder / "edited", edit.pictures)
    return write_findings(edit.findings, folder, [folder / "edited"], student_sha256=opened.file.sha256)
