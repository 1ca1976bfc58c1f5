"""Endpoints may be anything: students of paths that start at a uniform square or at another data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from koopstep.core.devices import Place
from koopstep.core.noise import gaussian
from koopstep.data.checkerboard import sample
from koopstep.data.importers import import_source
from koopstep.data.store import Store
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.objective import build_objective
from koopstep.nets.mlp import MLPConfig
from koopstep.operators.dense import DenseConfig
from koopstep.students.kdm import KDMConfig, build_kdm
from koopstep.students.student import DataFacts
from koopstep.teachers.functions import from_velocity
from koopstep.training.distillation import Distillation
from koopstep.training.loop import TrainingState, train
from koopstep.training.settings import TrainingConfig

ROWS, STEPS = 2000, 150
MLP = MLPConfig(width=32, depth=2, fourier=0)
STARTS = {
    "uniform": torch.rand(ROWS, 2, generator=torch.Generator().manual_seed(0)),
    "another data set": sample(3, np.arange(ROWS)) + 5.0,  # the checkerboard, off centre
}


def turn(x: Tensor, t: Tensor, class_labels: Tensor | None) -> Tensor:
    """A quarter turn about the origin in unit time."""
    return torch.pi / 2 * torch.stack([-x[:, 1], x[:, 0]], dim=1)


def stored(folder: Path, starts: Tensor) -> Store:
    teacher = from_velocity(turn, (2,), solver="midpoint")
    np.save(folder / "paths.npy", teacher.path(starts, steps=16).numpy())
    with pytest.warns(UserWarning, match="the noise is not Gaussian"):
        import_source(folder / "paths.npy", folder / "store", hold_out=200)
    return Store.open(folder / "store")


@pytest.mark.parametrize("name", STARTS)
def test_a_student_makes_no_assumption_on_the_start(tmp_path: Path, name: str) -> None:
    store = stored(tmp_path, STARTS[name])
    facts = DataFacts.of(store.manifest)
    assert facts.noise_scale == pytest.approx(float(STARTS[name].std(correction=0)), rel=1e-4)
    held = store.batch(store.held_out_rows())
    torch.testing.assert_close(held.states[0], STARTS[name][torch.from_numpy(store.held_out_rows())])

    torch.manual_seed(0)
    config = KDMConfig(encoder=MLP, decoder=MLP, operator=DenseConfig(affine=True), latent=16)
    task = Distillation(
        build_kdm(config, facts),
        build_objective(ObjectiveConfig()),
        store,
        batch_size=128,
        seed=0,
        place=Place(torch.device("cpu")),
    )
    training = TrainingConfig(steps=STEPS, batch_size=128, learning_rate=5e-3, schedule="cosine")
    state = TrainingState(task, training)
    for _ in train(task, state, training, Place(torch.device("cpu"))):
        pass
    student = task.model.eval()
    with torch.no_grad():
        samples = student.generate(held.states[0] / facts.noise_scale)
        fresh = student.generate(gaussian(0, range(200), (2,)))
    error = (samples - held.data).square().mean()
    assert float(error) < 0.02 * float(held.data.var())
    assert float(error) < 0.02 * float((samples - held.data.roll(1, 0)).square().mean())
    # noise by seed is Gaussian, not such a start: what it gives is no sample of the data
    assert float((fresh.mean(dim=0) - held.data.mean(dim=0)).abs().max()) > float(held.data.std(dim=0).max())
