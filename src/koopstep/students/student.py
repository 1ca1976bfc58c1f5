"""The student: an encoder lifts a state, an operator moves it along linearly, a decoder reads it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Self, cast

from torch import Tensor, nn

from koopstep.core.config import Added, Config
from koopstep.core.errors import UsageError
from koopstep.core.pixels import PLAIN, DataRange, in_plain_range
from koopstep.core.schedule import Schedule, schedule_of
from koopstep.data.manifest import Manifest
from koopstep.operators.base import Operator
from koopstep.operators.spectrum import Spectrum
from koopstep.students.codec import Codec, Latent
from koopstep.students.decomposition import ModeDecomposition


class DataFacts(Config):
    """What a student must know of the paths it learns from; read off the store's manifest.

    Attributes:
        shape: of one sample.
        num_classes: 0 without class labels.
        noise_scale: standard deviation of a path's first state.
        data_scale: standard deviation of its last one.
        progress: u of the states that were kept, from 0 to 1.
        levels: the teacher's level (sigma or t) at each of them.
        data_range: what black and white are, of images; None of data that are no images. Of vectors it means nothing.
        unseen: u of kept states that training leaves out, so that they tell how well the path is known between the others.
    """

    shape: tuple[int, ...]
    num_classes: int = 0
    noise_scale: float = 1.0
    data_scale: float = 0.5
    progress: tuple[float, ...] = (0.0, 1.0)
    levels: tuple[float, ...] = (0.0, 1.0)
    data_range: Annotated[DataRange | None, Added()] = PLAIN
    unseen: Annotated[tuple[float, ...], Added()] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The facts of a store, as in ``DataFacts.of(store.manifest)``."""
        made_by = manifest.teacher
        return cls(
            shape=manifest.shape,
            num_classes=made_by.num_classes,
            noise_scale=made_by.noise_scale,
            data_scale=made_by.data_scale,
            progress=tuple(index / manifest.steps for index in manifest.kept),
            levels=manifest.levels,
            data_range=made_by.data_range,
        )

    @property
    def learned(self) -> tuple[float, ...]:
        """The u of the kept states that training saw, both ends among them."""
        return tuple(u for u in self.progress if u not in self.unseen)

    @property
    def is_image(self) -> bool:
        """Whether samples are pictures: of bytes, to look at."""
        return len(self.shape) == 3 and self.data_range is not None

    @property
    def shown_range(self) -> DataRange:
        """What is drawn black and white: the range of images; of latents, two standard deviations either way."""
        return (-2 * self.data_scale, 2 * self.data_scale) if self.data_range is None else self.data_range

    def in_plain_range(self, data: Tensor) -> Tensor:
        """Samples (N, *shape) as metrics and feature networks take them: images in [-1, 1], other data as they are."""
        return in_plain_range(data, self.data_range) if self.is_image else data

    def schedule(self) -> Schedule:
        """The noise levels along the path."""
        return schedule_of(self.progress, self.levels, noise_scale=self.noise_scale, data_scale=self.data_scale)


class Operators(nn.ModuleList):
    """The operators of a student's levels, in order."""

    def __iter__(self) -> Iterator[Operator]:
        return cast(Iterator[Operator], super().__iter__())


class KoopmanStudent(nn.Module):
    """One-step generator ``decode(evolve(encode(noise)))`` (KDM Eq. 3, HKD Alg. 2).

    Attributes:
        facts: of the data it was made for.
        codec: encoder and decoder.
        operators: one a level of the latent.
        controls: class -> latent, one a level (KDM's C_mu); empty without classes, and where the networks take them.
    """

    def __init__(
        self,
        facts: DataFacts,
        codec: Codec,
        operators: Sequence[Operator],
        *,
        level_names: Sequence[str] = ("latent",),
        controlled: bool = True,
    ) -> None:
        super().__init__()
        self.facts = facts
        self.codec = codec
        self.operators = Operators(operators)
        self.level_names = tuple(level_names)
        self.controls = nn.ModuleList()
        if facts.num_classes and controlled:
            for operator in operators:
                control = nn.Embedding(facts.num_classes, operator.dimension)
                nn.init.zeros_(control.weight)
                self.controls.append(control)

    def encode(self, x: Tensor, u: float | Tensor, class_labels: Tensor | None = None) -> Latent:
        """Lift a state of the path.

        Args:
            x: (B, *shape); at ``u`` = 0 this is noise times ``facts.noise_scale``, at 1 data.
            u: progress in [0, 1], a number or (B,); KDM knows the numbers 0 and 1 only.
            class_labels: (B,) int64, for conditional students.
        """
        self._check(x, class_labels)
        return self.codec.encode(x, u, class_labels)

    def evolve(self, latent: Latent, du: float | Tensor, class_labels: Tensor | None = None) -> Latent:
        """Move every level of ``latent`` along by ``du`` of progress, linearly (affinely with a class: KDM Sec. 4)."""
        moved: list[Tensor] = []
        for index, (operator, level) in enumerate(zip(self.operators, latent, strict=True)):
            control = None
            if class_labels is not None and len(self.controls):
                control = self.controls[index](class_labels).view(level.shape)
            moved.append(operator.evolve(level, du, control))
        return tuple(moved)

    def decode(self, latent: Latent, u: float | Tensor = 1.0, class_labels: Tensor | None = None) -> Tensor:
        """Read out (B, *shape); ``u`` < 1 only where the student was trained for it (KDM: 1 only)."""
        return self.codec.decode(latent, u, class_labels)

    def read(
        self, latent: Latent, start: float | Tensor, progress: Tensor, class_labels: Tensor | None = None
    ) -> Tensor:
        """The states (N, B, *shape) at ``progress`` (N,) of paths whose latents stand at ``start`` (a number, or (B,)).

        Raises:
            UsageError: if the student reads the end of the path only.
        """
        self._check_reads_path()
        return self.codec.read(
            lambda level, du: self.evolve(level, du, class_labels), latent, start, progress, class_labels
        )

    def path(self, noise: Tensor, progress: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """States of whole paths from one encoding: unit-variance ``noise`` (B, *shape) -> (N, B, *shape) at ``progress`` (N,).

        Raises:
            UsageError: if the student reads the end of the path only.
        """
        self._check_reads_path()
        latent = self.encode(noise * self.facts.noise_scale, 0.0, class_labels)
        return self.read(latent, 0.0, progress, class_labels)

    def invert(self, x: Tensor, u: float = 1.0, class_labels: Tensor | None = None) -> Tensor:
        """The noise (B, *shape), of unit variance, whose path passes ``x`` (B, *shape) at ``u``, from one encoding of ``x``.

        Raises:
            UsageError: if the student does not start within the path, or reads its end only.
        """
        self._check_reads_path()
        latent = self.evolve(self.encode(x, u, class_labels), -u, class_labels)
        return self.decode(latent, 0.0, class_labels) / self.facts.noise_scale

    def modes(self, noise: Tensor, class_labels: Tensor | None = None) -> ModeDecomposition:
        """The Koopman modes of the paths of unit-variance ``noise`` (B, *shape), from one encoding.

        Raises:
            UsageError: if this is no student of modes.
        """
        return self.codec.modes(self.encode(noise * self.facts.noise_scale, 0.0, class_labels))

    def generate(self, noise: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """One step: unit-variance ``noise`` (B, *shape) -> data (B, *shape), not clipped.

        Raises:
            UsageError: on a wrong shape, or class labels that are missing, superfluous or out of range.
        """
        if self.facts.num_classes:
            last = self.facts.num_classes - 1
            if class_labels is None:
                raise UsageError(f"this student is conditional: give class_labels (0 to {last})")
            if bool(((class_labels < 0) | (class_labels > last)).any()):
                raise UsageError(f"class_labels go from 0 to {last}, got {class_labels.tolist()[:8]}")
        latent = self.encode(noise * self.facts.noise_scale, 0.0, class_labels)
        return self.decode(self.evolve(latent, 1.0, class_labels), 1.0, class_labels)

    def forward(self, noise: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """The same as :meth:`generate`."""
        return self.generate(noise, class_labels)

    def spectrum(self) -> list[Spectrum]:
        """Eigenvalues of the effective map of each level, with what they may be taken for (design, section 5)."""
        spectra: list[Spectrum] = []
        for name, operator in zip(self.level_names, self.operators, strict=True):
            spectrum = replace(operator.spectrum(), level=name)
            spectra.append(spectrum.pinned(self.codec.pinned_by) if self.codec.pinned_by else spectrum)
        return spectra

    def parameter_counts(self) -> tuple[int, int]:
        """(all trained numbers, those that one-step sampling needs)."""
        everything = sum(p.numel() for p in self.parameters())
        sampling = [*self.codec.sampling_modules(), self.operators, self.controls]
        return everything, sum(p.numel() for module in sampling for p in module.parameters())

    def _check_reads_path(self) -> None:
        if not self.codec.reads_path:
            raise UsageError(
                "this student reads the end of the path only; states on the way need --method modes or hkd+"
            )

    def _check(self, x: Tensor, class_labels: Tensor | None) -> None:
        if tuple(x.shape[1:]) != self.facts.shape:
            raise UsageError(f"this student works on shape {self.facts.shape}, got {tuple(x.shape[1:])}")
        if class_labels is None:
            return
        if not self.facts.num_classes:
            raise UsageError("this student knows no classes; leave class_labels away")
        if class_labels.shape != x.shape[:1]:
            raise UsageError(f"class_labels must be one row of {len(x)} numbers, got {tuple(class_labels.shape)}")
