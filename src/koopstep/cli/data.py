"""``koopstep data``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from koopstep.cli.options import Device, HoldOut, Json, Store
from koopstep.core.errors import DamagedError, UsageError

if TYPE_CHECKING:
    from koopstep.cli.output import Page
    from koopstep.data.pairs import LayoutName

commands = typer.Typer(help="Look into, check, mend or import a trajectory store.", rich_markup_mode=None)


_INFO = "count, held_out, bytes, root, shape, states, teacher, manifest, damaged"


@commands.command("info", epilog=f"JSON: {_INFO}.")
def info(folder: Store, as_json: Json = False) -> None:
    """Show what a store holds."""
    from koopstep.cli.output import Output
    from koopstep.workflows.collect import store_info

    output = Output(as_json)
    result = store_info(folder)
    output.finish(result, lambda page: _show(page, result))


@commands.command("verify", epilog="JSON: count, damaged, root.")
def verify(folder: Store, as_json: Json = False) -> None:
    """Check every hash of a store. Exit code 3 if something is damaged."""
    from koopstep.cli.output import Output
    from koopstep.workflows.collect import verify_store

    output = Output(as_json)
    with output.job() as job:
        result = verify_store(folder, job)
    damaged = result["damaged"]
    output.finish(result, lambda page: page.facts(result | {"damaged": len(damaged)}))
    if damaged:
        raise DamagedError(
            f"{folder}: {len(damaged)} damaged unit(s): {_listed(damaged)}; run `koopstep data repair {folder}`"
        )


@commands.command("repair", epilog="JSON: count, damaged (what still is), repaired, root.")
def repair(
    folder: Store,
    teacher: Annotated[
        str | None, typer.Option("--teacher", metavar="TEACHER", help="Its teacher; else the one it names.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make the damaged units of a store again. Needs the teacher that made them."""
    from koopstep.cli.output import Output
    from koopstep.workflows.collect import repair_store

    output = Output(as_json)
    with output.job(device) as job:
        result = repair_store(folder, teacher, job=job)
    damaged = result["damaged"]
    shown = result | {"damaged": len(damaged), "repaired": len(result["repaired"])}
    output.finish(result, lambda page: page.facts(shown))
    if damaged:
        raise DamagedError(f"{folder}: {len(damaged)} unit(s) are still damaged: {_listed(damaged)}")


@commands.command("import", epilog=f"JSON: {_INFO}, layout, noise_scale.")
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="An .npz or .safetensors with arrays noise and data (N, *shape) and perhaps class_labels, a .npy of shape "
            "(states, N, *shape), a folder of KDM .npz pairs, or FastGen's tars.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the new store.")],
    hold_out: HoldOut = None,
    layout: Annotated[
        str,
        typer.Option(
            "--layout",
            metavar="NAME",
            help="Where `auto` cannot tell how pairs are laid out: "
            "kdm-cifar10, kdm-cifar10-fm, kdm-cifar10-cond or kdm-ffhq.",
        ),
    ] = "auto",
    data_range: Annotated[
        str,
        typer.Option(
            "--data-range",
            metavar="LO,HI",
            help="What black and white are, of images; `none` of data that are no images.",
        ),
    ] = "-1,1",
    name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="What the teacher that made them is called.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring pairs or paths that were made elsewhere into a store."""
    from koopstep.cli.output import Output
    from koopstep.data.pairs import LayoutName
    from koopstep.workflows.import_pairs import import_store

    known = get_args(LayoutName)
    if layout not in known:
        raise UsageError(f"--layout takes {', '.join(known)}; got {layout!r}")
    output = Output(as_json)
    wanted = _range(data_range)
    result = import_store(
        source, out, hold_out=hold_out, layout=cast("LayoutName", layout), data_range=wanted, name=name
    )
    output.finish(result, lambda page: _show(page, result))


def _range(text: str) -> tuple[float, float] | None:
    if text == "none":
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"--data-range takes two numbers, as in 0,1, or none; got {text!r}")
    return low, high


def _show(page: Page, result: dict[str, Any]) -> None:
    page.facts({key: value for key, value in result.items() if key not in ("manifest", "damaged")})


def _listed(damaged: list[Any]) -> str:
    """The first few damaged units, with the reason where one is known."""
    names = [
        f"unit {unit['unit']} ({unit['reason']})" if isinstance(unit, dict) else f"unit {unit}" for unit in damaged[:3]
    ]
    return ", ".join(names) + (f" and {len(damaged) - 3} more" if len(damaged) > 3 else "")
