"""How long one path, one training step and one sample take here: tried out with as little as tells it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks

from koopstep.core.devices import Place, seeded
from koopstep.core.errors import Interrupted, UsageError
from koopstep.core.job import Stop, never
from koopstep.core.noise import gaussian
from koopstep.data import collect as collecting
from koopstep.data.manifest import Manifest
from koopstep.data.probe import PROBED_ROWS, check_repeats
from koopstep.data.rows import make_rows
from koopstep.data.store import Store
from koopstep.data.writer import StoreWriter
from koopstep.planning.plan import Costs
from koopstep.recipes.recipe import Recipe
from koopstep.runs.task import first_student, task_of
from koopstep.students.student import DataFacts
from koopstep.teachers.base import Teacher
from koopstep.training.distillation import Distillation
from koopstep.training.loop import TrainingState, train

_LONG_ENOUGH = 0.6  # seconds of paths or samples that tell their speed
_SLOW_STEP = 0.25  # a step of so many seconds is tried in bfloat16,
_WORTH_IT = 0.7  # and done in it if that takes no more than so much of it
_MOST_SECONDS, _MOST_STEPS, _WARM_UP = 2.5, 12, 2
_PROBED_STEPS = 2
_EVALUATE, _CLASSIFY = 1.0, 3.0  # seconds of metrics and of a classifier, whoever the teacher is
_REPORT = {"kdm": 4.0}  # seconds of the figures and the page; students of whole paths have more analyses
_LONG_REPORT = 10.0
_COVARIANCE = 4e-10  # seconds a cubed number of a sample: the root of a covariance
_MEMORY_SHARE = 0.5


def check_deterministic(teacher: Teacher, place: Place) -> None:
    """Refuse a teacher whose paths are not a function of their noise, by two steps from a few rows of it.

    Raises:
        UsageError: the same noise gave two paths, or rows depend on what is beside them.
    """
    manifest = collecting.plan(teacher, collecting.CollectSettings(count=PROBED_ROWS, steps=_PROBED_STEPS, keep="all"))
    rows = range(PROBED_ROWS)
    few = rows[: PROBED_ROWS // 2]
    check_repeats(*(make_rows(teacher, manifest, some, place.device)[0] for some in (rows, rows, few)))


def measure(
    teacher: Teacher, recipe: Recipe, place: Place, *, collects: bool, stop: Stop = never
) -> tuple[Costs, Recipe]:
    """The costs of ``recipe`` with ``teacher`` on this machine, and the recipe with what had to give way to its memory.

    Raises:
        Interrupted: ``stop``, which is asked between two trials, said so.
    """
    with tempfile.TemporaryDirectory(prefix="koopstep-plan-") as folder:
        store = _made_up_store(Path(folder), teacher, recipe)
        with seeded(recipe.training.seed, torch.device("cpu")):
            recipe, student = first_student(recipe, DataFacts.of(store.manifest), store.manifest.teacher)
            recipe, task = _fitting(recipe, lambda chosen: task_of(chosen, student, store, place)[0], place)
            _go_on(stop)
            recipe, step = _fastest(recipe, task, place)
            _go_on(stop)
        row = _time_rows(lambda rows: _sample(task, store, rows, place), len(store.training_rows()))
    path = time_path(teacher, recipe, place) if collects else 0.0
    size = float(torch.tensor(teacher.shape).prod())
    measured = recipe.evaluation.metrics
    evaluate = (
        _EVALUATE + _COVARIANCE * size**3 * ("frechet_pixel" in measured) + _CLASSIFY * ("class_balance" in measured)
    )
    return Costs(
        start=0.0,
        path=path,
        step=step,
        row=row,
        evaluate=evaluate,
        report=_REPORT.get(recipe.student.kind, _LONG_REPORT),
    ), recipe


def _go_on(stop: Stop) -> None:
    if stop():
        raise Interrupted("stopped before the plan was made; run the same command again to go on")


def time_path(teacher: Teacher, recipe: Recipe, place: Place) -> float:
    """Seconds of one path: of its evaluations one by one where they are slow, of whole paths where they are not."""
    whole = collecting.plan(teacher, recipe.collect)
    short = whole.model_copy(update={"steps": 1, "kept": (0, 1), "levels": (0.0, 1.0)})
    ratio = teacher.evaluations(whole.steps) / max(teacher.evaluations(1), 1)

    def run(manifest: Manifest) -> Callable[[int], object]:
        return lambda rows: make_rows(teacher, manifest, range(rows), place.device)[0].cpu()

    seconds, rows = _grown(run(short), whole.micro_batch, _LONG_ENOUGH / 4)
    if seconds * ratio > 2 * _LONG_ENOUGH:
        return seconds * ratio / rows
    seconds, rows = _grown(run(whole), whole.micro_batch, _LONG_ENOUGH)
    return seconds / rows


def time_step(task: Distillation, recipe: Recipe, place: Place) -> float:
    """Seconds of one training step, after the first ones, which are slower."""
    config = recipe.training.model_copy(update={"steps": _WARM_UP + _MOST_STEPS})
    spent: list[float] = []
    for report in train(task, TrainingState(task, config), config, place):
        if report.step > _WARM_UP or report.seconds > _MOST_SECONDS:
            spent.append(report.seconds)
        if sum(spent) > _MOST_SECONDS:
            break
    return sum(spent) / len(spent)


def _fastest(recipe: Recipe, task: Distillation, place: Place) -> tuple[Recipe, float]:
    """The recipe in the number format that is fastest here, and the seconds of a step: not every processor likes bfloat16."""
    plain = time_step(task, recipe, place)
    if recipe.training.autocast != "none" or plain < _SLOW_STEP or len(task.model.facts.shape) != 3:
        return recipe, plain
    half = recipe.model_copy(update={"training": recipe.training.model_copy(update={"autocast": "bfloat16"})})
    seconds = time_step(task, half, place)
    return (half, seconds) if seconds < _WORTH_IT * plain else (recipe, plain)


def _sample(task: Distillation, store: Store, rows: int, place: Place) -> object:
    batch = store.batch(store.training_rows()[:rows]).to(place.device)
    with torch.no_grad():
        return task.model.generate(batch.noise, batch.class_labels).cpu()


def _time_rows(run: Callable[[int], object], most: int) -> float:
    seconds, rows = _grown(run, most, _LONG_ENOUGH / 4)
    return seconds / rows


def _grown(run: Callable[[int], object], most: int, enough: float) -> tuple[float, int]:
    """Seconds and rows of the largest trial: more rows each time until it lasts ``enough``, or there are no more."""
    rows = min(4, most)
    run(rows)  # the first call of anything is slower
    while True:
        started = time.perf_counter()
        run(rows)
        seconds = time.perf_counter() - started
        if seconds >= enough or rows >= most:
            return seconds, rows
        rows = min(4 * rows, most)


def _made_up_store(folder: Path, teacher: Teacher, recipe: Recipe) -> Store:
    """A store of this teacher's kind that holds noise: what is in it does not change what a step takes."""
    batch = recipe.training.batch_size
    settings = recipe.collect.model_copy(
        update={"count": batch + 1, "hold_out": 1, "unit_size": batch + 1, "micro_batch": None}
    )
    manifest = collecting.plan(teacher, settings)
    writer = StoreWriter(folder, manifest)
    noise = gaussian(1, range(manifest.count), manifest.shape)
    states = torch.stack([noise * teacher.noise_scale, *[noise * teacher.data_scale] * (len(manifest.kept) - 1)])
    labels = torch.arange(manifest.count) % teacher.num_classes if teacher.num_classes else None
    writer.commit(0, states, labels)
    writer.seal()
    return Store.open(folder)


def _fitting(
    recipe: Recipe, task_of_recipe: Callable[[Recipe], Distillation], place: Place
) -> tuple[Recipe, Distillation]:
    """The recipe with a micro-batch that fits the memory, and its task.

    Results do not depend on it beyond rounding, and beyond what its rows say of their spread (``linearity_scale``).
    """
    task = task_of_recipe(recipe)
    free = free_memory(place)
    every = recipe.objective.trajectory_every
    few = min(recipe.training.batch_size, 2 * every)
    held = _kept_for_gradients(task, few) / few
    weights = 20 * sum(p.numel() for p in task.model.parameters())  # gradients, Adam's two moments, the average
    if free is None or held * recipe.training.batch_size + weights <= _MEMORY_SHARE * free:
        return recipe, task
    rows = int((_MEMORY_SHARE * free - weights) / held)
    micro = max(
        (size for size in _divisors(recipe.training.batch_size) if few <= size <= rows and size % every == 0), default=0
    )
    if not micro:
        raise UsageError(
            f"a training step needs {(held * few + weights) / 1e9:.1f} GB at least, and {free / 1e9:.1f} GB are free; use "
            "another --device, or a smaller network with -o student.…"
        )
    training = recipe.training.model_copy(update={"micro_batch": micro})
    return recipe.model_copy(update={"training": training}), task


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _kept_for_gradients(task: Distillation, rows: int) -> int:
    """Bytes that the losses of some rows keep until their gradients are taken."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    own = {p.data_ptr() for p in task.model.parameters()}
    with saved_tensors_hooks(note, lambda tensor: tensor):
        task.losses(0, slice(0, rows))
    return sum(size for place, size in kept.items() if place not in own)


def free_memory(place: Place) -> int | None:
    """Bytes free on the device; None where nobody says."""
    if place.device.type == "cuda":
        return int(torch.cuda.mem_get_info(place.device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
