"""``koopstep distil``."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from koopstep.cli.options import Changes, Device, Imports, Json, Reference

if TYPE_CHECKING:
    from koopstep.cli.output import Page

JSON_KEYS = "JSON: run, report, plan (method, count, steps, bytes, seconds), metrics, teacher, seconds."


Teacher = Annotated[
    str,
    typer.Argument(
        metavar="TEACHER",
        help="A packaged teacher's name, a teacher file, an EDM pickle, a diffusers folder, a state dict with its config "
        "beside it, or package.module:function.",
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="RUN", help="The run's folder; the same command again goes on.")]
BestMethod = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="M",
        help="How the student learns (`koopstep presets` lists them); else what measures best for such data.",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="How long the whole may take, as in 90s, 20m or 8h; more than before extends a finished run.",
    ),
]
Count = Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="Paths to collect.")]
TrainingSteps = Annotated[int | None, typer.Option("--steps", metavar="N", min=1, help="Training steps.")]
Pairs = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="STORE",
        help="Pairs of this teacher that exist: a store, or what `koopstep data import` reads.",
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="A fraction of the paths and steps: a first look.")]


def distil(
    teacher: Teacher,
    out: Out,
    method: BestMethod = None,
    budget: Budget = None,
    count: Count = None,
    steps: TrainingSteps = None,
    reference: Reference = None,
    data: Pairs = None,
    quick: Quick = False,
    changes: Changes = None,
    imports: Imports = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Distil any teacher into a one-step student and write its report.

    Derives all settings from the teacher, times a few paths and steps, says what it will do and how long that takes, then
    collects, trains, evaluates and reports. After an interruption the same command goes on where it stopped.
    """
    from koopstep.cli.output import Output
    from koopstep.cli.signals import stop_on_signals

    output = Output(as_json)
    with stop_on_signals() as stop:
        from koopstep.workflows.distil import run_distil

        with output.job(device, stop) as job:
            result = run_distil(
                teacher,
                out,
                method=method,
                budget=budget,
                count=count,
                steps=steps,
                data=data,
                reference=reference,
                quick=quick,
                changes=changes or (),
                job=job,
            )

    def show(page: Page) -> None:
        rows = [["network evaluations", result["teacher"]["nfe"], 1]]
        rows += [[name, result["teacher"].get(name), value] for name, value in result["metrics"].items()]
        page.table([str(out), "teacher", "student"], rows)
        page.line("")
        page.line(f"report: {result['report']}")
        page.line(f"next: koopstep sample {quote(str(out))} --count 64 --out {quote(str(out / 'samples.png'))}")

    output.finish(result, show)
