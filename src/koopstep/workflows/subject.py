"""A run as analyses look at it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from koopstep.analysis.subject import HeldOut, Subject
from koopstep.core.devices import Place
from koopstep.core.errors import UsageError
from koopstep.core.records import Found
from koopstep.data.sources import DataSource, load_source
from koopstep.teachers.base import Teacher
from koopstep.teachers.files import load_teacher
from koopstep.workflows.console import Console
from koopstep.workflows.evaluate import Comparison, compare_on_held_out
from koopstep.workflows.run import open_run


class RunSubject(Subject):
    """A run or student folder; its store is opened and sampled from when rows are first asked for.

    Attributes:
        run: as it was opened.
    """

    def __init__(self, folder: Path, *, place: Place, console: Console, data: Path | None = None) -> None:
        self.run = open_run(folder, place.device)
        self.student = self.run.student
        self._place, self._console, self._data = place, console, data

    @cached_property
    def compared(self) -> Comparison:
        """Student and teacher on the held-out noise."""
        found = compare_on_held_out(self.run.folder, self._data, None, self._place)
        self._console.say(f"looking at {len(found.student)} held-out rows")
        return found

    def held_out(self) -> HeldOut:
        return HeldOut(self.compared.batch, self.compared.student, self.compared.store.manifest.steps)

    def teacher(self) -> Found[Teacher]:
        config = self.run.config
        if config is None or not config.teacher_sha256:
            return Found(None, UsageError("nothing says which teacher file made the paths"))
        try:
            found = load_teacher(config.recipe.teacher.file, self.device)
        except UsageError as error:
            return Found(None, error)
        if found.sha256 != config.teacher_sha256:
            return Found(None, UsageError(f"the teacher {config.recipe.teacher.file!r} is another one by now"))
        return Found(found.teacher)

    def reference(self) -> Found[DataSource]:
        if self.run.config is None:
            return Found(None, UsageError(f"{self.run.folder} is a student folder without its run; it names no data"))
        return Found(load_source(self.run.config.recipe.data))
