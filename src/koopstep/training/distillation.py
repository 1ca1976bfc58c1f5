"""The task of teaching a student stored paths."""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.core.devices import Place
from koopstep.core.noise import stream_seed
from koopstep.core.records import Batch
from koopstep.data.batches import BatchStream
from koopstep.data.prefetch import ReadAhead
from koopstep.data.store import TrajectoryStore
from koopstep.losses.objective import Objective
from koopstep.students.student import KoopmanStudent
from koopstep.training.loop import Losses, Task


class Distillation(Task):
    """Student, objective and store. The rows of a step, and the latent noise added to them, depend on the step only."""

    def __init__(
        self,
        student: KoopmanStudent,
        objective: Objective,
        store: TrajectoryStore,
        *,
        batch_size: int,
        seed: int,
        place: Place,
        dtype: torch.dtype = torch.float32,
        read_ahead: bool = False,
    ) -> None:
        self.model: KoopmanStudent = student
        self.critic = objective.critic
        self._objective, self._store, self._place, self._dtype = objective, store, place, dtype
        self._stream = BatchStream(store.training_rows(), batch_size, seed)
        self._batch_size, self._seed = batch_size, seed
        self._batches = ReadAhead(self._read, ahead=read_ahead)

    def losses(self, step: int, rows: slice) -> Losses:
        batch = self._batches.get(step, rows).to(self._place.device, self._dtype)
        run = self._objective.run(self.model, batch, self._seed, self._jitter(step, rows))
        terms = self._objective.terms(run)
        return Losses(self._objective.total(terms), terms, self._objective.critic_loss(run))

    def compile(self) -> None:
        for part in self.model.codec.children():
            part.compile()

    def _read(self, step: int, rows: slice) -> Batch:
        batch = self._store.batch(self._stream.indices(step)[rows])
        return batch.pinned() if self._place.device.type == "cuda" else batch

    def _jitter(self, step: int, rows: slice) -> Tensor | None:
        if not self._objective.config.latent_noise:
            return None
        generator = torch.Generator().manual_seed(stream_seed("jitter", self._seed, step))
        size = sum(operator.dimension for operator in self.model.operators)  # type: ignore[misc]
        whole = torch.randn(self._batch_size, 2, int(size), generator=generator)
        return whole[rows].movedim(1, 0).to(self._place.device, self._dtype)
