"""The whole way at the smallest size: a mixture in the plane, a student of a few hundred numbers."""

from __future__ import annotations

from pathlib import Path

import torch

from jobs import quiet_job
from koopstep.core.config import dump, override
from koopstep.core.devices import Place
from koopstep.data.collect import CollectSettings, collect
from koopstep.data.store import Store
from koopstep.recipes.recipe import Recipe
from koopstep.runs.resumable import Trained
from koopstep.students.files import load_student
from koopstep.teachers.analytic import MixtureConfig, MixtureDenoiser, mixture_teacher
from koopstep.teachers.files import TeacherHeader, save_teacher
from koopstep.workflows.train import train_student

MEANS = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
SPREAD = 0.2
HERE = Place(torch.device("cpu"))
MLP = {"kind": "mlp", "width": 8, "depth": 2, "fourier": 0}

_TRAINING = {"steps": 12, "batch_size": 8, "learning_rate": 0.01, "checkpoint_every": 4, "log_every": 1}


def tiny_recipe(*changes: str) -> Recipe:
    """A complete recipe, with some settings changed as on the command line."""
    plain = Recipe.parse(
        {
            "preset": "tiny",
            "method": "kdm",
            "about": "three blobs",
            "data": "checkerboard",
            "teacher": {
                "file": "mixture",
                "model": {"kind": "mixture", "dimension": 2, "components": 3, "spread": SPREAD},
            },
            "collect": {"count": 120, "steps": 3, "hold_out": 20},
            "student": {
                "kind": "kdm",
                "encoder": MLP,
                "decoder": MLP,
                "operator": {"kind": "dense"},
                "latent": 6,
            },
            "objective": {"reconstruction": 0.1, "latent": 0.1, "prediction": 1.0, "latent_noise": 0.1},
            "training": _TRAINING,
            "evaluation": {"metrics": ["pair_mse", "pair_mse_permuted", "sliced_wasserstein"]},
        },
        "tiny recipe",
    )
    return Recipe.parse(override(dump(plain), changes), "tiny recipe")


def tiny_teacher(path: Path, means: torch.Tensor = MEANS) -> Path:
    """A mixture teacher as a file."""
    config = MixtureConfig(dimension=2, components=len(means), spread=SPREAD)
    model = MixtureDenoiser(means, torch.ones(len(means)), SPREAD)
    save_teacher(path, TeacherHeader(config=config, name="mixture", weights_dtype="float64"), model)
    return path


def tiny_store(folder: Path, count: int = 120, hold_out: int = 20, seed: int = 0) -> Path:
    """Paths of the mixture."""
    settings = CollectSettings(count=count, steps=3, hold_out=hold_out, seed=seed)
    for _ in collect(mixture_teacher(MEANS, SPREAD), folder, settings):
        pass
    return folder


def train_tiny(recipe: Recipe, store: Path, out: Path, *, resume: bool = False, stop_after: int = 10**9) -> Trained:
    """Train in this process; ask to stop after some steps."""
    asked = iter(range(1, 10**9))
    return train_student(recipe, store, out, resume=resume, job=quiet_job(lambda: next(asked) >= stop_after))


def generated(run: Path, store: Path, count: int = 8) -> torch.Tensor:
    """What the student in a run's folder makes of the store's first rows."""
    student, _ = load_student(run / "student")
    batch = Store.open(store).batch(torch.arange(count).numpy())
    with torch.no_grad():
        return student.generate(batch.noise, batch.class_labels)


def steps_of(run: Path) -> list[int]:
    """The steps of the run's checkpoints, oldest first."""
    return sorted(int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*"))


def spoil(path: Path) -> None:
    """Flip the bits of a file's last byte."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 0xFF
    path.write_bytes(data)
