"""Paths that the teacher makes while a student learns: no row is ever seen twice, and the teacher stays in memory."""

from __future__ import annotations

import torch

from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.data.manifest import PHILOX, Manifest
from koopstep.data.rows import make_rows
from koopstep.teachers.base import Teacher


class LivePaths:
    """Fresh rows for every step, as if the store went on behind its last row: never one of those it holds.

    Args:
        teacher: the one that made the store.
        manifest: of the store: the teacher's grid, the states kept, the seed.
        device: where the teacher runs.

    Raises:
        UsageError: if the store's paths were imported, so that no teacher can go on with them.
    """

    def __init__(self, teacher: Teacher, manifest: Manifest, device: torch.device) -> None:
        if manifest.noise_scheme != PHILOX:
            raise UsageError("these paths were imported, so no teacher can make more of them; set paths=stored")
        self._teacher, self._manifest, self._device = teacher, manifest, device
        self._progress = torch.tensor([index / manifest.steps for index in manifest.kept], dtype=torch.float32)

    def batch(self, first: int, count: int) -> Batch:
        """The rows ``first`` to ``first + count`` behind the store's last."""
        start = self._manifest.count + first
        states, labels = make_rows(self._teacher, self._manifest, range(start, start + count), self._device)
        noise = states[0] / self._manifest.teacher.noise_scale
        return Batch(noise, states, self._progress.to(states.device), labels)
