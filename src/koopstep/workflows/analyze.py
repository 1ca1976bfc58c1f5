"""``koopstep analyze``: one analysis of a run, drawn, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from koopstep.analysis.bands import require_rates
from koopstep.analysis.outcomes import require_outcomes
from koopstep.analysis.outliers import require_plane
from koopstep.core.errors import UsageError
from koopstep.core.job import Job
from koopstep.data.reference import RealData
from koopstep.workflows.analyses import Entry, Need, find_entry
from koopstep.workflows.findings import Written, free_folder, write_findings
from koopstep.workflows.subject import RunSubject


def analyze_run(
    run: Path,
    what: str,
    *,
    out: Path | None,
    data: Path | None,
    job: Job,
    reference: RealData | None = None,
    overwrite: bool = False,
) -> Written:
    """Make one analysis of a run; figures and ``values.json`` go to ``out`` (``report/WHAT`` of the run when absent).

    Args:
        run: run or student folder.
        what: a name of :data:`koopstep.workflows.analyses.ANALYSES`.
        out: folder.
        data: the store whose held-out rows are looked at; the run's own when absent.
        job: where it runs, where it speaks and when it stops.
        reference: real data to look at beside (name, folder or ``.npz``); what the teacher learned from when absent.
        overwrite: whether an ``out`` that is named and not empty may be written into.

    Raises:
        UsageError: on a folder that is not free, an unknown analysis, or one that does not fit the student or the data.
    """
    entry = find_entry(what)
    if not entry.needs and (data is not None or reference is not None):
        raise UsageError(f"{what} looks at the student alone; leave --data and --reference away")
    folder = free_folder(run, what, out, [data], overwrite)
    subject = RunSubject(run, job=job, data=data, reference=reference)
    require(entry, subject)
    return write_findings(entry.find(subject), folder, student_sha256=subject.run.file.sha256)


def require(entry: Entry, subject: RunSubject) -> None:
    """Refuse an analysis whose needs are not met.

    Raises:
        UsageError: on the first of them.
    """
    for need in entry.needs:
        _CHECKS[need](subject)


_CHECKS: dict[Need, Callable[[RunSubject], object]] = {
    "held-out rows": lambda subject: subject.held_out(),
    "path": lambda subject: subject.student.codec.schedule(),
    "rates": lambda subject: require_rates(subject.student),
    "points": require_plane,
    "outcomes": require_outcomes,
}
