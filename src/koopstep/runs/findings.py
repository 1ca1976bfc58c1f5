"""Findings as files."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from koopstep.analysis.findings import Findings
from koopstep.core.config import Config, dump
from koopstep.core.errors import KoopstepError
from koopstep.core.files import make_folder, read_json, write_json
from koopstep.core.outputs import check_output
from koopstep.figures.draw import draw_all


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return f"<{self.conclusion} ({len(self.files)} files in {self.files[-1].parent})>"

    def _repr_html_(self) -> str:
        """The conclusion and the pictures, for notebooks."""
        pictures = [file for file in self.files if file.suffix == ".png" and file.is_file()]
        shown = "".join(
            f"<img style='max-width:100%' src='data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}'>"
            for file in pictures
        )
        return f"<p>{html.escape(self.conclusion)}</p>{shown}"


class Shown(Config):
    """What a report says about one picture: a heading, how to read it, and what was found in it."""

    file: str
    heading: str
    text: str
    finding: str


class Captions(Config):
    """``captions.json``: what a report says about the pictures beside it.

    Attributes:
        student_sha256: of the student that they are of; a report shows those of its own student only.
        conclusion: of all of them, one sentence.
        pictures: those that a report shows.
    """

    student_sha256: str
    conclusion: str
    pictures: tuple[Shown, ...]

    @classmethod
    def of(cls, findings: Findings, student_sha256: str) -> Self:
        """Those of some findings."""
        captions = findings.captions
        pictures = [
            Shown(
                file=view.file,
                heading=said.heading,
                text=said.text if said.finding else "",
                finding=said.finding or said.text,
            )
            for view in findings.views
            if (said := captions.get(view.file)) is not None
        ]
        return cls(student_sha256=student_sha256, conclusion=findings.conclusion, pictures=tuple(pictures))


def read_captions(folder: Path) -> Captions | None:
    """The captions of a folder of findings; None where there are none, as in those of version 0.1."""
    path = folder / "captions.json"
    try:
        found = Captions.parse(read_json(path), str(path))
    except KoopstepError:
        return None
    own = all(Path(shown.file).name == shown.file and (folder / shown.file).is_file() for shown in found.pictures)
    return found if own else None


def lacks_teacher(folder: Path) -> bool:
    """Whether these findings would compare with the teacher, and were made without it."""
    try:
        values = read_json(folder / "values.json")
    except KoopstepError:
        return False
    return isinstance(values, dict) and values.get("teacher_at_hand") is False


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


def write_findings(findings: Findings, folder: Path, more: Sequence[Path] = (), *, student_sha256: str = "") -> Written:
    """Draw the views into ``folder`` and write the values beside them; ``more`` are files that lie there already.

    What a report says about them goes beside them, too, with the digest of the student they are of.
    """
    make_folder(folder)
    pictures = draw_all(findings.views, folder)
    write_json(folder / "captions.json", dump(Captions.of(findings, student_sha256)))
    values = {"conclusion": findings.conclusion} | findings.values
    write_json(folder / "values.json", values)
    return Written((*pictures, *more, folder / "values.json"), values, findings.numbers)
