"""Wrong arguments of every public function: an error of ours that names the argument, never a raw one, and quickly."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_way import MEANS, SPREAD, tiny_recipe

import koopstep
from koopstep.data import reference

Case = tuple[Callable[..., Any], dict[str, Any]]
CALM: dict[str, Any] = {"device": "cpu", "quiet": True}
NOBODY = object()  # what no argument may be
UNCHECKED = {"scheduler", "pipeline"}  # of diffusers, looked at by what they have
ALPHAS = torch.linspace(0.99, 0.0001, 50)


def denoiser(x: torch.Tensor, sigma: torch.Tensor, class_labels: torch.Tensor | None) -> torch.Tensor:
    return x


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> koopstep.Run:
    base = tmp_path_factory.mktemp("arguments")
    store = koopstep.collect(koopstep.mixture_teacher(MEANS, SPREAD), base / "store", count=60, steps=3, **CALM)
    return koopstep.train(tiny_recipe("training.steps=1"), store, base / "run", **CALM)


def functions(run: koopstep.Run, out: Path) -> dict[str, Case]:
    """Name -> a public function, and the arguments of a call that is in order."""
    teacher, student, store = koopstep.mixture_teacher(MEANS, SPREAD), run.student, run.store
    noise = student.noise(2)
    latent = student.encode(noise)
    new = {"out": out / "new", **CALM}
    named: dict[str, Case] = {
        "collect": (koopstep.collect, {"teacher": teacher, "count": 4, "steps": 2, **new}),
        "distil": (koopstep.distil, {"teacher": teacher, "count": 40, "steps": 2, **new}),
        "evaluate": (koopstep.evaluate, {"run": run, **CALM}),
        "report": (koopstep.report, {"run": run, **new}),
        "train": (koopstep.train, {"recipe": run.recipe, "store": store, **new}),
        "train_teacher": (koopstep.train_teacher, {"preset": "digits", **new}),
        "load_teacher": (koopstep.load_teacher, {"source": "checkerboard-edm"}),
        "load_recipe": (koopstep.load_recipe, {"preset": "digits"}),
        "import_pairs": (koopstep.import_pairs, {"source": (noise, noise), "out": out / "new", "quiet": True}),
        "repair": (koopstep.repair, {"store": store, "teacher": teacher, **CALM}),
        "from_denoiser": (koopstep.from_denoiser, {"fn": denoiser, "shape": (2,)}),
        "from_velocity": (koopstep.from_velocity, {"fn": denoiser, "shape": (2,)}),
        "from_epsilon": (koopstep.from_epsilon, {"fn": denoiser, "shape": (2,), "alphas_cumprod": ALPHAS}),
        "from_diffusers": (koopstep.from_diffusers, {"pipeline": None}),
        "gaussian_teacher": (koopstep.gaussian_teacher, {"mean": [0.0], "covariance": [[1.0]]}),
        "mixture_teacher": (koopstep.mixture_teacher, {"means": [[0.0]], "spread": 0.1}),
        "Teacher.sample": (teacher.sample, {"count": 2, "steps": 2}),
        "Teacher.path": (teacher.path, {"noise": noise, "steps": 2}),
        "Teacher.levels": (teacher.levels, {"steps": 2}),
        "Teacher.evaluations": (teacher.evaluations, {"steps": 2}),
        "Teacher.identity": (teacher.identity, {"steps": 2}),
        "Run": (koopstep.Run, {"folder": run}),
        "Run.open": (koopstep.Run.open, {"folder": run}),
        "Run.evaluate": (run.evaluate, {"quiet": True}),
        "Run.report": (run.report, {"quiet": True}),
        "Student": (koopstep.Student, {"model": student.model}),
        "Student.load": (koopstep.Student.load, {"source": run}),
        "Student.build": (koopstep.Student.build, {"config": run.recipe.student, "store": store}),
        "Student.noise": (student.noise, {"count": 2}),
        "Student.class_labels": (student.class_labels, {"count": 2}),
        "Student.sample": (student.sample, {"count": 2}),
        "Student.generate": (student.generate, {"noise": noise}),
        "Student.encode": (student.encode, {"noise": noise}),
        "Student.evolve": (student.evolve, {"latent": latent}),
        "Student.decode": (student.decode, {"latent": latent}),
        "Store.open": (koopstep.Store.open, {"folder": store}),
        "Store.batch": (store.batch, {"indices": [0]}),
        "Store.digest": (store.digest, {"unit": 0}),
        "Recipe.for_store": (koopstep.Recipe.for_store, {"store": store, "student": 0, "training": 0}),
    }
    for space in ("analyze", "edit", "plot"):
        functions = getattr(koopstep, space)
        for name in functions.__all__:
            named[f"{space}.{name}"] = (getattr(functions, name), {"run": run})
    return named


def test_every_argument_of_every_public_function(run: koopstep.Run, tmp_path: Path) -> None:
    cases = functions(run, tmp_path)
    public = {name for name in koopstep.__all__ if inspect.isfunction(getattr(koopstep, name))}
    left = {name for name in public if not name.startswith("register_")} - cases.keys()
    assert left == {"distill"}  # distil by its other name
    tried = 0
    for name, (function, good) in cases.items():
        for argument in inspect.signature(function).parameters.keys() - UNCHECKED:
            tried += 1
            with pytest.raises(koopstep.UsageError) as caught:
                function(**{**good, argument: NOBODY})
            said = str(caught.value)
            assert "\n" not in said and len(said) < 1000, (name, argument, said)
    assert tried > 300


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("Run.open", {"folder": None}),
    ("Student.load", {"source": 3}),
    ("collect", {"out": None}),
    ("collect", {"teacher": 3}),
    ("distil", {"count": 1.5}),
    ("distil", {"budget": math.nan}),
    ("distil", {"budget": -3.0, "count": None}),
    ("distil", {"method": []}),
    ("distil", {"store": {}}),
    ("distil", {"quick": "x"}),
    ("distil", {"changes": 3}),
    ("distil", {"teacher": 3}),
    ("evaluate", {"reference": [MEANS]}),
    ("evaluate", {"reference": 3}),
    ("evaluate", {"reference": {}}),
    ("evaluate", {"metrics": -1}),
    ("evaluate", {"metrics": np.zeros((2, 2))}),
    ("evaluate", {"device": 1.5}),
    ("evaluate", {"job": "x"}),
    ("evaluate", {"run": "a\0b"}),
    ("evaluate", {"data": b"bytes"}),
    ("import_pairs", {"source": None}),
    ("from_denoiser", {"fn": "f"}),
    ("from_denoiser", {"sigma_max": math.inf}),
    ("from_denoiser", {"rho": None}),
    ("from_denoiser", {"data_range": 1.5}),
    ("from_denoiser", {"num_classes": math.nan}),
    ("from_denoiser", {"dtype": "x"}),
    ("from_denoiser", {"device": "x"}),
    ("from_denoiser", {"name": None}),
    ("from_velocity", {"rtol": "x"}),
    ("from_denoiser", {"solver": np.zeros((2, 2))}),
    ("from_epsilon", {"timesteps": np.zeros((2, 2))}),
    ("from_epsilon", {"alphas_cumprod": []}),
    ("from_epsilon", {"alphas_cumprod": "x"}),
    ("gaussian_teacher", {"mean": "x"}),
    ("gaussian_teacher", {"covariance": [[math.nan]]}),
    ("mixture_teacher", {"means": []}),
    ("load_recipe", {"preset": 3}),
    ("Teacher.sample", {"count": 10**15}),
    ("Teacher.sample", {"count": True}),
    ("Teacher.sample", {"seed": None}),
    ("Teacher.sample", {"steps": 10**30}),
    ("Teacher.path", {"noise": np.zeros((2, 2), dtype=np.float32)}),
    ("Teacher.path", {"noise": None}),
    ("Student.noise", {"count": 10**14}),
    ("Student.sample", {"count": 10**14}),
    ("Student.generate", {"noise": torch.zeros(0, 2)}),
    ("Store.batch", {"indices": "x"}),
    ("Store.batch", {"indices": [0.5]}),
    ("Store.digest", {"unit": 99999}),
    ("edit.mix", {"rectangle": 3}),
    ("edit.mix", {"ratios": np.zeros((2, 2))}),
    ("edit.inpaint", {"count": 10**30}),
    ("edit.inpaint", {"at": "x"}),
    ("plot.losses", {"ax": 3}),
    ("plot.losses", {"ax": ["x"]}),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=lambda part: str(part)[:40])
def test_likely_mistakes(run: koopstep.Run, tmp_path: Path, name: str, wrong: dict[str, Any]) -> None:
    function, good = functions(run, tmp_path)[name]
    began = time.perf_counter()
    with pytest.raises(koopstep.UsageError) as caught:
        function(**{**good, **wrong})
    assert time.perf_counter() - began < 5
    said, (argument, value) = str(caught.value), next(iter(wrong.items()))
    known = {"teacher": "teacher", "alphas_cumprod": "alphas_cumprod", "indices": "rows", "run": "run"}
    assert known.get(argument, argument) in said or f"{value!r}" in said, said


def test_what_numpy_and_torch_give_is_taken(run: koopstep.Run) -> None:
    teacher = koopstep.gaussian_teacher(np.zeros(2), [[1, 0], [0, 1]], sigma_max=np.float32(20))
    assert teacher.sample(np.int64(3), steps=2).shape == (3, 2)
    assert koopstep.from_denoiser(denoiser, (2,), data_scale=torch.tensor(0.5)).data_scale == 0.5
    assert koopstep.Student.load(run, device=torch.device("cpu")).sample(np.int64(2)).shape == (2, 2)
    assert koopstep.load_recipe("digits", changes={"training.steps": 3}).training.steps == 3


def test_checked_functions_look_as_they_were_written() -> None:
    assert koopstep.collect.__name__ == "collect" and "store the paths" in str(koopstep.collect.__doc__)
    assert list(inspect.signature(koopstep.plot.spectrum).parameters)[:2] == ["run", "ax"]
    with pytest.raises(TypeError, match="count"):
        koopstep.collect("digits-edm", "nowhere")  # type: ignore[call-arg]


def test_a_reference_that_goes_away_while_it_is_read(
    run: koopstep.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise FileNotFoundError("a.png")

    monkeypatch.setattr(reference.images, "load", gone)
    with pytest.raises(koopstep.UsageError, match=r"cannot be read.*a\.png"):
        run.evaluate(reference=tmp_path, quiet=True)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[koopstep.Run]:
    base = tmp_path_factory.mktemp("digits-arguments")
    teacher = koopstep.load_teacher("digits-cond-edm", device="cpu")
    store = koopstep.collect(teacher, base / "store", count=24, steps=2, hold_out=12, keep="all", **CALM)
    small = {
        "student.network": {"kind": "unet", "model_channels": 8, "channel_mult": [1], "num_blocks": 1},
        "initialise": "fresh",
        "student.lift": None,
        "objective.adversarial": 0,
        "objective.adversarial_within": 0,
        "training.steps": 1,
        "training.batch_size": 4,
    }
    yield koopstep.train("digits", store, base / "run", method="hkd", changes=small, **CALM)


@pytest.mark.parametrize("picture", ["steps", "noise_space"])
def test_a_classifier_leaves_numpys_random_state(digits: koopstep.Run, picture: str) -> None:
    before = repr(np.random.get_state(legacy=False))
    getattr(digits.plot, picture)(quiet=True)
    assert repr(np.random.get_state(legacy=False)) == before
