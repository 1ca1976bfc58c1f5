"""What a reader of foreign teachers gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from koopstep.core.errors import DamagedError
from koopstep.teachers.table import TEACHERS, TeacherConfig


@dataclass(frozen=True)
class ForeignTeacher:
    """A teacher of another program in our terms.

    Attributes:
        config: how our model of it is built.
        tensors: its weights by our model's names, on the CPU, checked by :func:`check_tensors`.
        notes: what was left out, a line each.
        recorded: further facts for the file's header, such as digests; plain text.
    """

    config: TeacherConfig
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    recorded: Mapping[str, str] = field(default_factory=dict)


def empty_model(config: TeacherConfig) -> nn.Module:
    """The model of ``config`` without memory for its weights: names and shapes only."""
    with torch.device("meta"):
        return TEACHERS[config.kind].build(config)


def check_tensors(config: TeacherConfig, tensors: Mapping[str, Tensor], where: str) -> None:
    """Names and shapes must be exactly those of the model, and all numbers finite.

    Raises:
        DamagedError: a tensor is missing, superfluous, of another shape, or holds NaN or infinity.
    """
    wanted = empty_model(config).state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        words = [
            f"{len(names)} {kind} ({_few(names)})"
            for kind, names in (("missing", missing), ("too many", extra))
            if names
        ]
        raise DamagedError(f"{where}: its tensors are not those of the network it describes: {'; '.join(words)}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, the network it describes has {tuple(wanted[name].shape)}"
            raise DamagedError(f"{where}: {name} has shape {shapes}")
        if not bool(torch.isfinite(tensor).all()):
            raise DamagedError(f"{where}: {name} holds NaN or infinity")


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
