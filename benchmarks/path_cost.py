"""All 12 states of a path by a student of modes against one evaluation of the same network, in turns; prints JSON.

python benchmarks/path_cost.py
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from koopstep.core.levels import karras_sigmas
from koopstep.nets.preconditioning import EDMDenoiser
from koopstep.nets.table import build_network
from koopstep.recipes.recipe import load_recipe
from koopstep.students.modes import ModesConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

ROUNDS, STEPS = 41, 12
GRID = tuple(karras_sigmas(STEPS).tolist())
PROGRESS = tuple(index / STEPS for index in range(STEPS + 1))
PRESETS = {"digits": 256, "checkerboard": 1024, "mnist": 16}
"""And the rows that are sampled at a time."""


def pair_of(preset: str) -> tuple[KoopmanStudent, EDMDenoiser]:
    """The preset's student, untrained, and a teacher with its network."""
    recipe = load_recipe(preset, "modes")
    config, shape = recipe.student, recipe.teacher.model.shape
    if not isinstance(config, ModesConfig) or config.network is None:
        raise TypeError(f"{preset} has no student of modes")
    facts = DataFacts(shape=shape, noise_scale=80.0, progress=PROGRESS, levels=GRID)
    student = build_student(config, facts).eval().requires_grad_(False)
    network = build_network(config.network, shape).eval().requires_grad_(False)
    return student, EDMDenoiser(network, facts.data_scale)


def ratio(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    """Median over rounds of the quotient of two times taken one after the other, in either order."""
    quotients = []
    for number in range(ROUNDS + 2):
        times = {}
        for call in (ours, theirs) if number % 2 else (theirs, ours):
            started = time.process_time()
            call()
            times[call] = time.process_time() - started
        quotients.append(times[ours] / times[theirs])
    return statistics.median(quotients[2:])


def measured(preset: str, rows: int) -> dict[str, float]:
    """The path, and the one-step sample, over one evaluation of the teacher."""
    student, teacher = pair_of(preset)
    noise, sigma, u = torch.randn(rows, *student.facts.shape), torch.full((rows,), 80.0), torch.tensor(PROGRESS[1:])
    theirs = partial(teacher, noise * 80, sigma)
    return {
        f"path of {STEPS} states": ratio(partial(student.path, noise, u), theirs),
        "one-step sample": ratio(partial(student.generate, noise), theirs),
    }


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    result = {}
    with torch.no_grad():
        for preset, rows in PRESETS.items():
            result[f"{preset}, batch {rows}"] = measured(preset, rows)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
