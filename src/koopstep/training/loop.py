"""The training loop: a generator that yields a report after each step. It knows no metric, logger or sampler."""

from __future__ import annotations

import importlib.util
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from koopstep.core.devices import Place, seeded, sum_over_processes
from koopstep.core.environment import names_compiler
from koopstep.core.errors import NumericsError, UsageError
from koopstep.core.noise import stream_seed
from koopstep.training.ema import AverageWeights
from koopstep.training.settings import TrainingConfig, build_discriminator_optimizer, build_optimizers


@dataclass(frozen=True)
class Losses:
    """What a task says of some rows; every value is a mean over them.

    Attributes:
        total: what the model minimises, a scalar.
        terms: name -> unweighted value, scalars.
        discriminator: what the discriminator minimises, a scalar; None where there is none.
    """

    total: Tensor
    terms: dict[str, Tensor]
    discriminator: Tensor | None = None


class Task(ABC):
    """What is trained on what: a model (and perhaps a discriminator), and the losses of any rows of any step."""

    model: nn.Module
    discriminator: nn.Module | None = None

    @abstractmethod
    def losses(self, step: int, rows: slice) -> Losses:
        """The losses of ``rows`` (places in the global batch) of ``step``: a pure function of both and the weights."""

    def compile(self) -> None:
        """Have PyTorch compile what :meth:`losses` runs most."""
        self.model.compile()


@dataclass(frozen=True)
class StepReport:
    """One finished step: its number (from 1), the terms over the global batch, and how long it took in seconds."""

    step: int
    total: float
    terms: dict[str, float]
    learning_rate: float
    seconds: float


class TrainingState:
    """Everything that a step changes: weights, averaged weights, optimizers, loss scale, the number of steps done.

    ``skipped`` counts the steps since the start of this process whose gradient overflowed in float16.
    """

    def __init__(self, task: Task, config: TrainingConfig) -> None:
        self.step = 0
        self.model, self.discriminator = task.model, task.discriminator
        device = next(task.model.parameters()).device
        if config.channels_last:
            for network in (task.model, *([] if task.discriminator is None else [task.discriminator])):
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AverageWeights(task.model, config.ema_halflife_images, config.ema_ramp)
        self.optimizers = build_optimizers(config, task.model)
        if task.discriminator is not None:
            self.optimizers["discriminator"] = build_discriminator_optimizer(config, task.discriminator)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.autocast == "float16")
        self.skipped = 0
        if config.compile:
            check_compiler(device)
            task.compile()


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
    judges = [] if task.discriminator is None else list(task.discriminator.parameters())
    while state.step < config.steps:
        started = time.perf_counter()
        rate = config.rate_at(state.step)
        terms = _accumulate(task, state, config, place, weights, judges)
        gradients = [p.grad for p in [*weights, *judges] if p.grad is not None]
        sum_over_processes(place, [*gradients, *terms.values()])
        _check_terms(state.step, terms)
        if not state.scaler.is_enabled():
            _check_gradients(state.step, gradients)
        _move(state, config, rate, weights)
        state.step += 1
        state.average.update(task.model, state.step * config.batch_size, config.batch_size)
        values = {name: float(value) for name, value in terms.items()}
        yield StepReport(state.step, values.pop("total"), values, rate, time.perf_counter() - started)


def _move(state: TrainingState, config: TrainingConfig, rate: float, weights: list[nn.Parameter]) -> None:
    """One step of every optimizer, or none of it where float16 overflowed."""
    before = state.scaler.get_scale()
    for name, optimizer in state.optimizers.items():
        of_discriminator = config.discriminator_learning_rate if name == "discriminator" else None
        own = of_discriminator / config.learning_rate if of_discriminator else 1
        for group in optimizer.param_groups:
            group["lr"] = rate * own
        state.scaler.unscale_(optimizer)
    if config.gradient_clip is not None:
        nn.utils.clip_grad_norm_(weights, config.gradient_clip)
    for optimizer in state.optimizers.values():
        state.scaler.step(optimizer)
    state.scaler.update()
    after = state.scaler.get_scale()
    state.skipped += after < before
    if state.scaler.is_enabled() and after < 1:
        raise NumericsError(
            f"step {state.step + 1}: the gradient overflows float16 however small the loss is scaled; "
            "train into another folder with training.autocast=bfloat16 or a lower training.learning_rate"
        )


def check_compiler(device: torch.device) -> None:
    """Raise UsageError where ``torch.compile`` has no compiler to work with."""
    if device.type == "cpu" and not (names_compiler() or shutil.which("g++") or shutil.which("clang++")):
        raise UsageError("training.compile needs a C++ compiler (g++) on this machine; set training.compile=false")
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UsageError("training.compile needs Triton on a GPU; pip install triton, or set training.compile=false")


def _accumulate(
    task: Task,
    state: TrainingState,
    config: TrainingConfig,
    place: Place,
    weights: list[nn.Parameter],
    judges: list[nn.Parameter],
) -> dict[str, Tensor]:
    """Fill the gradients with this process's share of the means; returns its share of the terms."""
    for parameter in (*weights, *judges):
        parameter.grad = None
    step, share = state.step, config.batch_size // place.world
    micro = config.micro_batch or share
    sums: dict[str, Tensor] = {}
    task.model.train()
    for start in range(place.rank * share, (place.rank + 1) * share, micro):
        part = micro / config.batch_size
        # anything random inside the networks (dropout) depends on the step and the rows, not on what ran before
        with seeded(stream_seed("step", config.seed, step, start), place.device):
            numbers = torch.float16 if config.autocast == "float16" else torch.bfloat16
            with torch.autocast(place.device.type, numbers, enabled=config.autocast != "none"):
                losses = task.losses(step, slice(start, start + micro))
            # each side's loss reaches only its own weights: the student's adversarial term runs through the discriminator
            total = state.scaler.scale(losses.total * part)
            torch.autograd.backward(total, inputs=weights, retain_graph=losses.discriminator is not None)
            if losses.discriminator is not None:
                torch.autograd.backward(state.scaler.scale(losses.discriminator * part), inputs=judges)
        named = losses.terms | {"total": losses.total}
        if losses.discriminator is not None:
            named["discriminator"] = losses.discriminator
        for name, value in named.items():
            sums[name] = sums.get(name, 0) + value.detach() * part
    return sums


def _check_terms(step: int, terms: dict[str, Tensor]) -> None:
    broken = [name for name, value in terms.items() if not bool(torch.isfinite(value))]
    if broken:
        named = [name for name in broken if name != "total"] or broken
        raise NumericsError(
            f"step {step + 1}: the term {named[0]!r} is {float(terms[named[0]])}; the weights were left as they were. "
            "Train into another folder with a lower training.learning_rate or with training.gradient_clip"
        )


def _check_gradients(step: int, gradients: list[Tensor]) -> None:
    norms = torch.stack(torch._foreach_norm(gradients))
    if not bool(torch.isfinite(norms).all()):
        raise NumericsError(
            f"step {step + 1}: the gradient is not finite although all terms are; the weights were left as they were. "
            "Train into another folder with a lower training.learning_rate or with training.autocast=none"
        )
