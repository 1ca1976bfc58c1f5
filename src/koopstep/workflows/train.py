"""``koopstep train`` and ``koopstep teacher train``: settings and files in, a finished run out, resumable at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from koopstep.core.config import dump
from koopstep.core.console import Console
from koopstep.core.devices import Place, barrier, seeded
from koopstep.core.errors import Interrupted, UsageError
from koopstep.core.files import make_folder, remove_stale
from koopstep.data.live import LivePaths
from koopstep.data.sources import DataSource, in_range
from koopstep.data.store import TrajectoryStore
from koopstep.losses.config import FeatureNetName
from koopstep.losses.objective import objective_for
from koopstep.losses.perceptual import PerceptualNetwork
from koopstep.recipes.recipe import Recipe, Tracking
from koopstep.students.files import save_student
from koopstep.students.initialise import config_from_teacher, note_on_start, start_from_teacher
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student
from koopstep.teachers.base import TeacherIdentity
from koopstep.teachers.files import TeacherFile
from koopstep.training.checkpoint import checkpoints, flat, load_latest, save_checkpoint
from koopstep.training.distillation import Distillation
from koopstep.training.loop import StepReport, Task, TrainingState, train
from koopstep.training.settings import TrainingConfig
from koopstep.workflows.card import student_card
from koopstep.workflows.claim import claimed
from koopstep.workflows.origin import find_data, own_teacher, training_data
from koopstep.workflows.record import longer_note, record
from koopstep.workflows.run import RunConfig, config_bytes, read_metrics, write_config
from koopstep.workflows.tracking import open_logs

Stop = Callable[[], bool]
_LOOKED_AT = 64  # rows, before the first step


@dataclass(frozen=True)
class Trained:
    """What came of a training: last step, last loss, seconds of this call and training speed in images a second."""

    step: int
    loss: float
    seconds: float
    images_per_second: float


def train_student(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: bool,
    place: Place,
    console: Console,
    stop: Stop,
    overwrite: bool = False,
) -> Trained:
    """Train a student of ``recipe`` on the store ``data`` into the run folder ``out``.

    Raises:
        UsageError: if something does not fit, ``out`` holds a run and neither ``resume`` nor ``overwrite`` is set, or
            another process trains in it.
        Interrupted: after ``stop`` said so and a checkpoint was written.
    """
    recipe.training.check(place.world)
    store = TrajectoryStore.open(data)
    identity = store.manifest.teacher
    facts = DataFacts.of(store.manifest)
    _check_fit(recipe, facts)
    with seeded(recipe.training.seed, torch.device("cpu")):  # the discriminator's weights are drawn after the student's
        recipe, student = fresh_student(recipe, facts, identity)
        task, depends_on = _task(recipe, student, store, place)
    goes_on = resume and bool(checkpoints(out / "checkpoints"))
    config = record(recipe, store, data, out if goes_on else None)
    with claimed(out, config_bytes(config), resume=resume, overwrite=overwrite, place=place, console=console):
        state = begin_training(task, recipe.training, out, depends_on, place=place, console=console)
        if place.leads:
            looked_at = store.batch(store.training_rows()[:_LOOKED_AT])
            for note in (longer_note(config), note_on_start(student, looked_at) if state.step == 0 else None):
                if note:
                    console.say(note)
            write_config(out, config)
        done = run_training(
            task,
            state,
            recipe.training,
            out,
            depends_on,
            place=place,
            console=console,
            stop=stop,
            tracking=recipe.tracking,
        )
        if place.leads:
            _save(out / "student", config, state.average.model, facts)
        barrier(place)
    return done


def _save(folder: Path, config: RunConfig, student: nn.Module, facts: DataFacts) -> None:
    recipe = config.recipe
    provenance = {
        "preset": recipe.preset,
        "method": recipe.method,
        "teacher": config.teacher,
        "teacher_sha256": config.teacher_sha256,
        "data_root": config.data_root,
    }
    remove_stale(folder)  # what a kill left of the last attempt to write it
    save_student(folder, recipe.student, student, provenance, student_card(recipe, facts, provenance))  # type: ignore[arg-type]


def fresh_student(recipe: Recipe, facts: DataFacts, identity: TeacherIdentity) -> tuple[Recipe, KoopmanStudent]:
    """The student before its first step, and the recipe with what its start decided.

    Raises:
        UsageError: if it should start from the teacher, but the teacher is not at hand or has other networks.
    """
    seed = recipe.training.seed
    torch.default_generator.manual_seed(seed)
    if recipe.initialise == "fresh":
        return recipe, build_student(recipe.student, facts, seed)
    teacher = _own_teacher(recipe, identity)
    config = config_from_teacher(recipe.student, teacher)
    student = build_student(config, facts, seed)
    start_from_teacher(student, teacher)
    return recipe.model_copy(update={"student": config}), student


def _task(
    recipe: Recipe, student: KoopmanStudent, store: TrajectoryStore, place: Place
) -> tuple[Distillation, dict[str, str]]:
    """What is trained on what, and everything that its result depends on: name -> value."""
    real = _real_data(recipe, store.manifest.teacher) if recipe.objective.adversary_data == "real" else None
    task = Distillation(
        student.to(place.device),
        objective_for(recipe.objective, student.facts, place.device, _find_network),
        store,
        batch_size=recipe.training.batch_size,
        seed=recipe.training.seed,
        place=place,
        steps=recipe.training.steps,
        real=real,
        live=_live_paths(recipe, store, place) if recipe.paths == "live" else None,
        read_ahead=_reads_ahead(recipe.training, place),
    )
    settings = dump(recipe)
    depends_on = flat({name: settings[name] for name in ("initialise", "paths", "student", "objective", "training")})
    depends_on["data"] = store.root
    if real is not None:
        depends_on["real data"] = f"{real.name} {real.identity().sha256}"
    return task, depends_on


def _real_data(recipe: Recipe, identity: TeacherIdentity) -> DataSource:
    """The data the teacher learned from, for the discriminator.

    Raises:
        UsageError: if it is not known, not at hand, or not what the recipe names.
    """
    advice = "; objective.adversary_data=real needs it: put it there, or set -o objective.adversary_data=teacher"
    learned = training_data(recipe.teacher.file, identity).need(advice)
    source = find_data(learned, [recipe.data]).need(advice)
    if Path(recipe.data).name != source.name:
        raise UsageError(
            f"objective.adversary_data=real shows the discriminator what the teacher learned from, {source.name!r}, but the "
            f"recipe names {recipe.data!r}; set -o data={source.name}"
        )
    return in_range(source, identity.data_range)


def _live_paths(recipe: Recipe, store: TrajectoryStore, place: Place) -> LivePaths:
    """The store's teacher, going on where the store ends."""
    return LivePaths(_own_teacher(recipe, store.manifest.teacher, place.device).teacher, store.manifest, place.device)


def _own_teacher(recipe: Recipe, identity: TeacherIdentity, device: torch.device | None = None) -> TeacherFile:
    """The teacher that made the paths.

    Raises:
        UsageError: if it is not at hand.
    """
    without = "initialise=fresh" if recipe.initialise == "teacher" else "paths=stored"
    advice = f"; the student learns from it: name it with -o teacher.file=PATH, or set -o {without}"
    return own_teacher((recipe.teacher.file,), identity.name, identity.sha256, device).need(advice)


def _reads_ahead(config: TrainingConfig, place: Place) -> bool:
    """A thread helps where the networks do not need the processor themselves."""
    return place.device.type == "cuda" if config.read_ahead is None else config.read_ahead


def _find_network(name: FeatureNetName) -> PerceptualNetwork:
    from koopstep.features.lpips import find_lpips  # only for objectives that look through one

    return find_lpips(name)


def begin_training(
    task: Task, config: TrainingConfig, out: Path, depends_on: dict[str, str], *, place: Place, console: Console
) -> TrainingState:
    """The state to train from: the newest whole checkpoint in ``out/checkpoints``, else a fresh one.

    Args:
        task: what is trained.
        config: how.
        out: the run's folder, made if absent.
        depends_on: name -> value of everything the result depends on; must be what the checkpoint was made with.
        place: this process.
        console: where words go.

    Raises:
        UsageError: if the settings do not fit together, or are not those of the checkpoint; nothing is written.
        DamagedError: if there are checkpoints, but none is whole.
    """
    config.check(place.world)
    state = TrainingState(task, config)
    note = load_latest(out / "checkpoints", state, depends_on)
    if note:
        console.say(note)
    if place.leads:
        make_folder(out)
        remove_stale(out)
    barrier(place)
    return state


def run_training(
    task: Task,
    state: TrainingState,
    config: TrainingConfig,
    out: Path,
    depends_on: dict[str, str],
    *,
    place: Place,
    console: Console,
    stop: Stop,
    tracking: Tracking = "none",
) -> Trained:
    """Train ``task`` with checkpoints in ``out/checkpoints`` and a line per ``log_every`` steps in ``out/metrics.jsonl``.

    Raises:
        Interrupted: after ``stop`` said so and a checkpoint was written.
        NumericsError: if something is not finite.
        StorageError: if a file cannot be written; older checkpoints are untouched.
    """
    started, first, spent = time.perf_counter(), state.step, 0.0
    loss = next((row["total"] for row in reversed(read_metrics(out)) if row.get("step") == first), float("nan"))
    logs = open_logs(out, state.step, tracking) if place.leads else nullcontext(lambda report: None)
    with logs as log, console.bar("training", config.steps, "step") as bar:
        for report in train(task, state, config, place):
            loss, spent = report.total, spent + report.seconds
            last = report.step == config.steps
            if report.step % config.log_every == 0 or last:
                log(report)
                bar.update(report.step, _note(report, config))
            halted = _agreed(stop(), place)
            if place.leads and (halted or last or report.step % config.checkpoint_every == 0):
                save_checkpoint(out / "checkpoints", state, depends_on, config.keep_checkpoints)
            if halted and not last:
                barrier(place)
                raise Interrupted(
                    f"stopped at step {report.step} of {config.steps}, saved; run again with --resume to go on"
                )
    steps = state.step - first
    speed = steps * config.batch_size / spent if spent else 0.0
    return Trained(state.step, loss, round(time.perf_counter() - started, 3), round(speed, 1))


def _agreed(halted: bool, place: Place) -> bool:
    """True on every process as soon as one was told to stop."""
    if place.world == 1:
        return halted
    vote = torch.tensor(float(halted), device=place.device)
    torch.distributed.all_reduce(vote)
    return bool(vote > 0)


def _note(report: StepReport, config: TrainingConfig) -> str:
    terms = "  ".join(f"{name} {value:.2e}" for name, value in report.terms.items())
    return f"{terms}  {config.batch_size / max(report.seconds, 1e-9):,.0f} images/s"


def _check_fit(recipe: Recipe, facts: DataFacts) -> None:
    wanted = recipe.teacher.model
    if wanted is not None and tuple(wanted.shape) != facts.shape:
        raise UsageError(
            f"the preset {recipe.preset!r} is for data of shape {tuple(wanted.shape)}, the store holds {facts.shape}; "
            "choose the preset that fits or collect with its teacher"
        )
