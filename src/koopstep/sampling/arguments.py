"""What people hand to a student, checked: class labels in any form, progress along the path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from koopstep.core.arguments import whole_number
from koopstep.core.errors import UsageError
from koopstep.students.codec import Latent

Labels = int | Sequence[int] | Tensor
"""One class for all rows, or one a row."""


def in_turn(class_labels: Any) -> list[int] | None:
    """Classes in whatever form, as a list of them.

    Raises:
        UsageError: if one is no whole number.
    """
    if class_labels is None:
        return None
    if hasattr(class_labels, "tolist"):  # tensors and arrays
        class_labels = class_labels.tolist()
    many = class_labels if isinstance(class_labels, list | tuple | range) else [class_labels]
    return [whole_number(label, "class_labels") for label in many]


def checked_progress(u: Any, name: str) -> float:
    """``u`` as a number from 0 to 1.

    Raises:
        UsageError: if it is none.
    """
    if isinstance(u, bool) or not isinstance(u, int | float) or not 0 <= u <= 1:
        raise UsageError(f"{name} is progress along the path, a number from 0 (noise) to 1 (data), got {u!r}")
    return float(u)


def checked_latent(latent: Any, levels: int, device: torch.device) -> Latent:
    """``latent`` as a tuple of ``levels`` tensors on ``device``.

    Raises:
        UsageError: if it is none.
    """
    if not isinstance(latent, tuple | list) or len(latent) != levels:
        raise UsageError(
            f"a latent of this student is a tuple of {levels} tensor(s), one a level, as encode returns it"
        )
    if any(not isinstance(level, Tensor) or not level.is_floating_point() for level in latent):
        raise UsageError("a level of a latent is a floating-point tensor, as encode returns it")
    return tuple(level.to(device) for level in latent)
