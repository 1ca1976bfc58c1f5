"""``koopstep demo``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koopstep.cli.options import Device, Json, Method

if TYPE_CHECKING:
    from koopstep.cli.output import Page


JSON_KEYS = "JSON: report, and teacher, student, metrics, seconds, files; without --preset these under runs.NAME."


def demo(
    preset: Annotated[
        str | None,
        typer.Option("--preset", metavar="P", help="Only this preset; else both checkerboard and digits."),
    ] = None,
    method: Method = "kdm",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Where everything is written; else `runs/demo`, with --preset P `runs/demo/P`."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The preset's shorter version, as without --preset.")] = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Go the whole way on built-in data and write a report.

    A teacher, its paths on disk, a student trained on them, both measured, one page that shows it.
    """
    from koopstep.cli.output import Output
    from koopstep.cli.signals import stop_on_signals

    output = Output(as_json)
    with stop_on_signals() as stop:
        from koopstep.workflows.demo import run_demo

        with output.job(device, stop) as job:
            result = run_demo(preset, method, out, quick=quick, job=job)

    def show(page: Page) -> None:
        runs = result.get("runs", {str(preset): result})
        for name, one in runs.items():
            _show_run(page, name, one)
        page.line(f"report: {result['report']}")
        page.line(f"next: koopstep analyze {quote(str(list(runs.values())[-1]['run']))} spectrum")

    output.finish(result, show)


def _show_run(page: Page, name: str, result: Mapping[str, Any]) -> None:
    teacher, student = result["teacher"], result["student"]
    rows = [["network evaluations", teacher.get("nfe"), student.get("nfe")]]
    rows += [[metric, teacher.get(metric), value] for metric, value in result["metrics"].items()]
    page.table([name, "teacher", "student"], rows)
    page.line("")
    page.table(["stage", "seconds"], [[stage, seconds] for stage, seconds in result["seconds"].items()])
    page.line("")
