"""How to train: a config, and what it builds (optimizers, learning rates)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from koopstep.core.config import Config
from koopstep.core.errors import UsageError


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
        critic_learning_rate: of the discriminator; the student's when absent. It has its own Adam in any case.
        critic_betas: of the discriminator's Adam; ``betas`` when absent.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many are kept.
        log_every: steps between lines of ``metrics.jsonl``.
        seed: of initial weights, order of the data and every random number in training.
    """

    steps: int
    batch_size: int
    micro_batch: int | None = None
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup_steps: int = 0
    gradient_clip: float | None = None
    ema_halflife_images: float = 500_000.0
    ema_ramp: float | None = 0.05
    autocast: Literal["none", "bfloat16", "float16"] = "none"
    channels_last: bool = False
    compile: bool = False
    fused: bool = False
    read_ahead: bool | None = None
    critic_learning_rate: float | None = None
    critic_betas: tuple[float, float] | None = None
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    log_every: int = 20
    seed: int = 0

    def check(self, world: int) -> None:
        """Raise UsageError where numbers do not fit together (``world``: number of processes)."""
        for name in ("steps", "batch_size", "checkpoint_every", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"training.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "gradient_clip", "critic_learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"training.{name} must be above 0, got {value}")
        for name in ("weight_decay", "warmup_steps", "ema_halflife_images", "ema_ramp"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"training.{name} must not be negative, got {value}")
        for name, betas in (("betas", self.betas), ("critic_betas", self.critic_betas or self.betas)):
            if not all(0 <= beta < 1 for beta in betas):
                raise UsageError(f"training.{name} must be from 0 to below 1, got {list(betas)}")
        if self.batch_size % world:
            raise UsageError(
                f"training.batch_size {self.batch_size} cannot be shared by {world} processes; use a multiple"
            )
        if self.micro_batch is not None and (self.micro_batch < 1 or (self.batch_size // world) % self.micro_batch):
            raise UsageError(f"training.micro_batch {self.micro_batch} must divide the rows a process gets a step")

    def rate_at(self, step: int) -> float:
        """The learning rate of step ``step`` (from 0)."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        share = min((step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1), 1.0)
        return self.learning_rate * SCHEDULES[self.schedule](share)


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


def build_critic_optimizer(config: TrainingConfig, critic: nn.Module) -> Optimizer:
    """The discriminator's own Adam."""
    rate, betas = config.critic_learning_rate or config.learning_rate, config.critic_betas or config.betas
    return torch.optim.Adam(critic.parameters(), lr=rate, betas=betas, **_kernel(config))


def _kernel(config: TrainingConfig) -> dict[str, bool]:
    return {"fused": True} if config.fused else {"foreach": True}


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """True for square-ish matrices inside a network: what Muon is made for; not for embeddings, first and last layers."""
    return parameter.ndim == 2 and min(parameter.shape) >= 32 and "control" not in name and "label" not in name
