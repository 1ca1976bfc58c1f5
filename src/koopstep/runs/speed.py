"""Wall-clock time of teacher and student side by side: the same machine, the same batch, the teacher's whole path."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from koopstep.core.config import Config, dump
from koopstep.core.errors import KoopstepError
from koopstep.core.files import read_json, write_json
from koopstep.core.noise import gaussian, integers
from koopstep.data.manifest import Manifest
from koopstep.runs.folder import OpenRun
from koopstep.runs.origin import teacher_of_run
from koopstep.students.student import DataFacts
from koopstep.teachers.base import Teacher

_REPEATS = 3
MOST_SECONDS = 5.0
"""What the whole measurement takes, about."""
_SEED = 2**31 - 2  # of noise that no store was made from


class Speed(Config):
    """``report/speed.json``: what a batch took.

    Attributes:
        machine: processor or graphics card, and threads.
        batch: samples made at once.
        repeats: of which the median is taken.
        student_seconds: median, for the batch.
        teacher_seconds: the same of the teacher's path; None where it could not be measured.
        teacher_from: ``measured`` beside the student; ``collection``: the time of collecting, for as many paths.
        teacher_evaluations: of its network, a sample.
        reason: why the teacher's time is missing; empty where it is not.
        student_sha256: of the student that was timed.
    """

    machine: str
    batch: int
    repeats: int
    student_seconds: float
    teacher_seconds: float | None
    teacher_from: Literal["measured", "collection"] | None
    teacher_evaluations: int
    reason: str
    student_sha256: str

    @property
    def ratio(self) -> float | None:
        """How many times faster the student is; None where the teacher's time is missing."""
        return None if self.teacher_seconds is None else self.teacher_seconds / max(self.student_seconds, 1e-12)


def speed_of(
    run: OpenRun, manifest: Manifest | None, seconds: Mapping[str, float], teacher: Teacher | None = None
) -> Speed:
    """The speed of a run's student, measured once and kept in ``report/speed.json``.

    Args:
        run: as it was opened.
        manifest: of the store it learned from; None where that is not at hand.
        seconds: what the stages of the run took, for a teacher that is not at hand.
        teacher: the run's, for one that was made in Python; else it is looked for.

    Raises:
        StorageError: if it cannot be kept.
    """
    path = run.folder / "report" / "speed.json"
    kept = _kept(path, run)
    if kept is None or (teacher is not None and kept.teacher_from != "measured"):
        kept = _measure(run, manifest, seconds, teacher)
        write_json(path, dump(kept))
    return kept


def _kept(path: Path, run: OpenRun) -> Speed | None:
    try:
        kept = Speed.parse(read_json(path), str(path))
    except KoopstepError:  # there is none, or none that can be read
        return None
    return kept if kept.student_sha256 == run.file.sha256 else None


def _measure(run: OpenRun, manifest: Manifest | None, seconds: Mapping[str, float], teacher: Teacher | None) -> Speed:
    facts, student = run.student.facts, run.student
    device = next(student.parameters()).device
    steps = manifest.steps if manifest else run.config.recipe.collect.steps if run.config else None
    reason = "nothing says how many steps the teacher took"
    if teacher is None:
        found = teacher_of_run(run, device)
        teacher, reason = (None, found.reason) if found.value is None else (found.value.teacher, reason)
    evaluations = manifest.teacher.num_function_evaluations if manifest else 0
    if teacher is not None and steps is not None:
        evaluations = teacher.evaluations(steps)
    batch = _batch(
        lambda size: _seconds(partial(student.generate, *_noise(facts, size, device)), device), facts, evaluations
    )
    noise, labels = _noise(facts, batch, device)
    of_student: list[float] = []
    of_teacher: list[float] = []
    for _ in range(_REPEATS):  # in turn, so that what else the machine does falls on both
        of_student.append(_seconds(lambda: student.generate(noise, labels), device))
        if teacher is not None and steps is not None:
            of_teacher.append(_seconds(partial(teacher.path, noise, labels, steps=steps), device))
    collected = seconds.get("collect")
    whole: float | None = None
    source: Literal["measured", "collection"] | None = None
    if of_teacher:
        whole, source = statistics.median(of_teacher), "measured"
    elif collected and manifest:
        whole, source = collected * batch / manifest.count, "collection"
    return Speed(
        machine=machine_name(device),
        batch=batch,
        repeats=_REPEATS,
        student_seconds=statistics.median(of_student),
        teacher_seconds=whole,
        teacher_from=source,
        teacher_evaluations=evaluations,
        reason="" if whole is not None else reason,
        student_sha256=run.file.sha256,
    )


def _batch(seconds_of: Callable[[int], float], facts: DataFacts, evaluations: int) -> int:
    """As large a batch as is usual for such data, if its measurement stays short."""
    side = max(facts.shape[1:], default=0)
    most = 1024 if side == 0 else 256 if side <= 16 else 64 if side <= 32 else 16
    batch = 1
    seconds_of(batch)  # the first call of all is slow
    while batch < most and seconds_of(4 * batch) * (evaluations + 1) * _REPEATS < MOST_SECONDS:
        batch *= 4
    return batch


def _noise(facts: DataFacts, count: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    labels = integers(_SEED, range(count), facts.num_classes).to(device) if facts.num_classes else None
    return gaussian(_SEED, range(count), facts.shape).to(device), labels


@torch.no_grad()
def _seconds(work: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine_name(device: torch.device) -> str:
    """The processor or graphics card that a device is, as people know it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads != 1)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
