"""A run folder: what training leaves and every later command reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import yaml

from koopstep.core.arguments import AnyPath
from koopstep.core.config import Added, Config, dump
from koopstep.core.errors import DamagedError, KoopstepError, UsageError
from koopstep.core.files import read_json, read_limited, write_atomic
from koopstep.core.renamed import renamed_path
from koopstep.core.yaml_reader import LARGEST_TEXT, parse_yaml
from koopstep.data.commits import MANIFEST
from koopstep.data.store import Store
from koopstep.recipes.recipe import Recipe, student_part
from koopstep.students.files import StudentFile, load_student, run_within, student_folder
from koopstep.students.student import KoopmanStudent
from koopstep.teachers.base import TrainingData

CONFIG = "config.yaml"
EVALUATION = Path("report") / "evaluation.json"
STORE = "store"  # of a run of distil: the paths that it collected itself
TEACHER = "teacher.safetensors"  # likewise: its foreign teacher, converted


class EarlierData(Config):
    """What a store held before it grew: its digest and rows, and how many steps learned from them alone."""

    root: str
    count: int
    steps: int


class RunConfig(Config):
    """``config.yaml`` of a run: the resolved recipe, and what it was trained on.

    Attributes:
        recipe: every setting.
        data: folder of the store.
        data_beside: the same, seen from the run's folder: where it is when both were moved.
        data_root: digest of the store.
        teacher: name of the teacher that made the paths.
        teacher_sha256: digest of its file, empty for a function.
        training_data: what it learned from, where the store says so.
        earlier_steps: ``training.steps`` before the run was made longer, oldest first. What depends on the length (learning
            rates but a constant one, ``objective.pixel_fade``) followed these until then.
        earlier_data: what the store held before it grew and the run went on with more paths, oldest first.
    """

    recipe: Recipe
    data: str
    data_root: str
    teacher: str
    teacher_sha256: str
    training_data: Annotated[TrainingData | None, Added()] = None
    earlier_steps: Annotated[tuple[int, ...], Added()] = ()
    earlier_data: Annotated[tuple[EarlierData, ...], Added()] = ()
    data_beside: Annotated[str | None, Added()] = None


@dataclass(frozen=True)
class OpenRun:
    """A trained student with whatever is known about it: a run, or a bare student folder (then ``config`` is None)."""

    folder: Path
    student: KoopmanStudent
    file: StudentFile
    config: RunConfig | None

    def recipe(self, what_for: str) -> RunConfig:
        """The run's configuration.

        Raises:
            UsageError: if this is a bare student folder.
        """
        if self.config is None:
            raise UsageError(f"{self.folder} is a student folder without its run; {what_for}")
        return self.config


def own_store(run: Path, config: RunConfig) -> Store:
    """The store that a run learned from: where it was, or in or beside the run's folder, which may have been moved or copied.

    Raises:
        UsageError: if there is no store, it is not complete, or what is there now is neither that store nor what it grew to.
        DamagedError: if its descriptions are damaged.
    """
    beside = [] if config.data_beside is None else [run / config.data_beside]
    places = dict.fromkeys(path.resolve() for path in (Path(config.data), run / STORE, *beside))
    others: list[Path] = []
    error: KoopstepError | None = None
    for place in places:
        if not (place / MANIFEST).is_file():
            continue
        try:
            store = Store.open(place)
        except KoopstepError as broken:
            error = error or broken
            continue
        if config.data_root in store.history():
            return store
        others.append(place)
    if error is not None:
        raise error
    if others:
        raise UsageError(
            f"the store that {run} learned from is gone: {others[0]} is another one (its digest is not "
            f"{config.data_root[:16]}); move the store back, or name one of the same teacher with --data"
        )
    raise UsageError(
        f"the store that {run} learned from is gone (looked at {', '.join(map(str, places))}); move it back, or name it with "
        "--data"
    )


def config_bytes(config: Config) -> bytes:
    """The content of a ``config.yaml``."""
    return yaml.safe_dump(dump(config), sort_keys=False).encode()


def write_config(folder: Path, config: Config) -> None:
    """Write ``config.yaml``."""
    write_atomic(folder / CONFIG, config_bytes(config))


def read_config(folder: Path) -> RunConfig:
    """Read ``config.yaml``.

    Raises:
        UsageError: if there is none, it is not one of ours, or larger than settings are.
        DamagedError: if it is no text.
    """
    path = folder / CONFIG
    if not path.is_file():
        advice = run_within(folder) or "; train one with `koopstep train`"
        raise UsageError(f"{folder} is no run folder (no config.yaml in it){advice}")
    try:
        text = read_limited(path, LARGEST_TEXT).decode()
    except UnicodeDecodeError as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    plain = parse_yaml(text, str(path))
    if isinstance(plain, dict) and isinstance(plain.get("recipe"), dict):
        plain["recipe"] = student_part(plain["recipe"])  # version 0.1 wrote the teacher's training, too
    return RunConfig.parse(plain, str(path))


def open_run(folder: AnyPath, device: torch.device | None = None) -> OpenRun:
    """Open a run or a student folder.

    Raises:
        UsageError: if it is neither, or the run is not finished.
        DamagedError: if its files are damaged.
    """
    folder = Path(folder)
    own = student_folder(folder)
    student, file = load_student(own, device)
    return OpenRun(folder, student, file, None if own == folder else read_config(folder))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``, in order; what is no line of ours, such as a half-written last one, is left out."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            rows.append({renamed_path(name): value for name, value in row.items()})
    return rows


def read_evaluation(folder: Path) -> dict[str, Any]:
    """``report/evaluation.json`` of a run.

    Raises:
        UsageError: if the run was never evaluated.
        DamagedError: if the file holds something else.
    """
    path = folder / EVALUATION
    if not path.is_file():
        raise UsageError(f"{folder} was not evaluated yet; run `koopstep evaluate {folder}`")
    result: Any = read_json(path)
    if not isinstance(result, dict) or not all(
        isinstance(result.get(key), dict) for key in ("metrics", "protocol", "teacher")
    ):
        raise DamagedError(f"{path} holds no evaluation; run `koopstep evaluate {folder}` again")
    return result
