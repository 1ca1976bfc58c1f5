"""What callers may give: checked once, refused in one line that names the argument."""

from __future__ import annotations

import operator
import os
from typing import Any

import torch
from torch import Tensor

from koopstep.core.errors import UsageError

AnyPath = str | os.PathLike[str]
"""A path as text or object; a `Run` and a `Store` are paths to their folders."""


def whole_number(value: Any, name: str, *, least: int = 0, most: int | None = None) -> int:
    """``value`` as an int.

    Raises:
        UsageError: if it is no whole number (True and 2.0 are none), or is out of range.
    """
    wanted = f"from {least} to {most}" if most is not None else f"{least} or more"
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise UsageError(f"{name} must be a whole number, {wanted}, got {value!r}")
    if number < least or (most is not None and number > most):
        raise UsageError(f"{name} must be {wanted}, got {number}")
    return number


def checked_seed(value: Any) -> int:
    """``value`` as a seed: a whole number from 0 to 2**63 - 1.

    Raises:
        UsageError: if it is none.
    """
    return whole_number(value, "seed", most=(1 << 63) - 1)


def checked_rows(value: Any, name: str, shape: tuple[int, ...]) -> Tensor:
    """``value`` as rows of samples: a finite float32 tensor (B, *shape).

    Raises:
        UsageError: if it is anything else; nothing is converted unasked, because it would hide a mistake.
    """
    wanted = f"a float32 tensor of shape (B, {', '.join(map(str, shape))})"
    if not isinstance(value, Tensor):
        advice = "; torch.from_numpy(...).float() makes one" if type(value).__name__ == "ndarray" else ""
        raise UsageError(f"{name} must be {wanted}, got {type(value).__name__}{advice}")
    if value.dtype != torch.float32:
        raise UsageError(f"{name} must be {wanted}, got {value.dtype}; call .float() on it")
    if tuple(value.shape) == shape:
        raise UsageError(
            f"{name} must be {wanted}, got one sample of shape {shape}; write {name}[None] for a batch of one"
        )
    if tuple(value.shape[1:]) != shape or value.ndim != len(shape) + 1:
        raise UsageError(f"{name} must be {wanted}, got shape {tuple(value.shape)}")
    if not bool(torch.isfinite(value).all()):
        raise UsageError(f"{name} holds NaN or infinity")
    return value
