"""``koopstep collect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from koopstep.cli.options import Device, HoldOut, Json, Seed, Teacher
from koopstep.core.errors import UsageError

JSON_KEYS = "JSON: count, bytes, seconds, complete, grown_from, teacher, nfe."

Rank = Annotated[
    int | None,
    typer.Option("--rank", metavar="I", min=0, help="Which worker this is, from 0; else as under torchrun."),
]
World = Annotated[
    int | None,
    typer.Option("--world", metavar="W", min=1, help="How many workers share the work; else as under torchrun."),
]


def collect(
    teacher: Teacher,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the trajectory store.")],
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Paths to make.")],
    steps: Annotated[int, typer.Option("--steps", metavar="S", min=1, help="Steps of the teacher's grid.")] = 12,
    keep: Annotated[
        str,
        typer.Option("--keep", metavar="ends|all|K", help="States kept: noise and data, all, or K evenly spaced."),
    ] = "ends",
    seed: Seed = 0,
    hold_out: HoldOut = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="float32|float16", help="How states are stored.")
    ] = "float32",
    autocast: Annotated[
        str, typer.Option("--autocast", metavar="none|bfloat16", help="Number format of the teacher's network.")
    ] = "none",
    rank: Rank = None,
    world: World = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Send noise through a teacher and store the paths.

    After an interruption the same command goes on where it stopped; with a larger --count a store grows. Several
    workers may fill one store: give each its --rank out of --world.
    """
    from koopstep.cli.output import Output
    from koopstep.cli.signals import stop_on_signals

    if (rank is None) != (world is None):
        raise UsageError("--rank and --world belong together, as in --rank 0 --world 4")
    wanted = {
        "count": count,
        "steps": steps,
        "keep": read_keep(keep),
        "seed": seed,
        "hold_out": hold_out,
        "dtype": dtype,
        "autocast": autocast,
    }
    output = Output(as_json)
    with stop_on_signals() as stop:
        from koopstep.data.collect import CollectSettings
        from koopstep.workflows.collect import collect_store

        settings = CollectSettings.parse(wanted, "collect")
        with output.job(device, stop) as job:
            result = collect_store(
                teacher,
                out,
                settings,
                rank=job.place.rank if rank is None else rank,
                world=job.place.world if world is None else world,
                job=job,
            )
    output.finish(result, lambda page: page.facts({"store": out, **result}))


def read_keep(text: str) -> str | int:
    """``ends``, ``all`` or a number.

    Raises:
        UsageError: on anything else.
    """
    if text in ("ends", "all"):
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--keep takes ends, all or a number of states, got {text!r}") from None
