"""How to train: a config, and what it builds (optimizers, learning rates)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim import Optimizer

from koopstep.core.config import Config
from koopstep.core.errors import UsageError

Beta = Annotated[float, Field(ge=0, lt=1)]


class TrainingConfig(Config):
    """Settings of a training run. Batch size and learning rate do not depend on the number of processes.

    Attributes:
        steps: optimizer steps.
        batch_size: rows a step, over all processes and micro-batches.
        micro_batch: rows that go through the model at once; the rest of a process's share is accumulated. All when absent.
        optimizer: ``adam``, ``adamw`` or ``muon`` (hidden matrices by PyTorch's Muon, everything else by Adam).
        learning_rate: peak. Muon's steps are matched to AdamW's size, so the same number serves both.
        weight_decay: decoupled; for ``adamw`` and ``muon``.
        betas: of Adam.
        schedule: ``constant``, ``cosine`` (to 0) or ``linear`` (to 0), after the warm-up.
        warmup_steps: linear from 0.
        gradient_clip: largest global norm of the gradient; no clipping when absent.
        ema_halflife_images: half-life of the averaged weights, in rows.
        ema_ramp: the half-life is at most this share of the rows seen; no ramp when absent.
        autocast: number format of the networks: ``none`` (that of the weights), ``bfloat16``, or ``float16`` with a loss
            scale that adapts (steps whose gradient overflows are left out).
        channels_last: memory layout of convolutions' weights; faster on GPUs with tensor cores.
        compile: runs the networks through ``torch.compile``.
        fused: one kernel for Adam's whole step (Muon has none).
        read_ahead: read the next step's rows in a thread; where absent, on GPUs only.
        discriminator_learning_rate: of the discriminator; the student's when absent. It has its own Adam in any case.
        discriminator_betas: of the discriminator's Adam; ``betas`` when absent.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many are kept.
        log_every: steps between lines of ``metrics.jsonl``.
        seed: of initial weights, order of the data and every random number in training.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0)
    ema_halflife_images: float = Field(default=500_000.0, ge=0)
    ema_ramp: float | None = Field(default=0.05, ge=0)
    autocast: Literal["none", "bfloat16", "float16"] = "none"
    channels_last: bool = False
    compile: bool = False
    fused: bool = False
    read_ahead: bool | None = None
    discriminator_learning_rate: float | None = Field(default=None, gt=0)
    discriminator_betas: tuple[Beta, Beta] | None = None
    checkpoint_every: int = Field(default=1000, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    log_every: int = Field(default=20, ge=1)
    seed: int = Field(default=0, ge=0, lt=1 << 63)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} must divide batch_size {self.batch_size}")
        return self

    def check(self, world: int) -> None:
        """Raise UsageError where the batch cannot be shared by ``world`` processes."""
        if self.batch_size % world:
            raise UsageError(
                f"training.batch_size {self.batch_size} cannot be shared by {world} processes; use a multiple"
            )
        if self.micro_batch is not None and (self.batch_size // world) % self.micro_batch:
            raise UsageError(
                f"training.micro_batch {self.micro_batch} must divide the {self.batch_size // world} rows that each of "
                f"{world} processes gets a step"
            )

    def note(self) -> str | None:
        """What to say of settings that cannot be meant so; None of others."""
        if self.warmup_steps < self.steps:
            return None
        highest = self.rate_at(self.steps - 1)
        return (
            f"the learning rate warms up over {self.warmup_steps} steps and the training has {self.steps}: it ends at "
            f"{highest:.2g} and never reaches {self.learning_rate:.2g}; lower training.warmup_steps or train longer"
        )

    def rate_at(self, step: int) -> float:
        """The learning rate of step ``step`` (from 0)."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        share = min((step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1), 1.0)
        return self.learning_rate * SCHEDULES[self.schedule](share)


# what may be another at the same result
_FREE = ("checkpoint_every", "keep_checkpoints", "log_every", "read_ahead")


def may_change(name: str, before: str, now: str) -> bool:
    """Whether training that was begun with one value of a setting may go on with another.

    Args:
        name: dotted, as in ``training.steps`` or ``teacher.training.steps``.
        before: its value in JSON.
        now: the other one; steps may only become more.
    """
    *_, section, last = ("", *name.split("."))
    if section != "training":
        return False
    return last in _FREE or (last == "steps" and int(now) > int(before))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
    "linear": lambda share: 1 - share,
}


def build_optimizers(config: TrainingConfig, model: nn.Module) -> dict[str, Optimizer]:
    """The optimizers of ``model`` by name; a parameter belongs to exactly one."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    built: dict[str, Optimizer] = {}
    if config.optimizer == "muon":
        hidden = {name: p for name, p in parameters.items() if is_hidden_matrix(name, p)}
        parameters = {name: p for name, p in parameters.items() if name not in hidden}
        if hidden:
            built["muon"] = torch.optim.Muon(
                hidden.values(),
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
    if parameters:
        rows = list(parameters.values())
        if config.optimizer == "adam":
            built["adam"] = torch.optim.Adam(rows, lr=config.learning_rate, betas=config.betas, **_kernel(config))
        else:
            built["adam"] = torch.optim.AdamW(
                rows,
                lr=config.learning_rate,
                betas=config.betas,
                weight_decay=config.weight_decay,
                **_kernel(config),
            )
    return built


def build_discriminator_optimizer(config: TrainingConfig, discriminator: nn.Module) -> Optimizer:
    """The discriminator's own Adam."""
    rate, betas = config.discriminator_learning_rate or config.learning_rate, config.discriminator_betas or config.betas
    return torch.optim.Adam(discriminator.parameters(), lr=rate, betas=betas, **_kernel(config))


def _kernel(config: TrainingConfig) -> dict[str, bool]:
    return {"fused": True} if config.fused else {"foreach": True}


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """True for square-ish matrices inside a network: what Muon is made for; not for embeddings, first and last layers."""
    return parameter.ndim == 2 and min(parameter.shape) >= 32 and "control" not in name and "label" not in name
