"""Findings as files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from koopstep.analysis.findings import Findings
from koopstep.core.files import make_folder, write_json
from koopstep.core.outputs import check_output
from koopstep.figures.draw import draw_all


@dataclass(frozen=True)
class Written:
    """What an analysis or an edit left.

    Attributes:
        files: pictures, folders of pictures, and last ``values.json``.
        values: its content, ``conclusion`` among it.
        numbers: the few that people are shown, by name.
    """

    files: tuple[Path, ...]
    values: dict[str, Any]
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def conclusion(self) -> str:
        """What was found, in one plain sentence."""
        return str(self.values["conclusion"])


def free_folder(run: Path, what: str, out: Path | None, reads: Iterable[Path | None], overwrite: bool) -> Path:
    """Where findings go: ``out``, which must be new or empty unless ``overwrite``; else the run's own ``report/WHAT``.

    Raises:
        UsageError: ``out`` is not free, or is the run or one of ``reads``.
    """
    if out is None:
        return run / "report" / what
    inputs = [run, *(path for path in reads if path is not None)]
    check_output(out, inputs=inputs, overwrite=overwrite, folder=True)
    return out


def write_findings(findings: Findings, folder: Path, more: Sequence[Path] = ()) -> Written:
    """Draw the views into ``folder`` and write the values beside them; ``more`` are files that lie there already."""
    make_folder(folder)
    pictures = draw_all(findings.views, folder)
    values = {"conclusion": findings.conclusion} | findings.values
    write_json(folder / "values.json", values)
    return Written((*pictures, *more, folder / "values.json"), values, findings.numbers)
