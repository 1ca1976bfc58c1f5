"""``koopstep report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koopstep.cli.options import Device, Imports, Json, OwnTeacher, Reference, Run

JSON_KEYS = "JSON: report."


def report(
    run: Run,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The page; else report/index.html of the run.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Show this store's held-out rows; else the run's own."),
    ] = None,
    reference: Reference = None,
    teacher: OwnTeacher = None,
    imports: Imports = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained page about a run: samples, speed, metrics, analyses, edits.

    What was not measured yet is measured first; analyses that take long are shown where they were made.
    """
    from koopstep.cli.output import Output
    from koopstep.workflows.report import report as write_report

    output = Output(as_json)
    with output.job(device) as job:
        page = write_report(run, out, data=data, reference=reference, teacher=teacher, job=job)
    output.finish({"report": page}, lambda sheet: sheet.line(f"report: {page}"))
