"""``koopstep analyze``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koopstep.cli.options import Device, Json, Overwrite, Reference, Run
from koopstep.workflows.analyses import ANALYSES, find_entry

if TYPE_CHECKING:
    from koopstep.cli.output import Page


JSON_KEYS = "JSON: files, values."


HELP = "\n".join(
    [
        "Make figures of a student, and the numbers behind them. WHAT is one of:\n",
        "\b",
        *(
            f"- {name}: {entry.about}" + (f" (needs {', '.join(entry.needs)})" if entry.needs else "")
            for name, entry in ANALYSES.items()
        ),
    ]
)


def analyze(
    run: Run,
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help="One of the analyses above."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where figures go; else report/WHAT of the run."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Look at this store's held-out rows; else at the run's own."),
    ] = None,
    reference: Reference = None,
    overwrite: Overwrite = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make figures of a student, and the numbers behind them."""
    find_entry(what)  # an unknown name is refused before anything heavy is loaded
    from koopstep.cli.output import Output, flat
    from koopstep.workflows.analyze import analyze_run

    output = Output(as_json)
    with output.job(device) as job:
        result = analyze_run(
            run,
            what,
            out=out,
            data=data,
            job=job,
            reference=reference,
            overwrite=overwrite,
        )

    def show(page: Page) -> None:
        values = flat(brief(result.values))
        page.facts({key: value for key, value in values.items() if value not in (None, "")})
        for file in result.files:
            page.line(f"written to {file}")

    output.finish({"files": result.files, "values": result.values}, show)


def brief(values: Any) -> Any:
    """``values`` without its long lists: a spectrum's hundreds of eigenvalues are for the file, not for the eye."""
    if isinstance(values, dict):
        return {key: brief(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [brief(value) for value in values] if len(values) <= 4 else f"{len(values)} entries"
    return values
