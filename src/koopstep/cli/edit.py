"""``koopstep edit RUN``: one command an edit, each with its own options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from koopstep.cli.options import Device, Json, Overwrite, Run, Seed
from koopstep.core.errors import UsageError

if TYPE_CHECKING:
    from koopstep.cli.output import Output
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
    given = _given(
        mask=mask,
        rectangle=split_corners(rectangle),
        ratios=tuple(ratio) if ratio else None,
        band=band,
        reference=reference,
        image=image,
    )
    from koopstep.cli.output import Output
    from koopstep.editing.mix import MixOptions
    from koopstep.workflows.edit import mix_run

    output = Output(as_json)
    options = MixOptions(
        count=count,
        seed=seed,
        at=at,
        order=order,
        levels=levels,
        reencode=reencode,
        confine=confine,
        **given,
    )
    with output.job(device) as job:
        _finish(output, mix_run(context.obj, options, out=out, job=job, overwrite=overwrite))


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
    given = _given(mask=mask, rectangle=split_corners(rectangle), at=at, image=image)
    _fill(context, "inpaint", out, overwrite, device, as_json, count=count, steps=steps, seed=seed, **given)


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
    given = _given(at=at, image=image)
    _fill(context, "colorize", out, overwrite, device, as_json, count=count, steps=steps, seed=seed, **given)


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
    given = _given(at=at, image=image)
    _fill(
        context,
        "superres",
        out,
        overwrite,
        device,
        as_json,
        count=count,
        factor=factor,
        steps=steps,
        seed=seed,
        **given,
    )


def _fill(
    context: typer.Context,
    task: Literal["inpaint", "colorize", "superres"],
    out: Path | None,
    overwrite: bool,
    device: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    from koopstep.cli.output import Output
    from koopstep.editing.fill import FillOptions
    from koopstep.workflows.edit import fill_run

    output, chosen = Output(as_json), FillOptions(**options)
    with output.job(device) as job:
        _finish(
            output,
            fill_run(context.obj, task, chosen, out=out, job=job, overwrite=overwrite),
        )


def _given(**options: Any) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _finish(output: Output, result: Written) -> None:
    from koopstep.cli.analyze import tell

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
