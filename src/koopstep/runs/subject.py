"""A run as analyses look at it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from koopstep.analysis.subject import HeldOut, Subject
from koopstep.core.errors import UsageError
from koopstep.core.job import Job
from koopstep.core.records import Found
from koopstep.data.reference import RealData
from koopstep.data.sources import DataSource
from koopstep.runs.comparison import Comparison, compare_on_held_out
from koopstep.runs.folder import open_run
from koopstep.runs.origin import check_teacher, teacher_of_run
from koopstep.teachers.base import Teacher


class RunSubject(Subject):
    """A run or student folder; its store is opened and sampled from when rows are first asked for.

    Attributes:
        run: as it was opened.
        given: the teacher, where the caller has it; else it is looked for.
    """

    def __init__(
        self,
        folder: Path,
        *,
        job: Job,
        data: Path | None = None,
        reference: RealData | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.run = open_run(folder, job.place.device)
        self.student = self.run.student
        self._job, self._data, self._named = job, data, reference
        self.given = teacher

    @cached_property
    def compared(self) -> Comparison:
        """Student and teacher on the held-out noise."""
        found = compare_on_held_out(self.run.folder, self._data, None, self._job, reference=self._named)
        self._job.console.say(f"looking at {len(found.student)} held-out rows")
        return found

    def held_out(self) -> HeldOut:
        return HeldOut(self.compared.batch, self.compared.student, self.compared.store.manifest.steps)

    def teacher(self) -> Found[Teacher]:
        if self.given is not None:
            try:
                check_teacher(self.run, self.given)
            except UsageError as error:
                return Found(None, error)
            return Found(self.given)
        found = teacher_of_run(self.run, self.device)
        return Found(found.value.teacher if found.value else None, found.error)

    def reference(self) -> Found[DataSource]:
        return self.compared.reference
