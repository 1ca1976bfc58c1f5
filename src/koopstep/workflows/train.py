"""``koopstep train`` and ``koopstep teacher train``: settings and files in, a finished run out, resumable at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from koopstep.core.config import Config, dump
from koopstep.core.devices import Place, barrier
from koopstep.core.errors import Interrupted, UsageError
from koopstep.core.files import make_folder, sha256_bytes, storage_error
from koopstep.data.store import TrajectoryStore
from koopstep.losses.objective import build_objective
from koopstep.nets.discriminators import build_discriminator
from koopstep.students.files import save_student
from koopstep.students.initialise import config_from_teacher, start_from_teacher
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student
from koopstep.teachers.base import TeacherIdentity
from koopstep.teachers.files import load_teacher
from koopstep.training.checkpoint import checkpoints, load_latest, save_checkpoint
from koopstep.training.distillation import Distillation
from koopstep.training.loop import StepReport, Task, TrainingState, train
from koopstep.training.settings import TrainingConfig
from koopstep.workflows.card import student_card
from koopstep.workflows.console import Console
from koopstep.workflows.recipe import Recipe
from koopstep.workflows.run import RunConfig, write_config

Stop = Callable[[], bool]


@dataclass(frozen=True)
class Trained:
    """What came of a training: last step, last loss, seconds of this call and training speed in images a second."""

    step: int
    loss: float
    seconds: float
    images_per_second: float


def train_student(
    recipe: Recipe, data: Path, out: Path, *, resume: bool, place: Place, console: Console, stop: Stop
) -> Trained:
    """Train a student of ``recipe`` on the store ``data`` into the run folder ``out``.

    Raises:
        UsageError: if something does not fit, or ``out`` holds a run and ``resume`` is False.
        Interrupted: after ``stop`` said so and a checkpoint was written.
    """
    store = TrajectoryStore.open(data)
    identity = store.manifest.teacher
    facts = DataFacts(
        shape=store.manifest.shape,
        num_classes=identity.num_classes,
        noise_scale=identity.noise_scale,
        data_scale=identity.data_scale,
    )
    _check_fit(recipe, facts)
    recipe, student = fresh_student(recipe, facts, identity)
    student.to(place.device)
    config = RunConfig(
        recipe=recipe,
        data=str(data.resolve()),
        data_root=store.root,
        teacher=identity.name,
        teacher_sha256=identity.sha256,
    )
    critic = (
        build_discriminator(facts.shape, facts.num_classes).to(place.device) if recipe.objective.adversarial else None
    )
    task = Distillation(
        student,
        build_objective(recipe.objective, critic),
        store,
        batch_size=recipe.training.batch_size,
        seed=recipe.training.seed,
        place=place,
    )
    digests = {"settings": _digest(recipe, "student", "objective", "training"), "data": store.root}
    if place.leads:
        _prepare(out, resume)
        write_config(out, config)
    barrier(place)
    state, done = run_training(task, recipe.training, out, digests, place=place, console=console, stop=stop)
    if place.leads:
        provenance = {
            "preset": recipe.preset,
            "method": recipe.method,
            "teacher": identity.name,
            "teacher_sha256": identity.sha256,
            "data_root": store.root,
        }
        averaged = state.average.model
        save_student(out / "student", recipe.student, averaged, provenance, student_card(recipe, facts, provenance))  # type: ignore[arg-type]
    barrier(place)
    return done


def fresh_student(recipe: Recipe, facts: DataFacts, identity: TeacherIdentity) -> tuple[Recipe, KoopmanStudent]:
    """The student before its first step, and the recipe with what its start decided.

    Raises:
        UsageError: if it should start from the teacher, but the teacher is not at hand or has other networks.
    """
    torch.manual_seed(recipe.training.seed)
    if recipe.initialise == "fresh":
        return recipe, build_student(recipe.student, facts)
    teacher = load_teacher(recipe.teacher.file)
    if teacher.sha256 != identity.sha256:
        raise UsageError(
            f"the student should start from the teacher {recipe.teacher.file!r}, but the paths are another one's "
            f"({identity.name!r}); name theirs with -o teacher.file=PATH, or set -o initialise=fresh"
        )
    config = config_from_teacher(recipe.student, teacher)
    student = build_student(config, facts)
    start_from_teacher(student, teacher)
    return recipe.model_copy(update={"student": config}), student


def run_training(
    task: Task,
    config: TrainingConfig,
    out: Path,
    identity: dict[str, str],
    *,
    place: Place,
    console: Console,
    stop: Stop,
) -> tuple[TrainingState, Trained]:
    """Train ``task`` with checkpoints in ``out/checkpoints`` and a line per ``log_every`` steps in ``out/metrics.jsonl``."""
    config.check(place.world)
    state = TrainingState(task, config)
    note = load_latest(out / "checkpoints", state, identity)
    if note:
        console.say(note)
    barrier(place)
    started, first, loss, spent = time.perf_counter(), state.step, float("nan"), 0.0
    with _log(out, state.step, place) as log, console.bar("training", config.steps, "step") as bar:
        for report in train(task, state, config, place):
            loss, spent = report.total, spent + report.seconds
            last = report.step == config.steps
            if report.step % config.log_every == 0 or last:
                log(report)
                bar.update(report.step, _note(report, config))
            halted = _agreed(stop(), place)
            if place.leads and (halted or last or report.step % config.checkpoint_every == 0):
                save_checkpoint(out / "checkpoints", state, identity, config.keep_checkpoints)
            if halted and not last:
                barrier(place)
                raise Interrupted(
                    f"stopped at step {report.step} of {config.steps}, saved; run again with --resume to go on"
                )
    steps = state.step - first
    speed = steps * config.batch_size / spent if spent else 0.0
    return state, Trained(state.step, loss, round(time.perf_counter() - started, 3), round(speed, 1))


def _agreed(halted: bool, place: Place) -> bool:
    """True on every process as soon as one was told to stop."""
    if place.world == 1:
        return halted
    vote = torch.tensor(float(halted), device=place.device)
    torch.distributed.all_reduce(vote)
    return bool(vote > 0)


@contextmanager
def _log(out: Path, step: int, place: Place) -> Iterator[Callable[[StepReport], None]]:
    """Append to ``metrics.jsonl``; lines beyond ``step`` (written after the checkpoint, before a kill) are dropped."""
    if not place.leads:
        yield lambda report: None
        return
    path = out / "metrics.jsonl"
    kept: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            if int(json.loads(line)["step"]) <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    try:
        with path.open("w", encoding="utf-8") as stream:
            stream.writelines(line + "\n" for line in kept)
            stream.flush()
            yield lambda report: _write(stream, report)
    except OSError as error:
        raise storage_error(path, error) from error


def _write(stream: Any, report: StepReport) -> None:
    row = {
        "step": report.step,
        "total": report.total,
        **report.terms,
        "learning_rate": report.learning_rate,
        "seconds": round(report.seconds, 5),
    }
    stream.write(json.dumps(row) + "\n")
    stream.flush()


def _note(report: StepReport, config: TrainingConfig) -> str:
    terms = "  ".join(f"{name} {value:.2e}" for name, value in report.terms.items())
    return f"{terms}  {config.batch_size / max(report.seconds, 1e-9):,.0f} images/s"


def _prepare(out: Path, resume: bool) -> None:
    make_folder(out)
    if checkpoints(out / "checkpoints") and not resume:
        raise UsageError(f"{out} already holds a run; add --resume to go on with it, or choose another --out")


def _digest(recipe: Config, *sections: str) -> str:
    described = dump(recipe)
    return sha256_bytes(json.dumps([described[name] for name in sections], sort_keys=True).encode())


def _check_fit(recipe: Recipe, facts: DataFacts) -> None:
    wanted = recipe.teacher.model
    shape = getattr(wanted, "shape", facts.shape)
    if tuple(shape) != facts.shape:
        raise UsageError(
            f"the preset {recipe.preset!r} is for data of shape {tuple(shape)}, the store holds {facts.shape}; "
            "choose the preset that fits or collect with its teacher"
        )
