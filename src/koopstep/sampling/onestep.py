"""Samples in one step, from noise that is addressed by (seed, index)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian, integers
from koopstep.sampling.fewstep import ONE_STEP, Stepping, generate_in_steps
from koopstep.students.student import KoopmanStudent


def sampling_labels(num_classes: int, seed: int, count: int, class_labels: list[int] | None) -> Tensor | None:
    """(count,) int64: the given classes, repeated in turn; drawn by (seed, index) when none are given; None without classes.

    Raises:
        UsageError: if classes are given to an unconditional student, none are in the list, or one is no class.
    """
    if class_labels is not None and not all(type(label) is int for label in class_labels):
        raise UsageError(f"class_labels is a list of whole numbers, got {class_labels!r}")
    if class_labels is not None and not class_labels:
        raise UsageError("class_labels holds no class; leave it away to have them drawn")
    if not num_classes:
        if class_labels:
            raise UsageError("this student knows no classes; leave class_labels away")
        return None
    if class_labels is None:
        return integers(seed, range(count), num_classes)
    wrong = [label for label in class_labels if not 0 <= label < num_classes]
    if wrong:
        raise UsageError(f"class labels go from 0 to {num_classes - 1}, got {wrong[0]}")
    return torch.tensor([class_labels[index % len(class_labels)] for index in range(count)])


@torch.no_grad()
def generate_in_batches(
    student: KoopmanStudent,
    noise: Tensor,
    class_labels: Tensor | None,
    batch_size: int = 1024,
    stepping: Stepping = ONE_STEP,
) -> Iterator[Tensor]:
    """Yield samples (B, *shape) on the CPU for unit-variance ``noise`` (N, *shape), ``batch_size`` at a time.

    ``stepping`` is for students that know their path (:func:`koopstep.sampling.fewstep.generate_in_steps`).
    """
    device = next(student.parameters()).device
    for start in range(0, len(noise), batch_size):
        part = slice(start, start + batch_size)
        labels = None if class_labels is None else class_labels[part].to(device)
        own, rows = noise[part].to(device), range(len(noise))[part]
        yield generate_in_steps(student, own, labels, stepping=stepping, rows=rows).float().cpu()


def generate(
    student: KoopmanStudent,
    count: int,
    seed: int,
    class_labels: list[int] | None = None,
    batch_size: int = 1024,
    stepping: Stepping = ONE_STEP,
) -> tuple[Tensor, Tensor | None]:
    """``count`` samples of ``seed``: (count, *shape) float32 and their classes (count,) or None.

    Sample ``i`` depends on ``(seed, i)`` only, up to rounding of the network (1e-6) between batch sizes.
    """
    if count < 1:
        raise UsageError(f"count must be at least 1, got {count}")
    noise = gaussian(seed, range(count), student.facts.shape)
    labels = sampling_labels(student.facts.num_classes, seed, count, class_labels)
    return torch.cat(list(generate_in_batches(student, noise, labels, batch_size, stepping))), labels
