"""``koopstep analyze``: one analysis of a run, drawn, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from koopstep.analysis.bands import require_rates
from koopstep.analysis.outcomes import require_outcomes
from koopstep.analysis.outliers import require_plane
from koopstep.core.devices import Place
from koopstep.workflows.analyses import Entry, Need, find_entry
from koopstep.workflows.console import Console
from koopstep.workflows.findings import Written, write_findings
from koopstep.workflows.subject import RunSubject


def analyze_run(
    run: Path,
    what: str,
    *,
    out: Path | None,
    data: Path | None,
    place: Place,
    console: Console,
    reference: str | None = None,
) -> Written:
    """Make one analysis of a run; figures and ``values.json`` go to ``out`` (``report/WHAT`` of the run when absent).

    Args:
        run: run or student folder.
        what: a name of :data:`koopstep.workflows.analyses.ANALYSES`.
        out: folder.
        data: the store whose held-out rows are looked at; the run's own when absent.
        place: the device.
        console: where words go.
        reference: real data to look at beside (name, folder or ``.npz``); what the teacher learned from when absent.

    Raises:
        UsageError: on an unknown analysis, or one that does not fit the student or the data.
    """
    entry = find_entry(what)
    subject = RunSubject(run, place=place, console=console, data=data, reference=reference)
    require(entry, subject)
    return write_findings(entry.find(subject), out or run / "report" / what)


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
