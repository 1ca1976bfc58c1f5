"""The training loop: a generator that yields a report after each step. It knows no metric, logger or sampler."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from koopstep.core.devices import Place, sum_over_processes
from koopstep.core.errors import NumericsError
from koopstep.core.noise import stream_seed
from koopstep.training.ema import AverageWeights
from koopstep.training.settings import TrainingConfig, build_optimizers


@dataclass(frozen=True)
class Losses:
    """What a task says of some rows; every value is a mean over them.

    Attributes:
        total: what the model minimises, a scalar.
        terms: name -> unweighted value, scalars.
        critic: what the critic minimises, a scalar; None without a critic.
    """

    total: Tensor
    terms: dict[str, Tensor]
    critic: Tensor | None = None


class Task(ABC):
    """What is trained on what: a model (and perhaps a critic), and the losses of any rows of any step."""

    model: nn.Module
    critic: nn.Module | None = None

    @abstractmethod
    def losses(self, step: int, rows: slice) -> Losses:
        """The losses of ``rows`` (places in the global batch) of ``step``: a pure function of both and the weights."""


@dataclass(frozen=True)
class StepReport:
    """One finished step: its number (from 1), the terms over the global batch, and how long it took in seconds."""

    step: int
    total: float
    terms: dict[str, float]
    learning_rate: float
    seconds: float


class TrainingState:
    """Everything that a step changes: weights, averaged weights, optimizers, the number of steps done."""

    def __init__(self, task: Task, config: TrainingConfig) -> None:
        self.step = 0
        self.model, self.critic = task.model, task.critic
        self.average = AverageWeights(task.model, config.ema_halflife_images, config.ema_ramp)
        self.optimizers = build_optimizers(config, task.model)
        if task.critic is not None:
            adam = torch.optim.Adam(task.critic.parameters(), lr=config.learning_rate, betas=config.betas, foreach=True)
            self.optimizers["critic"] = adam


def train(task: Task, state: TrainingState, config: TrainingConfig, place: Place) -> Iterator[StepReport]:
    """Train from ``state.step`` to ``config.steps``; yields after each step, when ``state`` is complete and consistent.

    Each process takes its share of the rows; gradients are means over the global batch, so the number of processes and
    the size of micro-batches change nothing but rounding.

    Raises:
        NumericsError: as soon as a term or the gradient is not finite; the weights are those of the step before.
        UsageError: if the settings do not fit together.
    """
    config.check(place.world)
    weights = [p for p in task.model.parameters() if p.requires_grad]
    judges = [] if task.critic is None else list(task.critic.parameters())
    while state.step < config.steps:
        started = time.perf_counter()
        rate = config.rate_at(state.step)
        terms = _accumulate(task, state.step, config, place, weights, judges)
        gradients = [p.grad for p in [*weights, *judges] if p.grad is not None]
        sum_over_processes(place, [*gradients, *terms.values()])
        _check_finite(state.step, terms, gradients)
        if config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(weights, config.gradient_clip)
        for optimizer in state.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        state.step += 1
        state.average.update(task.model, state.step * config.batch_size, config.batch_size)
        values = {name: float(value) for name, value in terms.items()}
        yield StepReport(state.step, values.pop("total"), values, rate, time.perf_counter() - started)


def _accumulate(
    task: Task,
    step: int,
    config: TrainingConfig,
    place: Place,
    weights: list[nn.Parameter],
    judges: list[nn.Parameter],
) -> dict[str, Tensor]:
    """Fill the gradients with this process's share of the means; returns its share of the terms."""
    for parameter in (*weights, *judges):
        parameter.grad = None
    share = config.batch_size // place.world
    micro = config.micro_batch or share
    sums: dict[str, Tensor] = {}
    task.model.train()
    for start in range(place.rank * share, (place.rank + 1) * share, micro):
        # anything random inside the networks (dropout) depends on the step and the rows, not on what ran before
        torch.manual_seed(stream_seed("step", config.seed, step, start))
        with torch.autocast(place.device.type, torch.bfloat16, enabled=config.autocast == "bfloat16"):
            losses = task.losses(step, slice(start, start + micro))
        part = micro / config.batch_size
        # each side's loss reaches only its own weights: the student's adversarial term runs through the critic
        torch.autograd.backward(losses.total * part, inputs=weights, retain_graph=losses.critic is not None)
        if losses.critic is not None:
            torch.autograd.backward(losses.critic * part, inputs=judges)
        named = losses.terms | {"total": losses.total} | ({} if losses.critic is None else {"critic": losses.critic})
        for name, value in named.items():
            sums[name] = sums.get(name, 0) + value.detach() * part
    return sums


def _check_finite(step: int, terms: dict[str, Tensor], gradients: list[Tensor]) -> None:
    broken = [name for name, value in terms.items() if not bool(torch.isfinite(value))]
    if broken:
        guilty = [name for name in broken if name != "total"] or broken
        raise NumericsError(
            f"step {step + 1}: the term {guilty[0]!r} is {float(terms[guilty[0]])}; the weights were left as they were. "
            "Train into another folder with a lower training.learning_rate or with training.gradient_clip"
        )
    norms = torch.stack(torch._foreach_norm(gradients))
    if not bool(torch.isfinite(norms).all()):
        raise NumericsError(
            f"step {step + 1}: the gradient is not finite although all terms are; the weights were left as they were. "
            "Train into another folder with a lower training.learning_rate or with training.autocast=none"
        )
