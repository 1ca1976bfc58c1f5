"""A run as analyses look at it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from koopstep.analysis.subject import HeldOut, Subject
from koopstep.core.errors import UsageError
from koopstep.core.job import Job
from koopstep.core.records import Batch, Found
from koopstep.data.reference import RealData
from koopstep.data.sources import DataSource
from koopstep.runs.comparison import Comparison, check_same_teacher, compare_on_held_out, held_out_batch
from koopstep.runs.folder import open_run
from koopstep.runs.origin import check_teacher, teacher_of_run
from koopstep.students.student import KoopmanStudent
from koopstep.teachers.base import Teacher


class RunSubject(Subject):
    """A run or student folder; its store is opened and sampled from when rows are first asked for.

    Attributes:
        run: as it was opened.
        given: the teacher, where the caller has it; else it is looked for.
        beside: runs to compare with.
    """

    def __init__(
        self,
        folder: Path,
        *,
        job: Job,
        data: Path | None = None,
        reference: RealData | None = None,
        teacher: Teacher | None = None,
        beside: Sequence[Path] = (),
    ) -> None:
        self.run = open_run(folder, job.place.device)
        self.student = self.run.student
        self._job, self._data, self._named = job, data, reference
        self.given, self.beside = teacher, tuple(beside)

    @cached_property
    def compared(self) -> Comparison:
        """Student and teacher on the held-out noise."""
        found = compare_on_held_out(self.run.folder, self._data, None, self._job, reference=self._named)
        self._job.console.say(f"looking at {len(found.student)} held-out rows")
        return found

    def held_out(self) -> HeldOut:
        return HeldOut(self.compared.batch, self.compared.student, self.compared.store.manifest.steps)

    def paths(self) -> Batch:
        if "compared" in self.__dict__:
            return self.rows()
        return held_out_batch(self.run, self._data, self.few).to(self.device)

    def others(self) -> dict[str, KoopmanStudent]:
        found: dict[str, KoopmanStudent] = {}
        for folder in self.beside:
            other = open_run(folder, self._job.place.device)
            if other.student.facts != self.student.facts or other.student.level_names != self.student.level_names:
                raise UsageError(
                    f"{folder} cannot be compared with {self.run.folder}: its student has other data or other levels; name "
                    "runs of the same preset and method"
                )
            check_same_teacher(other, self.compared.store.manifest, self.compared.store.folder)
            found[str(folder)] = other.student
        return found

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
