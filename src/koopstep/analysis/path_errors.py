"""A student's states on the way beside the teacher's stored ones."""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.core.records import Batch
from koopstep.evaluation.path import share
from koopstep.evaluation.samples import PathErrors
from koopstep.students.student import KoopmanStudent

_AT_A_TIME = 512
_SAME = 1e-6  # of u


@torch.no_grad()
def path_errors(student: KoopmanStudent, batch: Batch) -> PathErrors | None:
    """What the student's states, read from one encoding of the noise, miss of the stored ones.

    Args:
        student: for evaluation.
        batch: held-out rows with the states that the store kept.

    Returns:
        None where the student reads the end only, or the store kept no states within the path.
    """
    if not student.codec.reads_path or len(batch.states) < 3:
        return None
    device = next(student.parameters()).device
    progress = batch.progress[1:]
    pages = []
    for start in range(0, len(batch), _AT_A_TIME):
        rows = batch[slice(start, start + _AT_A_TIME)].to(device)
        noise = rows.states[0] / student.facts.noise_scale
        pages.append(student.path(noise, progress.to(device), rows.class_labels).cpu())
    read, stored = torch.cat(pages, dim=1), batch.states[1:].cpu()
    return PathErrors(
        progress.cpu(),
        _shares(read, stored),
        _shares(read[-1].expand_as(read), stored),
        torch.tensor([not _known(float(u), student.facts.learned) for u in progress]),
    )


def _shares(read: Tensor, stored: Tensor) -> Tensor:
    return torch.stack([share(ours - theirs, theirs) for ours, theirs in zip(read, stored, strict=True)])


def _known(u: float, learned: tuple[float, ...]) -> bool:
    return any(abs(u - other) < _SAME for other in learned)
