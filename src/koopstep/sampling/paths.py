"""Whole paths of many rows, and the noise that they start from."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from koopstep.students.student import KoopmanStudent


@torch.no_grad()
def paths_in_batches(
    student: KoopmanStudent, noise: Tensor, u: Tensor, class_labels: Tensor | None, batch_size: int = 1024
) -> Tensor:
    """States (N, B, *shape) on the CPU at ``u`` (N,) of the paths of unit-variance ``noise`` (B, *shape).

    Raises:
        UsageError: if the student reads the end of the path only.
    """
    device = next(student.parameters()).device
    parts = _parts(noise, class_labels, batch_size, device)
    return torch.cat([student.path(rows, u.to(device), labels).float().cpu() for rows, labels in parts], dim=1)


@torch.no_grad()
def invert_in_batches(
    student: KoopmanStudent, data: Tensor, u: float, class_labels: Tensor | None, batch_size: int = 1024
) -> Tensor:
    """The noise (B, *shape) on the CPU whose paths pass ``data`` (B, *shape) at ``u``.

    Raises:
        UsageError: if the student reads the end of the path only, or cannot start within it.
    """
    parts = _parts(data, class_labels, batch_size, next(student.parameters()).device)
    return torch.cat([student.invert(rows, u, labels).float().cpu() for rows, labels in parts])


def _parts(
    rows: Tensor, class_labels: Tensor | None, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor | None]]:
    for start in range(0, len(rows), batch_size):
        part = slice(start, start + batch_size)
        yield rows[part].to(device), None if class_labels is None else class_labels[part].to(device)
