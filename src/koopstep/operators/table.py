"""The table of operators: a kind joins by its own file and a line here; its contract tests come with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field

from koopstep.core.config import Config
from koopstep.operators.base import Operator
from koopstep.operators.block import BlockConfig, BlockOperator
from koopstep.operators.dense import DenseConfig, DenseOperator
from koopstep.operators.factorised import FactorisedConfig, FactorisedOperator
from koopstep.operators.identity import IdentityConfig, IdentityOperator
from koopstep.operators.spectral import SpectralConfig, SpectralOperator


@dataclass(frozen=True)
class OperatorEntry:
    """One kind of operator.

    Attributes:
        config: its config class, told apart by the field `kind`.
        build: makes it from its config, the shape of the level and a CPU generator for the initial weights.
    """

    config: type[Config]
    build: Callable[[Any, tuple[int, ...], torch.Generator], Operator]


OPERATORS: dict[str, OperatorEntry] = {
    "dense": OperatorEntry(DenseConfig, DenseOperator),
    "factorised": OperatorEntry(FactorisedConfig, FactorisedOperator),
    "spectral": OperatorEntry(SpectralConfig, SpectralOperator),
    "block": OperatorEntry(BlockConfig, BlockOperator),
    "identity": OperatorEntry(IdentityConfig, IdentityOperator),
}

OperatorConfig = Annotated[
    DenseConfig | FactorisedConfig | SpectralConfig | BlockConfig | IdentityConfig, Field(discriminator="kind")
]


def build_operator(config: OperatorConfig, shape: tuple[int, ...], seed: int | torch.Generator) -> Operator:
    """Returns the operator that `config` describes, with initial weights that depend on the seed alone.

    Args:
        config: one of the config classes of the table.
        shape: of a level of the latent without the batch: (d,) for a flat one, (C, H, W) for feature maps.
        seed: a number, or a CPU generator to draw from.

    Raises:
        UsageError: when the config or the shape makes no operator.
    """
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    return OPERATORS[config.kind].build(config, shape, generator)
