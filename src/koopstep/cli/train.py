"""``koopstep train``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from koopstep.cli.options import Changes, Device, Json, Method, Preset, Resume

JSON_KEYS = "JSON: run, step, loss, seconds, images_per_second."


def train(
    preset: Preset,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The trajectory store to learn from.")],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The run folder to make.")],
    method: Method = "kdm",
    changes: Changes = None,
    resume: Resume = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Train a student on stored paths.

    Under torchrun it is trained on several processes.
    """
    from koopstep.cli.output import Output, place_of
    from koopstep.cli.signals import stop_on_signals

    output = Output(as_json)
    with stop_on_signals() as stop:
        from koopstep.workflows.recipe import load_recipe
        from koopstep.workflows.train import train_student

        recipe = load_recipe(preset, method, changes or [])
        with place_of(device) as place:
            trained = train_student(recipe, data, out, resume=resume, place=place, console=output.console, stop=stop)
    result = {"run": str(out), **asdict(trained)}
    output.finish(result, lambda page: page.facts(result))
