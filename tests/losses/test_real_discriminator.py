"""The discriminator may be shown real data in place of the teacher's samples, with classes of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jobs import QUIET
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.data.collect import CollectSettings, collect
from koopstep.data.sources import load_source
from koopstep.data.store import Store
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.objective import build_objective
from koopstep.losses.passes import RealRows
from koopstep.recipes.recipe import load_recipe
from koopstep.teachers.files import read_teacher_file
from koopstep.workflows.train import train_student


class Listening(nn.Module):
    """A discriminator that writes down what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[tuple[Tensor, Tensor | None]] = []

    def forward(self, x: Tensor, class_labels: Tensor | None) -> Tensor:
        self.seen.append((x, class_labels))
        return x.flatten(1).mean(dim=1, keepdim=True) * self.weight


class Copying(nn.Module):
    """Stands for a student whose sample is known."""


def test_the_discriminator_sees_real_rows_with_their_classes() -> None:
    states, labels = torch.randn(2, 3, 2), torch.tensor([0, 1, 2])
    batch = Batch(states[0], states, torch.tensor([0.0, 1.0]), labels)
    real_rows = RealRows(torch.full((3, 2), 7.0), torch.tensor([2, 2, 0]))
    for adversarial_loss in ("nonsaturating", "relativistic"):
        discriminator = Listening()
        objective = build_objective(ObjectiveConfig(adversarial=1.0, adversarial_loss=adversarial_loss), discriminator)  # type: ignore[arg-type]
        for given, expected in ((real_rows, real_rows), (None, RealRows(batch.data, labels))):
            discriminator.seen.clear()
            run = objective.run(Copying(), batch, 0, real=given)  # type: ignore[arg-type]
            run.__dict__["predicted"] = states[1] * 0.5
            assert objective.discriminator_loss(run) is not None
            (real, real_labels), (fake, fake_labels) = discriminator.seen
            assert torch.equal(real, expected.data) and torch.equal(fake, states[1] * 0.5)
            assert real_labels is not None and expected.class_labels is not None and fake_labels is not None
            assert torch.equal(real_labels, expected.class_labels) and torch.equal(fake_labels, labels)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paths") / "store"
    for _ in collect(
        read_teacher_file("digits-cond-edm").teacher, folder, CollectSettings(count=24, steps=2, hold_out=8)
    ):
        pass
    return folder


def _train(store: Path, out: Path, *changes: str) -> None:
    tiny = ["training.steps=2", "training.batch_size=6", "objective.adversarial=0.1", *changes]
    train_student(
        load_recipe("digits-cond", "kdm", tiny),
        store,
        out,
        resume=False,
        job=QUIET,
    )


def test_a_training_with_real_data(store: Path, tmp_path: Path) -> None:
    assert Store.open(store).count == 24
    _train(store, tmp_path / "real", "objective.discriminator_data=real")
    assert (tmp_path / "real" / "student" / "config.json").is_file()
    state = json.loads((tmp_path / "real" / "checkpoints" / "step-00000002" / "state.json").read_text())
    assert state["identity"]["real data"] == f"digits {load_source('digits').sha256()}"
    with pytest.raises(UsageError, match=r"'digits', but the recipe names 'checkerboard'; set -o data=digits"):
        _train(store, tmp_path / "other", "objective.discriminator_data=real", "data=checkerboard")
