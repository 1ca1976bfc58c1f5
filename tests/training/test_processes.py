"""Two processes do what one does: the same numbers, also when the number of processes changes on the way.

The processes are forked from one that has imported everything; it runs apart from the test process, since forking
needs a process without threads.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import forks

STEPS = 12
CASES: dict[str, dict[str, Any]] = {
    "adam": {"training": {"gradient_clip": 1.0, "schedule": "cosine"}, "task": {}},
    "discriminator": {"training": {"optimizer": "adamw", "weight_decay": 0.01}, "task": {"adversarial": 0.2}},
    "accumulated": {"training": {"micro_batch": 2, "optimizer": "muon"}, "task": {"operator": {"kind": "spectral"}}},
}


def _train(base: Path, case: str, folder: Path, until: int) -> list[float]:
    """Go on from the checkpoints in ``folder``; whatever number of processes this is one of."""
    import torch
    from tiny_task import distillation, paths, settings

    from koopstep.core.devices import barrier, prepare
    from koopstep.training.checkpoint import load_latest, save_checkpoint
    from koopstep.training.loop import TrainingState, train

    place = prepare("cpu")
    if place.world > 1 and torch.distributed.get_world_size() != place.world:
        raise RuntimeError("there is no group of processes")
    config = settings(steps=STEPS, **CASES[case]["training"])
    task = distillation(paths(base / "store"), place=place, **CASES[case]["task"])
    state = TrainingState(task, config)
    load_latest(folder, state, {})
    barrier(place)
    totals = []
    for report in train(task, state, config, place):
        totals.append(report.total)
        if report.step == until:
            break
    if place.leads:
        save_checkpoint(folder, state, {}, keep=9)
    barrier(place)
    return totals


def _way(base: Path, case: str, name: str, legs: Sequence[tuple[int, int]]) -> Path:
    """Train in legs of (number of processes, up to which step)."""
    folder = base / f"{case}-{name}"
    for world, until in legs:
        forks.processes(world, lambda until=until: _train(base, case, folder, until))  # type: ignore[misc]
    return folder / f"step-{STEPS:08d}"


def _distance(one: Path, other: Path) -> float:
    from koopstep.core.tensors import load_tensors

    most = 0.0
    names = {path.name for path in one.glob("*.safetensors")}
    if names != {path.name for path in other.glob("*.safetensors")}:
        return float("inf")
    for name in names:
        first, second = (load_tensors(folder / name)[0] for folder in (one, other))
        most = max([most, *(float((first[key] - second[key]).abs().max()) for key in first)])
    return most


def _mixed() -> None:
    """Sums of several dtypes at once arrive where they belong."""
    import torch

    from koopstep.core.devices import prepare, sum_over_processes

    place = prepare("cpu")
    kinds = (torch.float64, torch.float32, torch.int64, torch.bfloat16)
    tensors = [torch.full((index + 1,), place.rank + 1 + index).to(kind) for index, kind in enumerate(kinds)]
    sum_over_processes(place, tensors)
    for index, tensor in enumerate(tensors):
        if tensor.tolist() != [3 + 2 * index] * (index + 1):
            raise RuntimeError(f"{tensor} is no sum over processes")


def _vote() -> None:
    """When one process is told to stop, all stop."""
    from koopstep.core.devices import prepare
    from koopstep.runs.resumable import _agreed

    place = prepare("cpu")
    if _agreed(place.rank == 1, place) is not True or _agreed(False, place) is not False:
        raise RuntimeError("the processes do not agree")


def zygote(base: Path) -> None:
    """Everything below happens in processes without threads."""
    import torch

    torch.set_num_threads(1)
    from tiny_task import paths

    paths(base / "store")
    for case in CASES:  # what torch imports when it first trains
        _train(base, case, base / f"{case}-warm", 1)
    forks.processes(2, _mixed)
    forks.processes(2, _vote)
    report = {}
    for case in CASES:
        alone = _way(base, case, "alone", [(1, STEPS)])
        report[case] = _distance(alone, _way(base, case, "two", [(2, STEPS)]))
        report[f"{case}, changing"] = _distance(alone, _way(base, case, "changing", [(1, 4), (2, 8), (1, STEPS)]))
    print(json.dumps(report))


@forks.needs_fork
def test_two_processes_are_one(tmp_path: Path) -> None:
    report = json.loads(forks.start(__file__, tmp_path, timeout=600).splitlines()[-1])
    print(report)
    assert len(report) == 2 * len(CASES)
    assert max(report.values()) < 1e-10
    assert any(value > 0 for value in report.values())  # sums in another order: it was not one process all the time


if __name__ == "__main__":
    zygote(Path(sys.argv[1]))
