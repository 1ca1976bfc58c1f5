"""``koopstep analyze``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koopstep.cli.options import Device, Json, Run

if TYPE_CHECKING:
    from koopstep.cli.output import Page


JSON_KEYS = "JSON: files, values."


def analyze(
    run: Run,
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="spectrum, vicinity, outliers, neighbours; of HKD students bands, cumulative, linearity, steps, trajectory.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where figures go; else report/WHAT of the run."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Look at this store's held-out rows; else at the run's own."),
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make figures of a student, and the numbers behind them."""
    from koopstep.cli.output import Output, flat, place_of
    from koopstep.workflows.analyze import analyze_run

    output = Output(as_json)
    with place_of(device) as place:
        result = analyze_run(run, what, out=out, data=data, place=place, console=output.console)

    def show(page: Page) -> None:
        values = flat(brief(result["values"]))
        page.facts({key: value for key, value in values.items() if value not in (None, "")})
        for file in result["files"]:
            page.line(f"written to {file}")

    output.finish(result, show)


def brief(values: Any) -> Any:
    """``values`` without its long lists: a spectrum's hundreds of eigenvalues are for the file, not for the eye."""
    if isinstance(values, dict):
        return {key: brief(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [brief(value) for value in values] if len(values) <= 4 else f"{len(values)} entries"
    return values
