"""Findings as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koopstep.analysis.findings import Findings
from koopstep.core.files import make_folder, write_json
from koopstep.figures.draw import draw_all


@dataclass(frozen=True)
class Written:
    """What an analysis or an edit left.

    Attributes:
        files: pictures, folders of pictures, and last ``values.json``.
        values: its content.
    """

    files: tuple[Path, ...]
    values: dict[str, Any]


def write_findings(findings: Findings, folder: Path, more: Sequence[Path] = ()) -> Written:
    """Draw the views into ``folder`` and write the values beside them; ``more`` are files that lie there already."""
    make_folder(folder)
    pictures = draw_all(findings.views, folder)
    write_json(folder / "values.json", findings.values)
    return Written((*pictures, *more, folder / "values.json"), findings.values)
