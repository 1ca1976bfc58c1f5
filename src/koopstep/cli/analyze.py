"""``koopstep analyze``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koopstep.cli.options import Device, Imports, Json, Overwrite, OwnTeacher, Reference, Run
from koopstep.workflows.analyses import ANALYSES, find_entry

if TYPE_CHECKING:
    from koopstep.cli.output import Page
    from koopstep.runs.findings import Written


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
    teacher: OwnTeacher = None,
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="RUN", help="A run to compare with, as of another seed (verify); repeatable."),
    ] = None,
    overwrite: Overwrite = False,
    imports: Imports = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make figures of a student, and the numbers behind them."""
    find_entry(what)  # an unknown name is refused before anything heavy is loaded
    from koopstep.cli.output import Output
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
            teacher=teacher,
            others=others or (),
            overwrite=overwrite,
        )

    output.finish({"files": result.files, "values": result.values}, lambda page: tell(page, result))


def tell(page: Page, result: Written) -> None:
    """A few numbers, the files, and last the conclusion: everything else is in ``values.json``."""
    page.facts(result.numbers)
    for file in result.files:
        page.line(f"written to {file}")
    page.line(result.conclusion)
