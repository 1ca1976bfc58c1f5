"""``koopstep teacher``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from koopstep.cli.options import Device, Json, Overwrite, Preset, Resume, Teacher

if TYPE_CHECKING:
    from koopstep.cli.output import Page

commands = typer.Typer(help="Train a teacher, convert a foreign one, or show what one is.", rich_markup_mode=None)


_INFO = (
    "file, name, kind, shape, num_classes, parameters, weights_dtype, sha256, made_by, source, training_data, config"
)


@commands.command("train", epilog=f"JSON: {_INFO}, step, loss, seconds.")
def train(
    preset: Preset,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The teacher's file (.safetensors).")],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "-o", metavar="KEY=VALUE", help="Change one setting, as in `-o teacher.training.steps=500`; repeatable."
        ),
    ] = None,
    resume: Resume = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Delete the training in FILE.run first, and write over FILE at the end; else neither may be there.",
        ),
    ] = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Train the teacher of a preset from scratch."""
    from koopstep.cli.output import Output
    from koopstep.cli.signals import stop_on_signals

    output = Output(as_json)
    with stop_on_signals() as stop:
        from koopstep.workflows.teacher import teach, teacher_info

        with output.job(device, stop) as job:
            done = teach(
                preset,
                out,
                changes=changes or [],
                resume=resume,
                overwrite=overwrite,
                job=job,
            )
    result = teacher_info(str(out)) | {"seconds": done.seconds, "loss": done.loss, "step": done.step}
    output.finish(result, lambda page: _show(page, result))


@commands.command("convert", epilog=f"JSON: {_INFO}, source, source_sha256, format, notes.")
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="EDM network pickle, diffusers folder, state dict with a config, or KDM checkerboard module.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="The teacher's file; a KDM module becomes a student folder."),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="A state dict's teacher config (YAML or JSON); else the one beside SRC."
        ),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="Refuse SRC unless it has this digest.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("-o", metavar="KEY=VALUE", help="Change how paths are made, as in `-o solver=ddim`; repeatable."),
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="NAME", help="How weights are stored: float32, float16 or float64.")
    ] = "float32",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="F",
            help="What the teacher learned from, where you know it (name, folder, .zip or .npz): what its samples, and its "
            "students', are compared with.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Convert a foreign checkpoint; nothing in it is executed."""
    from koopstep.cli.output import Output
    from koopstep.workflows.convert import convert as run_convert

    output = Output(as_json)
    with output.job() as job:
        result = run_convert(
            source,
            out,
            config=config,
            sha256=sha256,
            weights_dtype=dtype,
            job=job,
            changes=changes or [],
            overwrite=overwrite,
            data=data,
        )
    output.finish(result, lambda page: _show(page, result))


@commands.command("info", epilog=f"JSON: {_INFO}.")
def info(
    teacher: Teacher,
    as_json: Json = False,
) -> None:
    """Show what a teacher is: its kind, shape, classes, size and origin."""
    from koopstep.cli.output import Output
    from koopstep.workflows.teacher import teacher_info

    output = Output(as_json)
    result = teacher_info(teacher)
    output.finish(result, lambda page: _show(page, result))


def _show(page: Page, result: dict[str, Any]) -> None:
    page.facts({key: value for key, value in result.items() if key != "config"})
