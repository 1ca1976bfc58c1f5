"""What is missing of pictures, filled in: these functions are in ``koopstep.edit``."""

from __future__ import annotations

from pathlib import Path

from koopstep.core.arguments import AnyDevice, AnyPath, check_memory, checked
from koopstep.core.job import Job, working
from koopstep.editing.fill import FillOptions, Task, basis_of, fill_pictures
from koopstep.editing.masks import Rectangle
from koopstep.editing.tables import Edit
from koopstep.figures.images import write_images
from koopstep.runs.findings import Written, free_folder, write_findings
from koopstep.runs.folder import OpenRun
from koopstep.runs.pictures import check_training, mean_picture, open_images, real_pictures, teacher_network


@checked
def inpaint(
    run: AnyPath,
    *,
    count: int = 32,
    mask: AnyPath | None = None,
    rectangle: Rectangle | None = None,
    at: float | None = None,
    steps: int = 10,
    image: AnyPath | None = None,
    seed: int = 0,
    out: AnyPath | None = None,
    overwrite: bool = False,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Written:
    """Fill in a part of real pictures that is missing.

    Args:
        run: a run, its folder, or a student's folder.
        count: pictures.
        mask: a picture file, white where something is missing; the left half when absent.
        rectangle: the same as corners (x0, y0, x1, y1) from 0 to 1; (0, 0) is top left.
        at: progress u to start from, 0 is noise; where noise is four times the data when absent.
        steps: network calls a picture.
        image: a picture to edit, or a folder of them; the run's real data when absent.
        seed: of all noise, and of which pictures are taken.
        out: folder for figures, pictures and ``values.json``; ``report/inpaint`` of the run when absent.
        overwrite: whether an ``out`` that is named and not empty may be written into.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Returns:
        ``.conclusion`` (one sentence), ``.numbers``, ``.values``, ``.files``; the edited pictures lie in ``edited``.

    Raises:
        UsageError: a value out of range, pictures that do not fit, or a student that does not know its path.
    """
    options = FillOptions(
        count=count, seed=seed, at=at, steps=steps, image=path_of(image), mask=path_of(mask), rectangle=rectangle
    )
    with working(job, device, quiet) as job:
        return _fill(Path(run), "inpaint", options, path_of(out), overwrite, job)


@checked
def colorize(
    run: AnyPath,
    *,
    count: int = 32,
    at: float | None = None,
    steps: int = 10,
    image: AnyPath | None = None,
    seed: int = 0,
    out: AnyPath | None = None,
    overwrite: bool = False,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Written:
    """Give real pictures colours, from their grey values.

    Args:
        run: a run, its folder, or a student's folder.
        count: pictures.
        at: progress u to start from, 0 is noise; where noise is four times the data when absent.
        steps: network calls a picture.
        image: a picture to edit, or a folder of them; the run's real data when absent.
        seed: of all noise, and of which pictures are taken.
        out: folder for figures, pictures and ``values.json``; ``report/colorize`` of the run when absent.
        overwrite: whether an ``out`` that is named and not empty may be written into.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Returns:
        ``.conclusion`` (one sentence), ``.numbers``, ``.values``, ``.files``; the edited pictures lie in ``edited``.

    Raises:
        UsageError: a value out of range, pictures that do not fit, or a student that does not know its path.
    """
    options = FillOptions(count=count, seed=seed, at=at, steps=steps, image=path_of(image))
    with working(job, device, quiet) as job:
        return _fill(Path(run), "colorize", options, path_of(out), overwrite, job)


@checked
def superres(
    run: AnyPath,
    *,
    count: int = 32,
    factor: int = 2,
    at: float | None = None,
    steps: int = 10,
    image: AnyPath | None = None,
    seed: int = 0,
    out: AnyPath | None = None,
    overwrite: bool = False,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Written:
    """Make real pictures larger, from their means over squares of pixels.

    Args:
        run: a run, its folder, or a student's folder.
        count: pictures.
        factor: how many times larger.
        at: progress u to start from, 0 is noise; where noise is four times the data when absent.
        steps: network calls a picture.
        image: a picture to edit, or a folder of them; the run's real data when absent.
        seed: of all noise, and of which pictures are taken.
        out: folder for figures, pictures and ``values.json``; ``report/superres`` of the run when absent.
        overwrite: whether an ``out`` that is named and not empty may be written into.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Returns:
        ``.conclusion`` (one sentence), ``.numbers``, ``.values``, ``.files``; the edited pictures lie in ``edited``.

    Raises:
        UsageError: a value out of range, pictures that do not fit, or a student that does not know its path.
    """
    options = FillOptions(count=count, seed=seed, at=at, steps=steps, image=path_of(image), factor=factor)
    with working(job, device, quiet) as job:
        return _fill(Path(run), "superres", options, path_of(out), overwrite, job)


def _fill(run: Path, task: Task, options: FillOptions, out: Path | None, overwrite: bool, job: Job) -> Written:
    folder = free_folder(run, task, out, [options.image, options.mask], overwrite)
    opened = open_images(run, job)
    check_memory(options.count, opened.student.facts.shape, "count")
    check_training(opened)
    basis_of(task, options, opened.student.facts.shape)  # says what does not fit before any data is read
    pictures = real_pictures(opened, options.image, options.count, options.seed)
    job.console.say(f"filling in {len(pictures.data)} pictures in {options.steps} network calls each")
    mean, teacher = mean_picture(opened), teacher_network(opened, job.place.device)
    edit = fill_pictures(opened.student, task, options, pictures, mean=mean, teacher=teacher)
    return write_edit(edit, folder, opened)


def write_edit(edit: Edit, folder: Path, opened: OpenRun) -> Written:
    """The findings of an edit, and its pictures one by one."""
    write_images(folder / "edited", edit.pictures)
    return write_findings(edit.findings, folder, [folder / "edited"], student_sha256=opened.file.sha256)


def path_of(path: AnyPath | None) -> Path | None:
    """A path where one is given."""
    return None if path is None else Path(path)
