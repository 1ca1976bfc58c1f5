"""``koopstep evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koopstep.cli.options import Between, Device, Imports, Json, Reference, Run, Steps, split_names

if TYPE_CHECKING:
    from koopstep.cli.output import Page


JSON_KEYS = (
    "JSON: metrics, teacher (the same of the teacher), left_out (metric: reason), spread (by chance), protocol, files."
)


def evaluate(
    run: Run,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Measure on this store's held-out rows; else on the run's own."),
    ] = None,
    reference: Reference = None,
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", min=1, help="Held-out rows to use; else all.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="A,B", help="Names of metrics; else the preset's.")
    ] = None,
    reference_count: Annotated[
        int | None,
        typer.Option("--reference-count", metavar="N", min=2, help="Real images to compare with; else up to 5,000."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="DIR", help="Folder of feature networks' weights; else KOOPSTEP_WEIGHTS."),
    ] = None,
    steps: Steps = 1,
    between: Between = "noise",
    imports: Imports = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure a student and its teacher on held-out noise."""
    names = split_names(metrics, "--metrics")
    from koopstep.cli.output import Output, flat
    from koopstep.workflows.evaluate import evaluate as evaluate_run

    output = Output(as_json)
    with output.job(device) as job:
        found = evaluate_run(
            run,
            data=data,
            reference=reference,
            count=count,
            metrics=names,
            reference_count=reference_count,
            steps=steps,
            between=between,
            weights=weights,
            job=job,
        )
    result = found.plain() | {"files": found.files}

    def show(page: Page) -> None:
        rows = [[name, found.teacher.get(name), value] for name, value in found.metrics.items()]
        page.table(["metric", "teacher", "student"], rows)
        page.line("")
        for name, reason in found.left_out.items():
            page.line(f"left out {name}: {reason}")
        page.facts({key: value for key, value in flat(result["protocol"]).items() if value not in (None, "")})
        for file in found.files:
            page.line(f"written to {file}")

    output.finish(result, show)
