"""Options of ``koopstep edit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from koopstep.core.errors import UsageError

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
    typer.Option("--mask", metavar="FILE", help="A picture, white where to edit; else the lower left half."),
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
    typer.Option("--at", metavar="U", help="Progress at which latents are edited, from 0 (noise) to below 1 (data)."),
]
Ratios = Annotated[
    list[float] | None,
    typer.Option("--ratio", metavar="R", help="Share of the reference; repeatable; else 0.1, 0.2, 0.5, 0.8 and 0.9."),
]
Modes = Annotated[
    str | None,
    typer.Option(
        "--modes",
        metavar="NAMES",
        help="Of students of modes: constant, 1, 2, ..., remainder, separated by commas; leading (else), or all.",
    ),
]
Scales = Annotated[
    list[float] | None,
    typer.Option("--scale", metavar="S", help="What they are multiplied by; repeatable; else 0, 0.5, 1.5 and 2."),
]
Band = Annotated[
    Literal["smallest", "middle", "largest"] | None,
    typer.Option(
        "--band",
        metavar="smallest|middle|largest",
        help="Of other students: which third of the modes; else the one that writes the finest detail.",
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
Reencode = Annotated[
    bool | None,
    typer.Option(
        "--reencode/--no-reencode",
        help="Decode at that progress and encode again before going on; else students of modes do.",
    ),
]
Confine = Annotated[
    bool, typer.Option("--confine/--no-confine", help="Paste the unedited picture outside the mask at the end.")
]
Given = Annotated[
    Path | None, typer.Option("--image", metavar="PATH", help="A picture to edit, or a folder of them; else samples.")
]
Factor = Annotated[int, typer.Option("--factor", metavar="S", min=2, help="How many times larger.")]


def split_names(text: str | None) -> list[str] | None:
    """``"1,2"`` -> the names; None stays None."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


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
