"""What callers of a student give it: classes and progress, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from koopstep.core.arguments import whole_number
from koopstep.core.errors import UsageError

Labels = int | Sequence[int] | Tensor
"""One class for all rows, or some."""


def in_turn(class_labels: Any) -> list[int] | None:
    """Classes in whatever form, as a list of them."""
    if class_labels is None:
        return None
    if hasattr(class_labels, "tolist"):  # tensors and arrays
        class_labels = class_labels.tolist()
    many = class_labels if isinstance(class_labels, list | tuple | range) else [class_labels]
    return [whole_number(label, "class_labels") for label in many]


def checked_progress(u: Any, name: str) -> float:
    """A number from 0 to 1."""
    if isinstance(u, bool) or not isinstance(u, int | float) or not 0 <= u <= 1:
        raise UsageError(f"{name} is progress along the path, a number from 0 (noise) to 1 (data), got {u!r}")
    return float(u)


def checked_progresses(u: Any, name: str) -> list[float]:
    """One such number or several, in whatever form; at least one.

    Raises:
        UsageError: if there is none, or one is not what it should be.
    """
    if hasattr(u, "tolist"):  # tensors and arrays
        u = u.tolist()
    many = list(u) if isinstance(u, list | tuple) else [u]
    if not many:
        raise UsageError(f"{name} is progress along the path: give at least one number from 0 (noise) to 1 (data)")
    return [checked_progress(one, name) for one in many]
