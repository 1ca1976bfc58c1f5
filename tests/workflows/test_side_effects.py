"""What a caller has set stays as it is: random numbers, environment, matplotlib, threads, denormals, warnings, gradients."""

from __future__ import annotations

import os
import random
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.cluster  # noqa: F401 - sets variables and filters of its own when it is first imported
import torch
from tiny_way import MEANS, SPREAD, tiny_recipe

import koopstep
from koopstep.core.devices import flushes_denormals

QUIET: dict[str, Any] = {"device": "cpu", "quiet": True}
SMALL = {"training.batch_size": 16}
TAUGHT = {
    "teacher.training.steps": 2,
    "teacher.training.batch_size": 8,
    "teacher.model.network": {"kind": "mlp", "width": 8, "depth": 2},
}


def surroundings() -> dict[str, Any]:
    """Everything global that a library could change."""
    matplotlib = pytest.importorskip("matplotlib")
    return {
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state(legacy=False)),
        "python": random.getstate(),
        "environment": dict(os.environ),
        "matplotlib": dict(matplotlib.rcParams),
        "backend": matplotlib.get_backend(),
        "threads": torch.get_num_threads(),
        "denormals": flushes_denormals(),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "gradients": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "folder": Path.cwd(),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> koopstep.Run:
    base = tmp_path_factory.mktemp("calm")
    store = koopstep.collect(koopstep.mixture_teacher(MEANS, SPREAD), base / "store", count=120, steps=3, **QUIET)
    return koopstep.train(tiny_recipe(), store, base / "run", **QUIET)


def verbs(run: koopstep.Run, out: Path) -> dict[str, Callable[[], object]]:
    teacher = koopstep.mixture_teacher(MEANS, SPREAD)
    noise = run.student.noise(4)
    return {
        "load_teacher": lambda: koopstep.load_teacher("checkerboard-edm", device="cpu").sample(4, steps=2),
        "collect": lambda: koopstep.collect(teacher, out / "store", count=20, steps=2, **QUIET),
        "import_pairs": lambda: koopstep.import_pairs(_pairs(out), out / "imported", quiet=True),
        "repair": lambda: koopstep.repair(run.store, teacher, **QUIET),
        "train_teacher": lambda: koopstep.train_teacher("checkerboard", out / "t.safetensors", changes=TAUGHT, **QUIET),
        "train": lambda: koopstep.train(tiny_recipe(), run.store, out / "run", **QUIET),
        "distil": lambda: koopstep.distil(
            teacher, out / "whole", count=200, steps=4, method="kdm", changes=SMALL, **QUIET
        ),
        "evaluate": lambda: run.evaluate(quiet=True),
        "report": lambda: run.report(out / "page.html", quiet=True),
        "sample": lambda: koopstep.Student.load(run, device="cpu").sample(4),
        "parts": lambda: run.student.decode(run.student.evolve(run.student.encode(noise))),
        "build": lambda: koopstep.Student.build(run.recipe.student, run.store, device="cpu"),
        "analyze": lambda: run.analyze.neighbours(out=out / "found", quiet=True),
        "plot": lambda: (run.plot.samples(quiet=True), run.plot.losses()),
    }


def _pairs(out: Path) -> Path:
    np.save(out / "pairs.npy", np.random.default_rng(0).normal(size=(2, 30, 2)).astype(np.float32))
    return out / "pairs.npy"


@pytest.mark.parametrize("flush", [False, True])
def test_the_callers_surroundings_stay_as_they_are(run: koopstep.Run, tmp_path: Path, flush: bool) -> None:
    torch.set_flush_denormal(flush)
    torch.manual_seed(3)
    for name, verb in verbs(run, tmp_path).items():
        before = surroundings()
        verb()
        after = surroundings()
        changed = [thing for thing in before if before[thing] != after[thing]]
        assert not changed, f"{name} changed {changed}"


def test_nothing_is_said_where_quiet_is_asked_for(
    run: koopstep.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for verb in verbs(run, tmp_path).values():
        verb()
    assert capfd.readouterr() == ("", "")


def test_the_callers_random_numbers_decide_nothing(run: koopstep.Run, tmp_path: Path) -> None:
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        again = koopstep.train(tiny_recipe(), run.store, tmp_path / str(seed), **QUIET)
        weights.append(again.student.sample(5))
    assert torch.equal(*weights) and torch.equal(weights[0], run.student.sample(5))


def test_a_failure_leaves_them_too(run: koopstep.Run, tmp_path: Path) -> None:
    before = surroundings()
    with pytest.raises(koopstep.UsageError):
        koopstep.collect("checkerboard-edm", run.folder, count=4, **QUIET)
    with pytest.raises(koopstep.UsageError):
        run.evaluate(metrics=["fid"], quiet=True)
    assert surroundings() == before
