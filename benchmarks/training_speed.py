"""Seconds of one training step of the mnist preset's teacher under each speed option, in one run; prints JSON.

    python benchmarks/training_speed.py [STEPS]

Options take turns, so that a busy machine slows all of them; a figure is the fastest of its steps.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator

import torch

from koopstep.core.devices import prepare
from koopstep.data.sources import FixedSet
from koopstep.recipes.recipe import load_teacher_recipe
from koopstep.teachers.table import TEACHERS
from koopstep.training.denoising import Denoising
from koopstep.training.loop import StepReport, TrainingState, train

OPTIONS: dict[str, dict[str, object]] = {
    "plain": {"autocast": "none"},
    "channels_last": {"autocast": "none", "channels_last": True},
    "fused": {"autocast": "none", "fused": True},
    "bfloat16": {"autocast": "bfloat16"},
    "bfloat16, channels_last": {"autocast": "bfloat16", "channels_last": True},
    "bfloat16, compile": {"autocast": "bfloat16", "compile": True},
}


def main() -> None:
    """Train a few steps under each option in turn."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    place, recipe = prepare(), load_teacher_recipe("mnist")
    config, training = recipe.teacher.model, recipe.teacher.training
    images = torch.randint(0, 256, (2048, *config.shape), dtype=torch.uint8)
    kind = TEACHERS[config.kind]
    assert kind.loss is not None
    runs: dict[str, Iterator[StepReport]] = {}
    for name, changes in OPTIONS.items():
        settings = training.model_copy(update=changes)
        torch.manual_seed(0)
        task = Denoising(
            kind.build(config).to(place.device),
            functools.partial(kind.loss, config),
            FixedSet("random", images, None),
            conditional=False,
            batch_size=settings.batch_size,
            seed=0,
            place=place,
        )
        runs[name] = train(task, TrainingState(task, settings), settings, place)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 2):  # two to warm up
        for name, reports in runs.items():
            seconds[name].append(next(reports).seconds)
    fastest = {name: min(times[2:]) for name, times in seconds.items()}
    ratios = {name: round(fastest["plain"] / value, 2) for name, value in fastest.items()}
    print(json.dumps({"device": str(place.device), "seconds": fastest, "faster_than_plain": ratios}, indent=1))


if __name__ == "__main__":
    main()
