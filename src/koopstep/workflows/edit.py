"""``koopstep edit`` and ``koopstep.edit``: modes of a picture scaled and exchanged, and what is missing of one filled in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from koopstep.analysis.modes import Order
from koopstep.core.arguments import AnyDevice, AnyPath, check_memory, checked
from koopstep.core.job import Job, working
from koopstep.editing.masks import Rectangle
from koopstep.editing.mix import MixOptions, mix_modes
from koopstep.editing.scale import ScaleOptions, scale_modes
from koopstep.runs.findings import Written, free_folder
from koopstep.runs.pictures import open_images, pictures_to_mix
from koopstep.workflows.fill import colorize, inpaint, path_of, superres, write_edit

__all__ = ["colorize", "inpaint", "mix", "scale", "superres"]


@checked
def mix(
    run: AnyPath,
    *,
    count: int = 32,
    mask: AnyPath | None = None,
    rectangle: Rectangle | None = None,
    at: float = 0.5,
    ratios: Sequence[float] = (0.1, 0.2, 0.5, 0.8, 0.9),
    modes: Sequence[str | int] | None = None,
    band: Literal["smallest", "middle", "largest"] | None = None,
    order: Order = "real",
    levels: Literal["all", "finest"] = "all",
    reference: AnyPath | None = None,
    reencode: bool | None = None,
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
        modes: of students of ``modes``: ``constant``, numbers from 1, ``remainder``; ``leading`` (also when absent) for the
            fewest that hold nine tenths of what moves, ``all``.
        band: of other students: which third of the modes; the one that writes the finest detail when absent.
        order: thirds of what: growth (``real``), ``modulus`` or ``frequency`` of the rates.
        levels: ``all``, or the ``finest``: only those with the most positions, which leak least.
        reference: a picture to take modes from; other samples when absent.
        reencode: decode at that progress and encode again before going on; students of ``modes`` do when absent.
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
        UsageError: a value out of range, pictures that do not fit, or a student that does not know its path.
    """
    files = path_of(mask), path_of(reference), path_of(image)
    what = (tuple(ratios), band, order, levels, files[1], reencode, confine, files[2], _names(modes))
    options = MixOptions(count, seed, files[0], rectangle, at, *what)
    with working(job, device, quiet) as job:
        return _mix(Path(run), options, path_of(out), overwrite, job)


@checked
def scale(
    run: AnyPath,
    *,
    count: int = 32,
    modes: Sequence[str | int] | None = None,
    scales: Sequence[float] = (0.0, 0.5, 1.5, 2.0),
    mask: AnyPath | None = None,
    rectangle: Rectangle | None = None,
    at: float = 0.5,
    reencode: bool | None = None,
    confine: bool = True,
    image: AnyPath | None = None,
    seed: int = 0,
    out: AnyPath | None = None,
    overwrite: bool = False,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Written:
    """Make Koopman modes of pictures stronger or weaker, in a part of them.

    Args:
        run: a run of ``--method modes``, its folder, or a student's folder.
        count: pictures.
        modes: ``constant``, numbers from 1, ``remainder``; ``leading`` (also when absent) for the fewest that hold nine
            tenths of what moves, ``all``.
        scales: what their images and partners are multiplied by; 0 leaves them out, 1 changes nothing.
        mask: a picture file, white where to edit; the lower left half when absent.
        rectangle: the same as corners (x0, y0, x1, y1) from 0 to 1; (0, 0) is top left.
        at: progress u at which they are scaled, from 0 (noise) to below 1 (data).
        reencode: read the state at that progress and encode it again before going on; where the student can when absent.
        confine: paste the unedited picture outside the mask at the end.
        image: a picture to edit, or a folder of them; samples when absent.
        seed: of all noise.
        out: folder for figures, pictures and ``values.json``; ``report/scale`` of the run when absent.
        overwrite: whether an ``out`` that is named and not empty may be written into.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Returns:
        ``.conclusion`` (one sentence), ``.numbers``, ``.values``, ``.files``; the edited pictures lie in ``edited``.

    Raises:
        UsageError: a value out of range, pictures that do not fit, or a student that cannot do it (it needs modes, of images).
    """
    options = ScaleOptions(
        count=count,
        seed=seed,
        modes=_names(modes) or ("leading",),
        scales=tuple(scales),
        mask=path_of(mask),
        rectangle=rectangle,
        at=at,
        reencode=reencode,
        confine=confine,
        image=path_of(image),
    )
    with working(job, device, quiet) as job:
        return _scale(Path(run), options, path_of(out), overwrite, job)


def _mix(run: Path, options: MixOptions, out: Path | None, overwrite: bool, job: Job) -> Written:
    folder = free_folder(run, "mix", out, [options.image, options.mask, options.reference], overwrite)
    opened = open_images(run, job)
    check_memory(options.count, opened.student.facts.shape, "count")
    given = None
    if options.image is not None:
        given = pictures_to_mix(opened, options.image, options.count, options.seed)
    job.console.say(f"mixing modes into {options.count if given is None else len(given.data)} pictures")
    return write_edit(mix_modes(opened.student, options, given), folder, opened)


def _scale(run: Path, options: ScaleOptions, out: Path | None, overwrite: bool, job: Job) -> Written:
    folder = free_folder(run, "scale", out, [options.image, options.mask], overwrite)
    opened = open_images(run, job)
    check_memory(options.count, opened.student.facts.shape, "count")
    given = None
    if options.image is not None:
        given = pictures_to_mix(opened, options.image, options.count, options.seed)
    job.console.say(f"scaling modes of {options.count if given is None else len(given.data)} pictures")
    return write_edit(scale_modes(opened.student, options, given), folder, opened)


def _names(modes: Sequence[str | int] | None) -> tuple[str, ...] | None:
    if isinstance(modes, str):
        modes = modes.split(",")
    return None if modes is None else tuple(str(name).strip() for name in modes)


def __dir__() -> list[str]:
    return list(__all__)


def __getattr__(name: str) -> Callable[..., Written]:
    raise AttributeError(f"koopstep.edit has no {name!r}; it has {', '.join(__all__)}")
