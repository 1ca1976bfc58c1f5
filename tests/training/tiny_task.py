"""Tasks small enough to be trained hundreds of times."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from koopstep.core.devices import Place
from koopstep.data.collect import CollectSettings, collect
from koopstep.data.store import Store
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.objective import build_objective
from koopstep.nets.discriminators import build_discriminator
from koopstep.nets.mlp import MLPConfig
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student
from koopstep.teachers.analytic import mixture_teacher
from koopstep.training.distillation import Distillation
from koopstep.training.loop import Losses, StepReport, Task, TrainingState, train
from koopstep.training.settings import TrainingConfig

HERE = Place(torch.device("cpu"))

Poison = Callable[[int, Tensor], Tensor]


class Regression(Task):
    """A network of two layers learns sines; each row's loss can be poisoned."""

    def __init__(
        self,
        dtype: torch.dtype = torch.float32,
        *,
        batch_size: int = 16,
        dropout: float = 0.0,
        discriminator: bool = False,
    ) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 2)).to(
            dtype
        )
        self.discriminator: nn.Module | None = nn.Linear(2, 1).to(dtype) if discriminator else None
        self.dtype, self.batch_size = dtype, batch_size
        self.poison: Poison = lambda step, value: value
        self.poison_data: Poison = lambda step, value: value
        self.asked: list[tuple[int, slice]] = []

    def losses(self, step: int, rows: slice) -> Losses:
        self.asked.append((step, rows))
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(self.batch_size, 3, generator=generator, dtype=torch.float64)[rows].to(self.dtype)
        found = self.model(self.poison_data(step, x))
        error = self.poison(step, (found - x[:, :2].sin()).square().mean())
        size = found.abs().mean()
        discriminator = None if self.discriminator is None else self.discriminator(found.detach()).square().mean()
        return Losses(error + 0.1 * size, {"error": error, "size": size}, discriminator)


def settings(**changes: object) -> TrainingConfig:
    """Training settings that fit everything here."""
    return TrainingConfig.parse({"steps": 10, "batch_size": 16, "learning_rate": 0.01, **changes}, "settings")


def run(task: Task, config: TrainingConfig, place: Place = HERE) -> tuple[TrainingState, list[StepReport]]:
    """Train to the end."""
    state = TrainingState(task, config)
    return state, list(train(task, state, config, place))


def numbers(state: TrainingState) -> dict[str, Tensor]:
    """Copies of everything that a step changes."""
    found = {f"model.{k}": v for k, v in state.model.state_dict().items()}
    found |= {f"ema.{k}": v for k, v in state.average.model.state_dict().items()}
    if state.discriminator is not None:
        found |= {f"discriminator.{k}": v for k, v in state.discriminator.state_dict().items()}
    for name, optimizer in state.optimizers.items():
        for index, memory in optimizer.state_dict()["state"].items():
            found |= {f"{name}.{index}.{k}": v for k, v in memory.items()}
    return {name: value.clone() for name, value in found.items()}


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of two such collections; infinity where they hold different names."""
    if set(one) != set(other):
        return float("inf")
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


@functools.cache
def paths(folder: Path) -> Store:
    """A store of 60 paths of a mixture in the plane, made in ``folder``."""
    teacher = mixture_teacher(torch.tensor([[2.0, 0.0], [-1.0, 1.5]]), 0.2)
    for _ in collect(teacher, folder, CollectSettings(count=60, steps=2, hold_out=10)):
        pass
    return Store.open(folder)


def distillation(
    store: Store,
    *,
    operator: dict[str, object] | None = None,
    adversarial: float = 0.0,
    dtype: torch.dtype = torch.float64,
    batch_size: int = 16,
    place: Place = HERE,
    **weights: object,
) -> Distillation:
    """A small student with latent noise and the usual terms."""
    torch.manual_seed(1)
    network = MLPConfig(width=8, depth=2, fourier=0)
    config = KDMConfig.parse(
        {
            "encoder": network.model_dump(),
            "decoder": network.model_dump(),
            "operator": operator or {"kind": "dense"},
            "latent": 6,
        },
        "student",
    )
    student = build_student(config, DataFacts(shape=(2,), noise_scale=80.0, data_scale=1.3)).to(dtype)
    discriminator = build_discriminator((2,)).to(dtype) if adversarial else None
    objective = ObjectiveConfig.parse({"latent_noise": 0.4, "adversarial": adversarial, **weights}, "objective")
    return Distillation(
        student,
        build_objective(objective, discriminator),
        store,
        batch_size=batch_size,
        seed=3,
        place=place,
        dtype=dtype,
    )
