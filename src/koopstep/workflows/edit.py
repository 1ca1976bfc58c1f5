"""``koopstep edit`` and ``koopstep.edit``: mixing modes of a picture, and filling in what is missing of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from koopstep.analysis.modes import Order
from koopstep.core.arguments import AnyDevice, AnyPath, check_memory, checked
from koopstep.core.job import Job, working
from koopstep.editing.fill import FillOptions, Task, basis_of, fill_pictures
from koopstep.editing.masks import Rectangle
from koopstep.editing.mix import Edit, MixOptions, mix_modes
from koopstep.figures.images import write_images
from koopstep.runs.findings import Written, free_folder, write_findings
from koopstep.runs.folder import OpenRun
from koopstep.runs.pictures import (
    check_training,
    mean_picture,
    open_images,
    pictures_to_mix,
    real_pictures,
    teacher_network,
)

__all__ = ["colorize", "inpaint", "mix", "superres"]


@checked
def mix(
    run: AnyPath,
    *,
    count: int = 32,
    mask: AnyPath | None = None,
    rectangle: Rectangle | None = None,
    at: float = 0.5,
    ratios: Sequence[float] = (0.1, 0.2, 0.5, 0.8, 0.9),
    band: Literal["smallest", "middle", "largest"] | None = None,
    order: Order = "real",
    levels: Literal["all", "finest"] = "all",
    reference: AnyPath | None = None,
    reencode: bool = False,
    confine: bool = True,
    image: AnyPath | None = None,
    seed: int = 0,
    out: AnyPath | None = None,
    overwrite: bool = False,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Written:
    """Mix modes of a reference into a part of pictures.

    Args:
        run: a run, its folder, or a student's folder.
        count: pictures.
        mask: a picture file, white where to mix; the lower left half when absent.
        rectangle: the same as corners (x0, y0, x1, y1) from 0 to 1; (0, 0) is top left.
        at: progress u at which latents are mixed, from 0 (noise) to below 1 (data).
        ratios: shares of the reference, each from 0 to 1.
        band: which third of the modes; the one that writes the finest detail when absent.
        order: thirds of what: growth (``real``), ``modulus`` or ``frequency`` of the rates.
        levels: ``all``, or the ``finest``: only those with the most positions, which leak least.
        reference: a picture to take modes from; other samples when absent.
        reencode: decode at that progress and encode again before going on.
        confine: paste the unedited picture outside the mask at the end.
        image: a picture to edit, or a folder of them; samples when absent.
        seed: of all noise.
        out: folder for figures, pictures and ``values.json``; ``report/mix`` of the run when absent.
        overwrite: whether an ``out`` that is named and not empty may be written into.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Returns:
        ``.conclusion`` (one sentence), ``.numbers``, ``.values``, ``.files``; the edited pictures lie in ``edited``.

    Raises:
        UsageError: a value out of range, pictures that do not fit, or a student that cannot do it (it needs HKD, of images).
    """
    files = _path(mask), _path(reference), _path(image)
    options = MixOptions(
        count, seed, files[0], rectangle, at, tuple(ratios), band, order, levels, files[1], reencode, confine, files[2]
    )
    with working(job, device, quiet) as job:
        return _mix(Path(run), options, _path(out), overwrite, job)


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
        UsageError: a value out of range, pictures that do not fit, or a student that cannot do it (it needs HKD, of images).
    """
    options = FillOptions(
        count=count, seed=seed, at=at, steps=steps, image=_path(image), mask=_path(mask), rectangle=rectangle
    )
    with working(job, device, quiet) as job:
        return _fill(Path(run), "inpaint", options, _path(out), overwrite, job)


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
        UsageError: a value out of range, pictures that do not fit, or a student that cannot do it (it needs HKD, of images).
    """
    options = FillOptions(count=count, seed=seed, at=at, steps=steps, image=_path(image))
    with working(job, device, quiet) as job:
        return _fill(Path(run), "colorize", options, _path(out), overwrite, job)


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
        UsageError: a value out of range, pictures that do not fit, or a student that cannot do it (it needs HKD, of images).
    """
    options = FillOptions(count=count, seed=seed, at=at, steps=steps, image=_path(image), factor=factor)
    with working(job, device, quiet) as job:
        return _fill(Path(run), "superres", options, _path(out), overwrite, job)


def _mix(run: Path, options: MixOptions, out: Path | None, overwrite: bool, job: Job) -> Written:
    folder = free_folder(run, "mix", out, [options.image, options.mask, options.reference], overwrite)
    opened = open_images(run, job)
    check_memory(options.count, opened.student.facts.shape, "count")
    given = None
    if options.image is not None:
        given = pictures_to_mix(opened, options.image, options.count, options.seed)
    job.console.say(f"mixing modes into {options.count if given is None else len(given.data)} pictures")
    return _write(mix_modes(opened.student, options, given), folder, opened)


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
    return _write(edit, folder, opened)


def _write(edit: Edit, folder: Path, opened: OpenRun) -> Written:
    write_images(folder / "edited", edit.pictures)
    return write_findings(edit.findings, folder, [folder / "edited"], student_sha256=opened.file.sha256)


def _path(path: AnyPath | None) -> Path | None:
    return None if path is None else Path(path)


def __dir__() -> list[str]:
    return list(__all__)


def __getattr__(name: str) -> Callable[..., Written]:
    raise AttributeError(f"koopstep.edit has no {name!r}; it has {', '.join(__all__)}")
