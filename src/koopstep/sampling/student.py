"""A trained student as people use it: sample, or look at each of its three parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from koopstep.core.arguments import (
    AnyDevice,
    AnyPath,
    check_memory,
    checked,
    checked_but,
    checked_points,
    checked_rows,
    checked_seed,
    whole_number,
)
from koopstep.core.devices import choose_device, seeded
from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian
from koopstep.data.store import Store
from koopstep.operators.spectrum import Spectrum
from koopstep.sampling.arguments import Labels, checked_latent, checked_progress, in_turn
from koopstep.sampling.fewstep import Between, Stepping
from koopstep.sampling.onestep import generate_in_batches, sampling_labels
from koopstep.sampling.paths import invert_in_batches, paths_in_batches
from koopstep.students.codec import Latent
from koopstep.students.decomposition import ModeDecomposition
from koopstep.students.files import StudentFile, load_student
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import StudentConfig, build_student


class Student:
    """A trained student: ``decode(evolve(encode(noise)))`` turns noise x_T into data x_0 in one evaluation.

    Make one with `Student.load`, or take that of a run (``run.student``); ``Student(model)`` wraps a network of one's own
    training. Data are in the teacher's units and are not clipped: images go from ``data_range[0]`` to ``data_range[1]``.

    Example:
        >>> student = koopstep.Student.load("run")
        >>> images = student.sample(16, seed=0)            # (16, 1, 8, 8)
        >>> latent = student.encode(student.noise(4))      # one tensor a level
        >>> halfway = student.evolve(latent, 0.5)
        >>> data = student.decode(student.evolve(halfway, 0.5))

    Attributes:
        model: the network, a `torch.nn.Module`.
        folder: where it was read from; None of one made in Python.
        provenance: what it was made from: names and digests.
    """

    @checked
    def __init__(self, model: KoopmanStudent, *, folder: Path | None = None, file: StudentFile | None = None) -> None:
        self.model = model
        self.folder = folder
        self.provenance: dict[str, str] = {} if file is None else dict(file.provenance)
        self._kind = type(model.codec).__name__.removesuffix("Codec").lower() if file is None else file.student.kind

    @classmethod
    @checked
    def load(cls, source: AnyPath, *, device: AnyDevice | None = None) -> Self:
        """Read the student of a run, or a student folder.

        Args:
            source: a run, its folder, or a student's folder.
            device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.

        Raises:
            UsageError: if there is no student, or the run is not trained to its end.
            DamagedError: if its files are damaged.
        """
        model, file = load_student(source, choose_device(device))
        return cls(model, folder=Path(source), file=file)

    @classmethod
    @checked
    def build(cls, config: StudentConfig, store: Store, *, seed: int = 0, device: AnyDevice | None = None) -> Self:
        """An untrained student for the data of ``store``, for a training loop of one's own: its network is ``model``.

        Args:
            config: its networks and operator: a `KDMConfig` or a `HKDConfig`.
            store: paths of the teacher that it is to learn from; only their description is read.
            seed: of its weights; the caller's random state stays as it is.
            device: as for `load`.
        """
        place = choose_device(device)
        seed = checked_seed(seed)
        with seeded(seed, torch.device("cpu")):
            model = build_student(config, DataFacts.of(store.manifest), seed)
        student = cls(model.to(place))
        student._kind = config.kind
        return student

    @property
    def facts(self) -> DataFacts:
        """What it knows of the paths it learned from."""
        return self.model.facts

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return self.model.facts.shape

    @property
    def num_classes(self) -> int:
        """0 without class labels."""
        return self.model.facts.num_classes

    @property
    def data_range(self) -> tuple[float, float] | None:
        """What black and white are, of images; None of data that are no images."""
        return self.model.facts.data_range if len(self.shape) == 3 else None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.model.parameters()).device

    @checked
    def noise(self, count: int, seed: int = 0) -> Tensor:
        """The noise x_T that `sample` starts from: (count, *shape) float32 of unit variance, on the CPU.

        Row ``i`` is a function of ``(seed, i)``, the same on every machine.
        """
        count = whole_number(count, "count", least=1)
        check_memory(count, self.shape, "count")
        return gaussian(checked_seed(seed), range(count), self.shape)

    @checked
    def class_labels(self, count: int, seed: int = 0) -> Tensor | None:
        """The classes that `sample` draws where none are given: (count,) int64; None without classes."""
        count = whole_number(count, "count", least=1)
        check_memory(count, (2,), "count")
        return sampling_labels(self.num_classes, checked_seed(seed), count, None)

    @checked
    def sample(
        self,
        count: int,
        seed: int = 0,
        class_labels: Labels | None = None,
        steps: int = 1,
        *,
        between: Between = "noise",
        batch_size: int = 1024,
    ) -> Tensor:
        """Samples (count, *shape) float32, on the CPU.

        Sample ``i`` is a function of ``(seed, i)``, up to rounding between batch sizes and devices.

        Args:
            count: how many.
            seed: of the noise, 0 to 2**63 - 1.
            class_labels: one class for all, or some, given in turn; absent, drawn by the seed.
            steps: network evaluations a sample; above 1 for students that know their path.
            between: what leads from one step to the next: fresh ``noise``, or the ``path`` as the student reads it (hkd+).
            batch_size: samples that go through the network at a time.

        Raises:
            UsageError: on anything out of range, class labels that the student does not know, or steps it cannot take.
        """
        noise = self.noise(count, seed)
        labels = sampling_labels(self.num_classes, checked_seed(seed), count, in_turn(class_labels))
        return self._generate(noise, labels, Stepping(whole_number(steps, "steps", least=1), between, seed), batch_size)

    @checked_but("noise")
    def generate(
        self,
        noise: Tensor,
        class_labels: Labels | None = None,
        steps: int = 1,
        *,
        between: Between = "noise",
        seed: int = 0,
        batch_size: int = 1024,
    ) -> Tensor:
        """Samples (B, *shape) float32, on the CPU, from noise of one's own: unit variance, float32 (B, *shape).

        ``class_labels`` is one for all or one a row; a student with classes needs them. ``seed`` is that of the fresh noise
        between steps; the rest is as for `sample`.
        """
        noise = checked_rows(noise, "noise", self.shape)
        labels = self._needed_labels(class_labels, len(noise))
        stepping = Stepping(whole_number(steps, "steps", least=1), between, checked_seed(seed))
        return self._generate(noise, labels, stepping, batch_size)

    @checked_but("noise", "state", "u")
    def encode(
        self,
        noise: Tensor | None = None,
        *,
        state: Tensor | None = None,
        u: float | None = None,
        class_labels: Labels | None = None,
    ) -> Latent:
        """Lift noise, or a state of the path, into the latent: a tuple of one tensor a level, on the student's device.

        Args:
            noise: x_T, unit variance, float32 (B, *shape): the start of the path, ``u = 0``.
            state: in its place a state of the path as the teacher passes it, in data units, float32 (B, *shape).
            u: progress of ``state``, 0 (noise) to 1 (data). KDM lifts the ends only; HKD lifts any.
            class_labels: one for all or one a row, for students with classes.

        Raises:
            UsageError: if both or none are given, or one is not what it should be.
        """
        if (noise is None) == (state is None) or (state is None) != (u is None):
            raise UsageError(
                "encode takes noise alone, encode(noise), or a state and its progress, encode(state=x, u=0.5)"
            )
        if state is None:
            x, progress = checked_rows(noise, "noise", self.shape) * self.facts.noise_scale, 0.0
        else:
            x, progress = checked_rows(state, "state", self.shape), checked_progress(u, "u")
        return self.model.encode(x.to(self.device), progress, self._labels(class_labels, len(x)))

    @checked_but("latent", "du")
    def evolve(self, latent: Latent, du: float = 1.0, class_labels: Labels | None = None) -> Latent:
        """Move every level of a latent along by ``du`` of progress, linearly: 1 is the whole way from noise to data."""
        latent = checked_latent(latent, len(self.model.operators), self.device)
        if isinstance(du, bool) or not isinstance(du, int | float) or not abs(du) <= 1:
            raise UsageError(f"du is a difference of progress, a number from -1 to 1, got {du!r}")
        return self.model.evolve(latent, float(du), self._labels(class_labels, len(latent[0])))

    @checked_but("latent", "u")
    def decode(self, latent: Latent, u: float = 1.0, class_labels: Labels | None = None) -> Tensor:
        """Read a state (B, *shape) out of a latent, in data units, on the student's device.

        ``u`` is the progress that the latent stands at; below 1 only for students that learned to read within the path
        (hkd+).
        """
        latent = checked_latent(latent, len(self.model.operators), self.device)
        return self.model.decode(latent, checked_progress(u, "u"), self._labels(class_labels, len(latent[0])))

    @checked_but("noise", "u")
    def path(self, noise: Tensor, u: float | Sequence[float] | Tensor, class_labels: Labels | None = None) -> Tensor:
        """States of whole paths from one encoding of their noise: (N, B, *shape) float32, on the CPU, in data units.

        ``u`` are N numbers from 0 (``noise`` itself, scaled) to 1 (what `generate` gives); the rest is as for `generate`.

        Raises:
            UsageError: if the student reads the end of its path only (those of ``modes`` and ``hkd+`` read all of it).
        """
        rows, points = checked_rows(noise, "noise", self.shape), checked_points(u, "u").to("cpu", torch.float32)
        return paths_in_batches(self.model, rows, points, self._needed_labels(class_labels, len(rows)))

    @checked_but("data", "u")
    def invert(self, data: Tensor, u: float = 1.0, class_labels: Labels | None = None) -> Tensor:
        """The noise x_T, float32 (B, *shape) on the CPU, whose path passes ``data`` at ``u``; from one encoding.

        ``data`` is in data units, float32 (B, *shape): the end of the path, or a state within where ``u`` is below 1.

        Raises:
            UsageError: if the student reads the end of its path only, or has modes of noise only.
        """
        rows, at = checked_rows(data, "data", self.shape), checked_progress(u, "u")
        return invert_in_batches(self.model, rows, at, self._needed_labels(class_labels, len(rows)))

    @checked_but("noise")
    @torch.no_grad()
    def modes(self, noise: Tensor, class_labels: Labels | None = None) -> ModeDecomposition:
        """The Koopman modes of the paths of ``noise``, from one evaluation; of students of ``modes`` only."""
        rows = checked_rows(noise, "noise", self.shape).to(self.device)
        return self.model.modes(rows, self._needed_labels(class_labels, len(rows)))

    def spectrum(self) -> list[Spectrum]:
        """Eigenvalues of the linear map of each level, with what they may be taken for."""
        return self.model.spectrum()

    def __repr__(self) -> str:
        classes = f"{self.num_classes} classes" if self.num_classes else "no classes"
        source = "" if self.folder is None else f", from {self.folder}"
        size = self.model.parameter_counts()[1]
        return (
            f"<Student: {self._kind}, samples of shape {self.shape}, {classes}, {size:,} parameters to sample{source}>"
        )

    def _generate(self, noise: Tensor, labels: Tensor | None, stepping: Stepping, batch_size: int) -> Tensor:
        rows = whole_number(batch_size, "batch_size", least=1)
        return torch.cat(list(generate_in_batches(self.model, noise, labels, rows, stepping)))

    def _labels(self, class_labels: Labels | None, rows: int) -> Tensor | None:
        """One class a row, on the student's device."""
        given = in_turn(class_labels)
        if given is not None and len(given) not in (1, rows):
            raise UsageError(f"class_labels must be one class, or one for each of the {rows} rows, got {len(given)}")
        labels = None if given is None else sampling_labels(self.num_classes, 0, rows, given)
        return None if labels is None else labels.to(self.device)

    def _needed_labels(self, class_labels: Labels | None, rows: int) -> Tensor | None:
        """The same, which a student with classes cannot do without."""
        if class_labels is None and self.num_classes:
            raise UsageError(f"this student is conditional: give class_labels, 0 to {self.num_classes - 1}")
        return self._labels(class_labels, rows)
