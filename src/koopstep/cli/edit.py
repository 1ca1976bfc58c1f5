"""``koopstep edit RUN``: one command an edit, each with its own options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from koopstep.cli.options import Device, Json, Overwrite, Run, Seed
from koopstep.core.errors import UsageError

if TYPE_CHECKING:
    from koopstep.runs.findings import Written


JSON_KEYS = "JSON: files, values."

commands = typer.Typer(help="Edit pictures through a student's path.", no_args_is_help=False)

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Where pictures and numbers go; else in the run's report folder."),
]
Count = Annotated[int, typer.Option("--count", metavar="N", min=1, help="Pictures.")]
Image = Annotated[
    Path | None,
    typer.Option("--image", metavar="PATH", help="A picture to edit, or a folder of them; else the run's data."),
]
Steps = Annotated[int, typer.Option("--steps", metavar="K", min=1, help="Network calls a picture.")]
Start = Annotated[
    float | None,
    typer.Option(
        "--at", metavar="U", help="Progress to start from, 0 is noise; else where noise is four times the data."
    ),
]


MixedMask = Annotated[
    Path | None,
    typer.Option("--mask", metavar="FILE", help="A picture, white where to mix; else the lower left half."),
]
Hole = Annotated[
    Path | None,
    typer.Option("--mask", metavar="FILE", help="A picture, white where something is missing; else the left half."),
]
Corners = Annotated[
    str | None,
    typer.Option("--rectangle", metavar="X0,Y0,X1,Y1", help="The same as corners, from 0 to 1; 0,0 is top left."),
]
At = Annotated[
    float,
    typer.Option("--at", metavar="U", help="Progress at which latents are mixed, from 0 (noise) to below 1 (data)."),
]
Ratios = Annotated[
    list[float] | None,
    typer.Option("--ratio", metavar="R", help="Share of the reference; repeatable; else 0.1, 0.2, 0.5, 0.8 and 0.9."),
]
Band = Annotated[
    Literal["smallest", "middle", "largest"] | None,
    typer.Option(
        "--band",
        metavar="smallest|middle|largest",
        help="Which third of the modes; else the one that writes the finest detail.",
    ),
]
Order = Annotated[
    Literal["real", "modulus", "frequency"],
    typer.Option(
        "--order",
        metavar="real|modulus|frequency",
        help="Thirds of what: growth (real), modulus or frequency of the rates.",
    ),
]
Levels = Annotated[
    Literal["all", "finest"],
    typer.Option(
        "--levels", metavar="all|finest", help="finest: only those with the most positions, which leak least."
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option("--reference", metavar="FILE", help="A picture to take modes from; else other samples."),
]
Reencode = Annotated[bool, typer.Option("--reencode", help="Decode at that progress and encode again before going on.")]
Confine = Annotated[
    bool, typer.Option("--confine/--no-confine", help="Paste the unedited picture outside the mask at the end.")
]
Given = Annotated[
    Path | None, typer.Option("--image", metavar="PATH", help="A picture to edit, or a folder of them; else samples.")
]
Factor = Annotated[int, typer.Option("--factor", metavar="S", min=2, help="How many times larger.")]


@commands.callback()
def edit(context: typer.Context, run: Run) -> None:
    """Edit pictures with a student that knows its path: mix modes, or fill in what is missing."""
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
    band: Band = None,
    order: Order = "real",
    levels: Levels = "all",
    reference: Reference = None,
    reencode: Reencode = False,
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


def split_corners(text: str | None) -> tuple[float, float, float, float] | None:
    """``"0,0,0.5,1"`` -> four numbers; None stays None.

    Raises:
        UsageError: if there are other than four numbers.
    """
    if text is None:
        return None
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--rectangle takes four numbers from 0 to 1 separated by commas, as in 0,0,0.5,1; got {text!r}"
        ) from None
    return left, top, right, bottom
