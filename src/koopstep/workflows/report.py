"""``koopstep report``: one page about a run, with everything inside it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koopstep.analysis.subject import HeldOut
from koopstep.core.arguments import AnyDevice, AnyPath, checked
from koopstep.core.config import dump
from koopstep.core.errors import KoopstepError, UsageError
from koopstep.core.files import make_folder
from koopstep.core.job import Job, working
from koopstep.core.records import Found
from koopstep.data.manifest import Manifest
from koopstep.data.reference import RealData
from koopstep.data.store import Store
from koopstep.figures.html import MARK, Chapter, write_report
from koopstep.planning.making import read_plan
from koopstep.planning.plan import Plan
from koopstep.runs.clock import Clock
from koopstep.runs.folder import EVALUATION, OpenRun, open_run, own_store, read_evaluation
from koopstep.runs.origin import check_teacher
from koopstep.runs.speed import Speed, speed_of
from koopstep.runs.subject import RunSubject
from koopstep.teachers.base import Teacher
from koopstep.workflows import report_words as words
from koopstep.workflows.evaluate import evaluate
from koopstep.workflows.load_teacher import load_teacher
from koopstep.workflows.report_figures import Analyses, links, losses_part, samples_part


@checked
def report(
    run: AnyPath,
    out: AnyPath | None = None,
    *,
    data: AnyPath | None = None,
    reference: RealData | None = None,
    teacher: AnyPath | Teacher | None = None,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Path:
    """Write one self-contained HTML page about a run; what was not measured yet is measured first.

    Args:
        run: a run, its folder, or a student's folder.
        out: the page; ``report/index.html`` of the run when absent.
        data: the store whose held-out rows are shown; the run's own when absent.
        reference: real data to look at beside: a name, a folder or ``.zip`` of pictures, an ``.npz`` or ``.npy``, a tensor or
            an array; what the run was given, else what the teacher learned from, where that is at hand, when absent.
        teacher: the one that made the run's paths, or what `load_teacher` opens; looked for when absent. One made in Python
            must be given: no file says where it is.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words and no progress bars on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Returns:
        The page.

    Raises:
        UsageError: if ``run`` is no run, ``teacher`` is another one than the run's, or ``out`` is there and no page of ours.
        DamagedError: if the run's files are damaged.
    """
    folder = Path(run)
    page = folder / "report" / "index.html" if out is None else Path(out)
    check_page(page)
    with working(job, device, quiet) as job:
        given = None if teacher is None else load_teacher(teacher, device=job.place.device)
        if given is not None:
            check_teacher(open_run(folder, job.place.device), given)
        content = tell(folder, None if data is None else Path(data), job, reference=reference, teacher=given)
        return write_report(page, content.title, content.lead, [content.chapter])


def check_page(page: Path) -> None:
    """Refuse to write a page over what is no page of ours.

    Raises:
        UsageError: then.
    """
    if page.is_dir():
        raise UsageError(f"{page} is a folder; name the page, as in {page / 'index.html'}")
    if page.exists() and MARK not in page.read_bytes()[:2000]:
        raise UsageError(f"{page} exists already and is no report; name another file")


@dataclass(frozen=True)
class Content:
    """A run's chapter, and the heading and lead of a page that has no other."""

    title: str
    lead: str
    chapter: Chapter


def tell(
    run: Path, data: Path | None, job: Job, *, reference: RealData | None = None, teacher: Teacher | None = None
) -> Content:
    """Measure and draw what is missing (into the ``report`` folder of ``run``), and say what there is.

    Args:
        run: run or student folder.
        data: the store whose held-out rows are shown; the run's own when absent.
        job: where it runs and speaks.
        reference: real data to look at beside; what the run was given, or the teacher learned from, when absent.
        teacher: the run's, where the caller has it; of one made in Python nothing on disk can be timed or compared with.
    """
    subject = RunSubject(run, job=job, data=data, reference=reference, teacher=teacher)
    folder = run / "report"
    make_folder(folder)
    held_out, manifest, opened = _held_out(subject), _manifest(subject.run, data), subject.run
    facts, rows = opened.student.facts, held_out.value
    measured = _measured(subject, data, reference, job) if rows is not None else _measured_before(opened)
    seconds = Clock(run).seconds
    speed = speed_of(opened, manifest, seconds, teacher)
    analyses = Analyses(subject, folder, speed.student_seconds / speed.batch, job)
    finding = words.pair_finding(rows, facts)
    parts = [*analyses.parts, losses_part(run, folder)]
    if rows is not None:
        parts.insert(analyses.leading, samples_part(subject, rows, folder))
    chapter = Chapter(
        title=_name(opened),
        lead=words.about(opened, manifest),
        facts=list(words.facts_of(opened, manifest, measured.value, speed)),
        notes=_notes(held_out, measured),
        links=links(subject, rows, finding),
        rows=words.rows_of(measured.value),
        measured=words.measured_on(measured.value, math.prod(facts.shape)),
        parts=parts,
        seconds=seconds,
        commands=words.commands(opened, manifest, _plan(run)),
        details=_details(opened, measured, analyses, speed),
    )
    steps = 1 if measured.value is None else measured.value["protocol"].get("student_steps", 1)
    return Content(words.title(manifest, steps), words.lead(manifest, facts), chapter)


def _held_out(subject: RunSubject) -> Found[HeldOut]:
    """The held-out rows, or why there are none to look at."""
    try:
        return Found(subject.held_out())
    except KoopstepError as error:
        return Found(None, error)


def _name(opened: OpenRun) -> str:
    config = opened.config
    return opened.folder.name if config is None else f"{config.recipe.preset}, {config.recipe.method}"


def _plan(run: Path) -> Plan | None:
    """Of a run that distil made, if it can be read."""
    try:
        return read_plan(run)
    except KoopstepError:
        return None


def _manifest(opened: OpenRun, data: Path | None) -> Manifest | None:
    """Of the store that the student learned from, where it is at hand."""
    if data is None and opened.config is None:
        return None
    try:
        return (own_store(opened.folder, opened.recipe("")) if data is None else Store.open(data)).manifest
    except KoopstepError:
        return None


def _measured(subject: RunSubject, data: Path | None, reference: RealData | None, job: Job) -> Found[dict[str, Any]]:
    """The evaluation of this very student, measured now where there is none."""
    kept = _measured_before(subject.run)
    if kept.value is not None:
        return kept
    try:
        return Found(evaluate(subject.run.folder, data=data, reference=reference, job=job).plain())
    except KoopstepError as error:
        return Found(None, error)


def _measured_before(opened: OpenRun) -> Found[dict[str, Any]]:
    """The evaluation kept in the run, if it is of this very student."""
    try:
        kept = read_evaluation(opened.folder)
    except KoopstepError as error:
        return Found(None, error)
    weights = (opened.folder if opened.config is None else opened.folder / "student") / "model.safetensors"
    # version 0.1 did not say of which student it was
    newer = (opened.folder / EVALUATION).stat().st_mtime >= weights.stat().st_mtime
    current = kept["student_sha256"] == opened.file.sha256 if "student_sha256" in kept else newer
    if current:
        return Found(kept)
    return Found(None, UsageError(f"{opened.folder} was trained on since it was evaluated; evaluate it again"))


def _notes(held_out: Found[Any], measured: Found[dict[str, Any]]) -> list[str]:
    """What is missing on this page, and why."""
    notes = []
    if held_out.value is None:
        notes.append(f"The teacher's samples are not at hand, so the student is shown alone: {held_out.reason}.")
    if measured.value is None:
        notes.append(f"Nothing was measured: {measured.reason}.")
    elif measured.value.get("left_out"):
        notes += words.not_measured(measured.value["left_out"])
    return notes


def _details(opened: OpenRun, measured: Found[dict[str, Any]], analyses: Analyses, speed: Speed) -> dict[str, str]:
    """What is folded away."""
    details = {}
    if measured.value is not None:
        details["protocol of the metrics"] = _text(measured.value["protocol"])
    if analyses.left_out:
        details["analyses that are not on this page"] = _text(analyses.left_out)
    details["speed"] = _text(dump(speed))
    if opened.config is not None:
        details["settings"] = _text(dump(opened.config.recipe))
    details["the student's file"] = _text(opened.file.provenance | {"sha256": opened.file.sha256})
    return details


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
