"""``koopstep compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from koopstep.cli.options import Json

if TYPE_CHECKING:
    from koopstep.cli.output import Page


JSON_KEYS = "JSON: rows, protocol."


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Evaluated run folders.")],
    as_json: Json = False,
) -> None:
    """Put the metrics of several runs into one table."""
    from koopstep.cli.output import Output, flat
    from koopstep.workflows.compare import compare_runs

    output = Output(as_json)
    result = compare_runs(runs)

    def show(page: Page) -> None:
        rows = [flat(row) for row in result["rows"]]
        names = dict.fromkeys(name for row in reversed(rows) for name in row if name != "name")
        page.table(
            ["", *(str(row.get("name", "")) for row in rows)],
            [[name, *(row.get(name) for row in rows)] for name in names],
        )

    output.finish(result, show)
