"""Training of any task in a folder: checkpoints, metrics and a halt on request, so that it can go on at any moment."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from koopstep.core.devices import Place, barrier
from koopstep.core.errors import Interrupted
from koopstep.core.files import make_folder, remove_stale
from koopstep.core.job import Job
from koopstep.recipes.recipe import Tracking
from koopstep.runs.folder import read_metrics
from koopstep.runs.tracking import open_logs
from koopstep.training.checkpoint import load_latest, save_checkpoint
from koopstep.training.loop import StepReport, Task, TrainingState, train
from koopstep.training.settings import TrainingConfig


@dataclass(frozen=True)
class Trained:
    """What came of a training: last step, last loss, seconds of this call and training speed in images a second."""

    step: int
    loss: float
    seconds: float
    images_per_second: float


def begin_training(
    task: Task,
    config: TrainingConfig,
    out: Path,
    depends_on: dict[str, str],
    *,
    job: Job,
    earlier: Mapping[str, Collection[str]] | None = None,
) -> TrainingState:
    """The state to train from: the newest whole checkpoint in ``out/checkpoints``, else a fresh one.

    Args:
        task: what is trained.
        config: how.
        out: the run's folder, made if absent.
        depends_on: name -> value of everything the result depends on; must be what the checkpoint was made with.
        job: where it runs, where it speaks and when it stops.
        earlier: values that it may have been made with instead.

    Raises:
        UsageError: if the settings do not fit together, or are not those of the checkpoint; nothing is written.
        DamagedError: if there are checkpoints, but none is whole.
    """
    config.check(job.place.world)
    state = TrainingState(task, config)
    note = load_latest(out / "checkpoints", state, depends_on, earlier)
    for line in (note, config.note() if state.step == 0 else None):
        if line:
            job.console.say(line)
    if job.place.leads:
        make_folder(out)
        remove_stale(out)
    barrier(job.place)
    return state


def run_training(
    task: Task,
    state: TrainingState,
    config: TrainingConfig,
    out: Path,
    depends_on: dict[str, str],
    *,
    job: Job,
    tracking: Tracking = "none",
) -> Trained:
    """Train ``task`` with checkpoints in ``out/checkpoints`` and a line per ``log_every`` steps in ``out/metrics.jsonl``.

    Raises:
        Interrupted: after ``job.stop`` said so and a checkpoint was written.
        NumericsError: if something is not finite.
        StorageError: if a file cannot be written; older checkpoints are untouched.
    """
    started, first, spent, note = time.perf_counter(), state.step, 0.0, ""
    loss = next((row["total"] for row in reversed(read_metrics(out)) if row.get("step") == first), float("nan"))
    logs = open_logs(out, state.step, tracking) if job.place.leads else nullcontext(lambda report: None)
    with logs as log, job.console.bar("training", config.steps, "step") as bar:
        for report in train(task, state, config, job.place):
            loss, spent = report.total, spent + report.seconds
            last = report.step == config.steps
            if report.step % config.log_every == 0 or last:
                log(report)
                note = _note(report, config)
            bar.update(report.step, note)
            halted = _agreed(job.stop(), job.place)
            if job.place.leads and (halted or last or report.step % config.checkpoint_every == 0):
                save_checkpoint(out / "checkpoints", state, depends_on, config.keep_checkpoints)
            if halted and not last:
                barrier(job.place)
                raise Interrupted(
                    f"stopped at step {report.step} of {config.steps}, saved; run again with --resume to go on"
                )
    steps = state.step - first
    speed = steps * config.batch_size / spent if spent else 0.0
    return Trained(state.step, loss, round(time.perf_counter() - started, 3), round(speed, 1))


def _agreed(halted: bool, place: Place) -> bool:
    """True on every process as soon as one was asked to stop."""
    if place.world == 1:
        return halted
    vote = torch.tensor(float(halted), device=place.device)
    torch.distributed.all_reduce(vote)
    return bool(vote > 0)


def _note(report: StepReport, config: TrainingConfig) -> str:
    terms = "  ".join(f"{name} {value:.2e}" for name, value in report.terms.items())
    return f"{terms}  {config.batch_size / max(report.seconds, 1e-9):,.0f} images/s"
