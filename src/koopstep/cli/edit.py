"""``koopstep edit RUN``: one command an edit, each with its own options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from koopstep.cli.edit_options import (
    At,
    Band,
    Confine,
    Corners,
    Count,
    Factor,
    Given,
    Hole,
    Image,
    Levels,
    MixedMask,
    Modes,
    Order,
    Out,
    Ratios,
    Reencode,
    Reference,
    Scales,
    Start,
    Steps,
    split_corners,
    split_names,
)
from koopstep.cli.options import Device, Json, Overwrite, Run, Seed

if TYPE_CHECKING:
    from koopstep.runs.findings import Written


JSON_KEYS = "JSON: files, values."

commands = typer.Typer(help="Edit pictures through a student's path.", no_args_is_help=False)


@commands.callback()
def edit(context: typer.Context, run: Run) -> None:
    """Edit pictures with a student that knows its path: mix or scale modes, or fill in what is missing."""
    context.obj = run


@commands.command("mix", epilog=JSON_KEYS)
def mix(
    context: typer.Context,
    out: Out = None,
    count: Count = 32,
    mask: MixedMask = None,
    rectangle: Corners = None,
    at: At = 0.5,
    ratio: Ratios = None,
    modes: Modes = None,
    band: Band = None,
    order: Order = "real",
    levels: Levels = "all",
    reference: Reference = None,
    reencode: Reencode = None,
    confine: Confine = True,
    image: Given = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Mix modes of a reference into a part of pictures."""
    from koopstep.workflows.edit import mix as mix_pictures

    _edit(
        mix_pictures,
        context.obj,
        device,
        as_json,
        out=out,
        count=count,
        mask=mask,
        rectangle=split_corners(rectangle),
        at=at,
        **({"ratios": ratio} if ratio else {}),
        modes=split_names(modes),
        band=band,
        order=order,
        levels=levels,
        reference=reference,
        reencode=reencode,
        confine=confine,
        image=image,
        seed=seed,
        overwrite=overwrite,
    )


@commands.command("scale", epilog=JSON_KEYS)
def scale(
    context: typer.Context,
    out: Out = None,
    count: Count = 32,
    modes: Modes = None,
    scale: Scales = None,
    mask: MixedMask = None,
    rectangle: Corners = None,
    at: At = 0.5,
    reencode: Reencode = None,
    confine: Confine = True,
    image: Given = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make Koopman modes of pictures stronger or weaker, in a part of them."""
    from koopstep.workflows.edit import scale as scale_pictures

    _edit(
        scale_pictures,
        context.obj,
        device,
        as_json,
        out=out,
        count=count,
        modes=split_names(modes),
        **({"scales": scale} if scale else {}),
        mask=mask,
        rectangle=split_corners(rectangle),
        at=at,
        reencode=reencode,
        confine=confine,
        image=image,
        seed=seed,
        overwrite=overwrite,
    )


@commands.command("inpaint", epilog=JSON_KEYS)
def inpaint(
    context: typer.Context,
    out: Out = None,
    count: Count = 32,
    mask: Hole = None,
    rectangle: Corners = None,
    at: Start = None,
    steps: Steps = 10,
    image: Image = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Fill in a part of real pictures that is missing."""
    from koopstep.workflows.edit import inpaint as inpaint_pictures

    _edit(
        inpaint_pictures,
        context.obj,
        device,
        as_json,
        out=out,
        count=count,
        mask=mask,
        rectangle=split_corners(rectangle),
        at=at,
        steps=steps,
        image=image,
        seed=seed,
        overwrite=overwrite,
    )


@commands.command("colorize", epilog=JSON_KEYS)
def colorize(
    context: typer.Context,
    out: Out = None,
    count: Count = 32,
    at: Start = None,
    steps: Steps = 10,
    image: Image = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Give real pictures colours, from their grey values."""
    from koopstep.workflows.edit import colorize as colorize_pictures

    _edit(
        colorize_pictures,
        context.obj,
        device,
        as_json,
        out=out,
        count=count,
        at=at,
        steps=steps,
        image=image,
        seed=seed,
        overwrite=overwrite,
    )


@commands.command("superres", epilog=JSON_KEYS)
def superres(
    context: typer.Context,
    out: Out = None,
    count: Count = 32,
    factor: Factor = 2,
    at: Start = None,
    steps: Steps = 10,
    image: Image = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make real pictures larger, from their means over squares of pixels."""
    from koopstep.workflows.edit import superres as superres_pictures

    _edit(
        superres_pictures,
        context.obj,
        device,
        as_json,
        out=out,
        count=count,
        factor=factor,
        at=at,
        steps=steps,
        image=image,
        seed=seed,
        overwrite=overwrite,
    )


def _edit(function: Callable[..., Written], run: Path, device: str | None, as_json: bool, **options: Any) -> None:
    """Edit as the function of this name in `koopstep.edit` does, and say what came of it."""
    from koopstep.cli.analyze import tell
    from koopstep.cli.output import Output

    output = Output(as_json)
    with output.job(device) as job:
        result = function(run, **options, job=job)
        output.finish({"files": result.files, "values": result.values}, lambda page: tell(page, result))
