"""``koopstep sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koopstep.cli.options import Between, Device, Imports, Json, Overwrite, Run, Seed, Steps, split_integers

JSON_KEYS = "JSON: seconds, images_per_second, count, files."


def sample(
    run: Run,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Samples to make.")],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="*.png: one picture of all; *.npz: numbers; else a folder of PNGs."),
    ],
    seed: Seed = 0,
    class_labels: Annotated[
        str | None,
        typer.Option("--class-labels", metavar="C[,C...]", help="Classes to make, in turn; else drawn by the seed."),
    ] = None,
    steps: Steps = 1,
    between: Between = "noise",
    overwrite: Overwrite = False,
    imports: Imports = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make samples with a student, one network evaluation each (or --steps of them)."""
    labels = split_integers(class_labels, "--class-labels")
    from koopstep.cli.output import Output
    from koopstep.sampling.fewstep import Stepping
    from koopstep.workflows.sample import sample_run

    output = Output(as_json)
    stepping = Stepping(steps, between, seed)
    with output.job(device) as job:
        result = sample_run(
            run,
            count=count,
            seed=seed,
            class_labels=labels,
            out=out,
            job=job,
            stepping=stepping,
            overwrite=overwrite,
        )
    shown = {key: value for key, value in result.items() if key != "files"} | {"written to": out}
    output.finish(result, lambda page: page.facts(shown))
