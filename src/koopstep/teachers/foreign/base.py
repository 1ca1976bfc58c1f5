"""What a reader of foreign teachers gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from koopstep.core.errors import DamagedError
from koopstep.core.fit import check_fit, empty_network
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


def empty_model(config: TeacherConfig, tensors: int, where: str) -> nn.Module:
    """The model of ``config`` without memory for its weights, of which the file has ``tensors``.

    Raises:
        DamagedError: it would have far more, or cannot be built.
    """
    return empty_network(lambda: TEACHERS[config.kind].build(config), tensors, where)


def check_tensors(config: TeacherConfig, tensors: Mapping[str, Tensor], where: str) -> None:
    """Names and shapes must be exactly those of the model, and all numbers finite.

    Raises:
        DamagedError: a tensor is missing, superfluous, of another shape, or holds NaN or infinity.
    """
    check_fit(empty_model(config, len(tensors), where), tensors, where)
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DamagedError(f"{where}: {name} holds NaN or infinity")
