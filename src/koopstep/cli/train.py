"""``koopstep train``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from koopstep.cli.options import Changes, ChosenMethod, Device, Imports, Json, Resume

JSON_KEYS = "JSON: run, step, loss, seconds, images_per_second."


def train(
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="[PRESET|RUN]",
            help="Where settings come from: a name (`koopstep presets` lists them), your own .yaml file, a run's config.yaml, "
            "or with --resume the folder of the run to go on with.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="The trajectory store to learn from.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="RUN", help="The run folder to make.", show_default=False)
    ] = None,
    method: ChosenMethod = None,
    changes: Changes = None,
    resume: Resume = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the run at --out first; else there must be none.")
    ] = False,
    imports: Imports = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Train a student on stored paths.

    `koopstep train RUN --resume` goes on with a run and needs no other option; `-o training.steps=N` makes it longer.
    Under torchrun it is trained on several processes.
    """
    from koopstep.cli.output import Output
    from koopstep.cli.signals import stop_on_signals

    output = Output(as_json)
    with stop_on_signals() as stop:
        from koopstep.workflows.train import train as train_run

        with output.job(device, stop) as job:
            run = train_run(
                preset,
                data,
                out,
                method=method,
                changes=changes or (),
                resume=resume,
                overwrite=overwrite,
                job=job,
            )
    assert run.trained is not None
    result = {"run": str(run.folder), **asdict(run.trained)}
    output.finish(result, lambda page: page.facts(result))
