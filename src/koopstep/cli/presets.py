"""``koopstep presets``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from koopstep.cli.options import ChosenMethod, Json
from koopstep.core.errors import UsageError

if TYPE_CHECKING:
    from koopstep.cli.output import Page


JSON_KEYS = "JSON: presets, methods; with NAME: preset, method, about, teacher, student, config."


def presets(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="A preset, or your own .yaml file, to print in full.", show_default=False
        ),
    ] = None,
    method: ChosenMethod = None,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the preset as a file that `koopstep train` takes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List presets and methods, or print one preset in full."""
    import yaml

    from koopstep.cli.output import Output, flat, plain, write_out
    from koopstep.workflows.presets import list_presets, preset_yaml, show_preset

    if as_yaml:
        if name is None or as_json:
            raise UsageError(
                "--yaml prints one preset, as in `koopstep presets digits --yaml > mine.yaml`, without --json"
            )
        write_out(preset_yaml(name, method))
        return
    output = Output(as_json)
    if name is None:
        result = list_presets()

        def show(page: Page) -> None:
            for kind in ("presets", "methods"):
                page.table([kind, ""], [[entry["name"], entry["about"]] for entry in result[kind]])
                page.line("")
    else:
        result = show_preset(name, method)

        def show(page: Page) -> None:
            page.facts(flat({key: value for key, value in result.items() if key != "config"}))
            page.line("")
            for line in yaml.safe_dump(plain(result["config"]), sort_keys=False).splitlines():
                page.line(line)

    output.finish(result, show)
