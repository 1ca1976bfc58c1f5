"""The table of operators: a kind joins by its own file and a line here; its contract tests come with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import torch

from koopstep.core.arguments import checked
from koopstep.core.config import Config
from koopstep.core.registry import ByKind, add, origin_of, settings_in, settings_of
from koopstep.operators.base import Operator
from koopstep.operators.block import BlockConfig, BlockOperator
from koopstep.operators.dense import DenseConfig, DenseOperator
from koopstep.operators.factorised import FactorisedConfig, FactorisedOperator
from koopstep.operators.identity import IdentityConfig, IdentityOperator
from koopstep.operators.modes import ModesOperator, ModesOperatorConfig
from koopstep.operators.spectral import SpectralConfig, SpectralOperator


@dataclass(frozen=True)
class OperatorEntry:
    """One kind of operator.

    Attributes:
        config: its config class, which differ by the field `kind`.
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
    "modes": OperatorEntry(ModesOperatorConfig, ModesOperator),
}


def _config(kind: str) -> type[Config] | None:
    return OPERATORS[kind].config if kind in OPERATORS else None


OperatorConfig = Annotated[
    DenseConfig | FactorisedConfig | SpectralConfig | BlockConfig | IdentityConfig | ModesOperatorConfig,
    ByKind("operator", _config),
]
Made = TypeVar("Made", bound=Callable[..., Operator])


@checked
def register_operator(name: str) -> Callable[[Made], Made]:
    """Decorator: recipes know a class of operators (or a function that makes one) as ``kind: name``.

    It is called as ``made(shape, generator, **settings)``: the shape of a level without the batch, and a CPU generator for the
    initial weights. Its keyword-only arguments are its settings in recipes; each needs a type.

    Args:
        name: small letters, digits, ``-`` and ``_``.

    Raises:
        UsageError: the name is taken, or a setting has no type.
    """

    def register(made: Made) -> Made:
        def build(config: Config, shape: tuple[int, ...], generator: torch.Generator) -> Operator:
            return made(shape, generator, **settings_in(config))

        add("operator", OPERATORS, name, OperatorEntry(settings_of(name, made), build), origin_of(made))
        return made

    return register


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
