"""``koopstep edit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koopstep.cli.options import Device, Json, Run, Seed
from koopstep.core.errors import UsageError

if TYPE_CHECKING:
    from koopstep.cli.output import Page


JSON_KEYS = "JSON: files, values."
_MIX, _FILL = "mix", "filling in"


What = Annotated[str, typer.Argument(metavar="WHAT", help="mix, inpaint, colorize or superres.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Where pictures and numbers go; else report/WHAT of the run."),
]
Count = Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="Pictures; else 32.")]
Mask = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        metavar="FILE",
        help="A picture, white where to mix (else the lower left half) or what is missing (else the left half).",
    ),
]
Corners = Annotated[
    str | None,
    typer.Option("--rectangle", metavar="X0,Y0,X1,Y1", help="The same as corners, from 0 to 1; 0,0 is top left."),
]
Moment = Annotated[
    float | None,
    typer.Option(
        "--moment",
        metavar="U",
        help=f"{_MIX}: when, from 0 (noise) to 1 (data); else 0.5. {_FILL}: where it starts; else where noise is "
        "four times the data.",
    ),
]
Ratios = Annotated[
    list[float] | None,
    typer.Option(
        "--ratio", metavar="R", help=f"{_MIX}: share of the reference; repeatable; else 0.1, 0.2, 0.5, 0.8, 0.9."
    ),
]
Band = Annotated[
    str | None,
    typer.Option(
        "--band",
        metavar="B",
        help=f"{_MIX}: smallest, middle or largest third of modes; else the one that writes the finest detail.",
    ),
]
Order = Annotated[
    str | None,
    typer.Option(
        "--order",
        metavar="O",
        help=f"{_MIX}: thirds of what: real (growth; default), modulus or frequency of the rates.",
    ),
]
Levels = Annotated[
    str,
    typer.Option(
        "--levels", metavar="L", help=f"{_MIX}: all, or finest: only those with most places, which leak least."
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option("--reference", metavar="FILE", help=f"{_MIX}: a picture to take modes from; else other samples."),
]
Reencode = Annotated[
    bool, typer.Option("--reencode", help=f"{_MIX}: decode at the moment and encode again before going on.")
]
Confine = Annotated[
    bool,
    typer.Option("--confine/--no-confine", help=f"{_MIX}: paste the unedited picture outside the mask at the end."),
]
Steps = Annotated[
    int | None, typer.Option("--steps", metavar="K", min=1, help=f"{_FILL}: network calls a picture; else 10.")
]
Factor = Annotated[
    int | None, typer.Option("--factor", metavar="S", min=2, help="superres: how many times larger; else 2.")
]
Image = Annotated[
    Path | None,
    typer.Option(
        "--image", metavar="PATH", help="A picture to edit, or a folder of them; else the run's data (mix: samples)."
    ),
]


def edit(
    run: Run,
    what: What,
    out: Out = None,
    count: Count = None,
    mask: Mask = None,
    rectangle: Corners = None,
    moment: Moment = None,
    ratio: Ratios = None,
    band: Band = None,
    order: Order = None,
    levels: Levels = "all",
    reference: Reference = None,
    reencode: Reencode = False,
    confine: Confine = True,
    steps: Steps = None,
    factor: Factor = None,
    image: Image = None,
    seed: Seed = 0,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Edit pictures with an HKD student: mix modes of one into another, or fill in what is missing."""
    corners = split_corners(rectangle)
    from koopstep.cli.output import Output, place_of
    from koopstep.workflows.edit import edit_run
    from koopstep.workflows.edit_images import EditOptions

    output = Output(as_json)
    options = EditOptions(
        count=count,
        seed=seed,
        mask=mask,
        rectangle=corners,
        moment=moment,
        ratios=tuple(ratio or ()),
        band=band,
        order=order,  # type: ignore[arg-type]  # unknown names are refused there
        levels=levels,
        reference=reference,
        reencode=reencode,
        confine=confine,
        steps=steps,
        factor=factor,
        image=image,
    )
    with place_of(device) as place:
        result = edit_run(run, what, options=options, out=out, place=place, console=output.console)

    output.finish(result, lambda page: _show(page, result))


def _show(page: Page, result: dict[str, Any]) -> None:
    from koopstep.cli.output import flat

    lists = ("edits", "at_this_ratio")
    page.facts(flat({key: value for key, value in result["values"].items() if key not in lists}))
    for file in result["files"]:
        page.line(f"written to {file}")


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
