"""``koopstep analyze`` and ``koopstep.analyze``: one analysis of a run, drawn, and the numbers behind it.

As ``koopstep.analyze`` this module is a function for each analysis: ``koopstep.analyze.spectrum(run)``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

from koopstep.analysis.bands import require_rates
from koopstep.analysis.mode_energies import require_modes
from koopstep.analysis.outcomes import require_outcomes
from koopstep.analysis.outliers import require_plane
from koopstep.core.arguments import AnyDevice, AnyPath, checked
from koopstep.core.errors import UsageError
from koopstep.core.job import Job, working
from koopstep.data.reference import RealData
from koopstep.runs.findings import Written, free_folder, write_findings
from koopstep.runs.origin import check_teacher
from koopstep.runs.subject import RunSubject
from koopstep.teachers.base import Teacher
from koopstep.workflows.analyses import ANALYSES, Entry, Need, find_entry
from koopstep.workflows.load_teacher import load_teacher

__all__ = [*ANALYSES]


@checked
def analyze_run(
    run: AnyPath,
    what: str,
    *,
    data: AnyPath | None = None,
    reference: RealData | None = None,
    teacher: AnyPath | Teacher | None = None,
    others: Sequence[AnyPath] = (),
    out: AnyPath | None = None,
    overwrite: bool = False,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Written:
    """Make one analysis of a run; figures and ``values.json`` go to ``out`` (``report/WHAT`` of the run when absent).

    Args:
        run: a run, its folder, or a student's folder.
        what: a name of :data:`koopstep.workflows.analyses.ANALYSES`.
        data: the store whose held-out rows are looked at; the run's own when absent.
        reference: real data to look at beside; what the teacher learned from when absent.
        teacher: the one that made the run's paths, or what `load_teacher` opens; looked for when absent.
        others: runs to compare with, such as those of other seeds.
        out: folder.
        overwrite: whether an ``out`` that is named and not empty may be written into.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words and no progress bars on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Raises:
        UsageError: on a folder that is not free, an unknown analysis, or one that does not fit the student or the data.
    """
    entry = find_entry(what)
    if not entry.needs and (data is not None or reference is not None):
        raise UsageError(f"{what} looks at the student alone; leave --data and --reference away")
    if teacher is not None and not entry.teacher:
        raise UsageError(f"{what} does not look at the teacher; leave --teacher away")
    if others and not entry.others:
        raise UsageError(f"{what} looks at one run alone; leave --with away")
    store, target = (None if path is None else Path(path) for path in (data, out))
    beside = [Path(other) for other in others]
    folder = free_folder(Path(run), what, target, [store, *beside], overwrite)
    with working(job, device, quiet) as job:
        given = None if teacher is None else load_teacher(teacher, device=job.place.device)
        subject = RunSubject(Path(run), job=job, data=store, reference=reference, teacher=given, beside=beside)
        if given is not None:
            check_teacher(subject.run, given)
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
    "modes": lambda subject: require_modes(subject.student),
    "points": require_plane,
    "outcomes": require_outcomes,
}


_OF_STUDENT = """{about}.

    Args:
        run: a run, its folder, or a student's folder.{of_data}
        out: folder for the figures and ``values.json``; ``report/{name}`` of the run when absent.
        overwrite: whether an ``out`` that is named and not empty may be written into.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words and no progress bars on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Returns:
        ``.conclusion`` (one sentence), ``.numbers`` (the few that tell most), ``.values`` (all), ``.files``.

    Raises:
        UsageError: {needs}.

    Example:
        >>> koopstep.analyze.{name}("run").conclusion
    """
_OF_DATA = """
        data: the store whose held-out rows are looked at; the run's own when absent.
        reference: real data to look at beside; what the teacher learned from when absent."""
_OF_TEACHER = """
        teacher: the one that made the run's paths, or what `load_teacher` opens; looked for when absent. One made in Python
            must be given."""
_OF_OTHERS = """
        others: runs to compare with, such as those of other seeds."""


def _named(name: str) -> Callable[..., Written]:
    """The function ``koopstep.analyze.NAME``."""
    entry = ANALYSES[name]
    kind = _of_teacher if entry.teacher else _of_others if entry.others else _of_data if entry.needs else _of_student
    made = kind(name)
    made.__name__ = made.__qualname__ = name
    made.__doc__ = _documentation(name, entry)
    return checked(made)


def _of_data(name: str) -> Callable[..., Written]:
    def made(
        run: AnyPath,
        *,
        data: AnyPath | None = None,
        reference: RealData | None = None,
        out: AnyPath | None = None,
        overwrite: bool = False,
        device: AnyDevice | None = None,
        quiet: bool = False,
        job: Job | None = None,
    ) -> Written:
        return analyze_run(
            run, name, data=data, reference=reference, out=out, overwrite=overwrite, device=device, quiet=quiet, job=job
        )

    return made


def _of_teacher(name: str) -> Callable[..., Written]:
    def made(
        run: AnyPath,
        *,
        data: AnyPath | None = None,
        reference: RealData | None = None,
        teacher: AnyPath | Teacher | None = None,
        out: AnyPath | None = None,
        overwrite: bool = False,
        device: AnyDevice | None = None,
        quiet: bool = False,
        job: Job | None = None,
    ) -> Written:
        return analyze_run(
            run,
            name,
            data=data,
            reference=reference,
            teacher=teacher,
            out=out,
            overwrite=overwrite,
            device=device,
            quiet=quiet,
            job=job,
        )

    return made


def _of_others(name: str) -> Callable[..., Written]:
    def made(
        run: AnyPath,
        *,
        others: Sequence[AnyPath] = (),
        data: AnyPath | None = None,
        reference: RealData | None = None,
        out: AnyPath | None = None,
        overwrite: bool = False,
        device: AnyDevice | None = None,
        quiet: bool = False,
        job: Job | None = None,
    ) -> Written:
        return analyze_run(
            run,
            name,
            others=others,
            data=data,
            reference=reference,
            out=out,
            overwrite=overwrite,
            device=device,
            quiet=quiet,
            job=job,
        )

    return made


def _of_student(name: str) -> Callable[..., Written]:
    def made(
        run: AnyPath,
        *,
        out: AnyPath | None = None,
        overwrite: bool = False,
        device: AnyDevice | None = None,
        quiet: bool = False,
        job: Job | None = None,
    ) -> Written:
        return analyze_run(run, name, out=out, overwrite=overwrite, device=device, quiet=quiet, job=job)

    return made


def _documentation(name: str, entry: Entry) -> str:
    about, needs = entry.about[0].upper() + entry.about[1:], ", ".join(entry.needs)
    wrong = f"the run lacks what this needs: {needs}" if needs else "there is no student in the folder"
    more = (_OF_DATA if needs else "") + (_OF_TEACHER if entry.teacher else "") + (_OF_OTHERS if entry.others else "")
    return _OF_STUDENT.format(name=name, about=about, of_data=more, needs=wrong)


globals().update({name: _named(name) for name in ANALYSES})


def __getattr__(name: str) -> Callable[..., Written]:
    close = difflib.get_close_matches(name, ANALYSES, n=1)
    raise AttributeError(
        f"koopstep.analyze has no {name!r}; "
        + (f"did you mean {close[0]}?" if close else f"it has {', '.join(ANALYSES)}")
    )


def __dir__() -> list[str]:
    return [*ANALYSES]
