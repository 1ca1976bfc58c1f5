"""The task of teaching a student stored paths."""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.core.devices import Place
from koopstep.core.errors import UsageError
from koopstep.core.noise import stream_seed
from koopstep.core.records import Batch
from koopstep.data.batches import BatchStream
from koopstep.data.live import LivePaths
from koopstep.data.prefetch import ReadAhead
from koopstep.data.sources import DataSource
from koopstep.data.store import Store
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.objective import Objective
from koopstep.losses.passes import RealRows
from koopstep.students.student import KoopmanStudent
from koopstep.training.loop import Losses, Task


class Distillation(Task):
    """Student, objective and store. The rows of a step, and everything random about them, depend on the step only.

    ``steps`` is the length of the training, for objectives that change on the way. ``live`` paths take the place of the
    store's, ``real`` rows that of the teacher's samples before the discriminator.
    """

    def __init__(
        self,
        student: KoopmanStudent,
        objective: Objective,
        store: Store,
        *,
        batch_size: int,
        seed: int,
        place: Place,
        steps: int = 1,
        live: LivePaths | None = None,
        real: DataSource | None = None,
        dtype: torch.dtype = torch.float32,
        read_ahead: bool = False,
    ) -> None:
        self.model: KoopmanStudent = student
        self.discriminator = objective.discriminator
        self._objective, self._store, self._place, self._dtype = objective, store, place, dtype
        self._stream = BatchStream(store.training_rows(), batch_size, seed)
        self._batch_size, self._seed, self._steps = batch_size, seed, steps
        if objective.within and not all(operator.continuous for operator in student.operators):
            raise UsageError(
                "this objective learns from states within the path, and a discrete operator only makes whole steps; "
                "choose a continuous one, such as student.operator={kind: spectral}"
            )
        _check_terms(student, objective.config)
        self._live, self._real = live, real
        self._batches = ReadAhead(self._read, ahead=read_ahead)

    def losses(self, step: int, rows: slice) -> Losses:
        self._check_share(rows.stop - rows.start)
        batch = self._batches.get(step, rows).to(self._place.device, self._dtype)
        run = self._objective.run(
            self.model,
            batch,
            self._seed,
            self._jitter(step, rows),
            draws=self._draws(step, rows),
            done=step / self._steps,
            real=self._real_rows(step, rows),
        )
        terms = self._objective.terms(run)
        return Losses(self._objective.total(terms), terms, self._objective.discriminator_loss(run))

    def _check_share(self, count: int) -> None:
        """Parts of a batch are thinned one by one, so that they must be equally many to add up to the whole."""
        every = self._objective.config.trajectory_every
        if self._objective.within and count < self._batch_size and count % every:
            raise UsageError(
                f"objective.trajectory_every {every} must divide the {count} rows of a part of the batch "
                "(training.micro_batch, or the share of a process)"
            )

    def compile(self) -> None:
        for part in self.model.codec.children():
            part.compile()

    def _read(self, step: int, rows: slice) -> Batch:
        if self._live is not None:
            return self._live.batch(step * self._batch_size + rows.start, rows.stop - rows.start)
        batch = self._store.batch(self._stream.indices(step)[rows])
        return batch.pinned() if self._place.device.type == "cuda" else batch

    def _jitter(self, step: int, rows: slice) -> Tensor | None:
        if not self._objective.config.latent_noise:
            return None
        generator = torch.Generator().manual_seed(stream_seed("jitter", self._seed, step))
        size = sum(operator.dimension for operator in self.model.operators)
        whole = torch.randn(self._batch_size, 2, size, generator=generator)
        return whole[rows].movedim(1, 0).to(self._place.device, self._dtype)

    def _real_rows(self, step: int, rows: slice) -> RealRows | None:
        """Real rows for the discriminator, shuffled anew in each epoch."""
        if self._real is None:
            return None
        data, labels = self._real.batch(self._seed, step, self._batch_size)
        given = None if labels is None or not self.model.facts.num_classes else labels[rows].to(self._place.device)
        return RealRows(data[rows].to(self._place.device, self._dtype), given)

    def _draws(self, step: int, rows: slice) -> Tensor | None:
        """Uniform numbers that choose states within the paths, for each row of the global batch its own."""
        if not self._objective.within:
            return None
        generator = torch.Generator().manual_seed(stream_seed("path", self._seed, step))
        points = self._objective.config.trajectory_points
        whole = torch.rand(self._batch_size, 1 + points, generator=generator)
        return whole[rows].to(self._place.device)


def _check_terms(student: KoopmanStudent, config: ObjectiveConfig) -> None:
    """Refuse terms that this student cannot learn from."""
    if student.codec.encodes == "start" and config.encoding_terms:
        zeros = " ".join(f"-o objective.{name}=0" for name in config.encoding_terms)
        raise UsageError(
            "this student has modes of the noise alone (student.within=false), and these terms encode other states; "
            f"leave them out: {zeros}"
        )
    if config.apart and not any(True for operator in student.operators for _ in operator.parameters()):
        raise UsageError(
            "objective.apart moves rates, and these are fixed; set it to 0, or student.operator.rates=free"
        )
