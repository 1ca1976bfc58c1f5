"""Zero-shot editing (Consistency Models, arXiv 2303.01469, Algorithm 4): filling in what of a picture is not known.

Inpainting, colouring and enlarging are one problem: in an orthonormal basis some coefficients of the picture are known.
A student that maps every state of the path to its end guesses the whole picture, what is known is put right, and the
result is made noisy again, less each time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian, stream_seed
from koopstep.core.schedule import Schedule
from koopstep.sampling.fewstep import to_end
from koopstep.students.student import KoopmanStudent

Field = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A teacher's network: ``(x (B, *shape), level (B,), class_labels)`` -> denoised (sigma paths) or velocity (flow)."""


class Basis(ABC):
    """An orthonormal change of basis of pictures (B, C, H, W), and which coefficients are known."""

    @abstractmethod
    def forward(self, pictures: Tensor) -> Tensor:
        """Coefficients of pictures."""

    @abstractmethod
    def backward(self, coefficients: Tensor) -> Tensor:
        """Pictures of coefficients; the inverse of :meth:`forward`."""

    @abstractmethod
    def known(self, coefficients: Tensor) -> Tensor:
        """Bool, of a shape that spreads over ``coefficients``: True for what is known."""


@dataclass(frozen=True)
class Pixels(Basis):
    """The pixels themselves; those outside ``hole`` (H, W) are known: inpainting."""

    hole: Tensor

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures

    def backward(self, coefficients: Tensor) -> Tensor:
        return coefficients

    def known(self, coefficients: Tensor) -> Tensor:
        return ~self.hole.to(coefficients.device)


class Colours(Basis):
    """Of each pixel's three planes the grey value ``(r + g + b) / sqrt 3`` is known: colouring."""

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.einsum("ij,bjhw->bihw", orthonormal(3).to(pictures), pictures)

    def backward(self, coefficients: Tensor) -> Tensor:
        return torch.einsum("ji,bjhw->bihw", orthonormal(3).to(coefficients), coefficients)

    def known(self, coefficients: Tensor) -> Tensor:
        return (torch.arange(3, device=coefficients.device) == 0).view(3, 1, 1)


@dataclass(frozen=True)
class Patches(Basis):
    """Of each plane's squares of ``side`` x ``side`` pixels the mean is known: enlarging ``side`` times."""

    side: int

    def forward(self, pictures: Tensor) -> Tensor:
        folded = functional.pixel_unshuffle(pictures, self.side)
        folded = folded.reshape(len(pictures), -1, self.side**2, *folded.shape[2:])
        return torch.einsum("ij,bcjhw->bcihw", orthonormal(self.side**2).to(pictures), folded)

    def backward(self, coefficients: Tensor) -> Tensor:
        folded = torch.einsum("ji,bcjhw->bcihw", orthonormal(self.side**2).to(coefficients), coefficients)
        return functional.pixel_shuffle(folded.flatten(1, 2), self.side)

    def known(self, coefficients: Tensor) -> Tensor:
        return (torch.arange(self.side**2, device=coefficients.device) == 0).view(-1, 1, 1)


def orthonormal(size: int) -> Tensor:
    """An orthonormal (and symmetric) matrix (size, size), float64, whose first row is constant: a reflection."""
    flat = torch.full((size,), size**-0.5, dtype=torch.float64)
    mirror = -flat
    mirror[0] += 1
    reflected = torch.eye(size, dtype=torch.float64)
    return reflected if size == 1 else reflected - 2 * torch.outer(mirror, mirror) / mirror.square().sum()


def impose(guess: Tensor, truth: Tensor, basis: Basis) -> Tensor:
    """``guess`` with what is known of ``truth`` put in; both (B, C, H, W)."""
    wanted = basis.forward(truth)
    return basis.backward(torch.where(basis.known(wanted), wanted, basis.forward(guess)))


def missing_error(guess: Tensor, truth: Tensor, basis: Basis) -> Tensor:
    """Mean squared error (B,) over the coefficients that are not known; for inpainting over the hole's pixels."""
    error = basis.forward(guess) - basis.forward(truth)
    missing = ~basis.known(error).expand_as(error)
    return (error.square() * missing).flatten(1).sum(dim=1) / missing[0].sum()


def psnr(guess: Tensor, truth: Tensor, basis: Basis) -> Tensor:
    """Peak signal to noise ratio (B,) in decibels over what was missing; pictures clipped to [-1, 1]."""
    error = missing_error(guess.clamp(-1, 1), truth, basis).clamp(min=1e-10)
    return 10 * (4 / error).log10()


def progress_from(path: Schedule, steps: int, first: float | None = None) -> list[float]:
    """The progress of the ``steps`` states that are guessed from: even from ``first`` on, below 1.

    Before the noise has sunk to a few times the data's size it hides what is known, and guesses are of pictures that do
    not fit; so by default the first state is where noise is four times as large as data. 0 is Algorithm 4 as published.

    Raises:
        UsageError: if ``steps`` < 1, or ``first`` is outside [0, 1).
    """
    if steps < 1:
        raise UsageError(f"filling in takes at least 1 step, got {steps}")
    if first is not None and not 0 <= first < 1:
        raise UsageError(f"the progress to start from is from 0 (noise) to below 1 (the data), got {first:g}")
    start = _fitting_start(path) if first is None else first
    return [start + (1 - start) * step / steps for step in range(steps)]


Guess = Callable[[Tensor, float, float], Tensor]
"""``(state, u, level)`` -> the data it may end in."""


def student_guess(student: KoopmanStudent, class_labels: Tensor | None = None) -> Guess:
    """The end of the path that a state lies on: a sharp picture."""
    return lambda state, u, level: to_end(student, state, u, class_labels)


def teacher_guess(field: Field, path: Schedule, class_labels: Tensor | None = None) -> Guess:
    """The mean of all data that a state may come from: a blurred picture, by one call of the teacher's network."""

    def guess(state: Tensor, u: float, level: float) -> Tensor:
        found = field(state, torch.full((len(state),), level, device=state.device), class_labels)
        return path.denoised(state, found, level)

    return guess


def fill_in(
    guess: Guess, path: Schedule, truth: Tensor, basis: Basis, start: Tensor, *, progress: Sequence[float], seed: int
) -> Tensor:
    """Algorithm 4: guess, put right what is known, make noisy again; one network call for each of ``progress``.

    Args:
        guess: of a student (or of a teacher's denoiser, for comparison).
        path: its levels.
        truth: (B, C, H, W); only its known part is looked at.
        basis: what is known.
        start: (B, C, H, W) or (1, C, H, W): what the missing part is filled with at first, below the noise.
        progress: as :func:`progress_from` gives it.
        seed: of the noise, fresh at every step.

    Returns:
        (B, C, H, W), not clipped; its known part is that of ``truth``.
    """
    picture = impose(start.expand_as(truth), truth, basis)
    for step, (u, level) in enumerate(zip(progress, path.levels_at(progress), strict=True)):
        state = path.noisy(picture, _noise(seed, step, truth), level)
        picture = impose(guess(state, u, level), truth, basis)
    return picture


def teacher_fill_in(
    field: Field,
    path: Schedule,
    truth: Tensor,
    basis: Basis,
    start: Tensor,
    *,
    progress: Sequence[float],
    seed: int,
    class_labels: Tensor | None = None,
) -> Tensor:
    """The same by the teacher's own path: Euler's method, and what is known, made as noisy, put in at every level.

    Arguments and result are those of :func:`fill_in`; ``field`` is the teacher's network. The noise of the known part is
    fresh at each level, which served it better than keeping one.
    """
    levels = [*path.levels_at(progress), path.clean]
    state = path.noisy(impose(start.expand_as(truth), truth, basis), _noise(seed, 0, truth), levels[0])
    for step, (level, following) in enumerate(pairwise(levels), start=1):
        found = field(state, torch.full((len(state),), level, device=state.device), class_labels)
        state = state + (following - level) * path.slope(state, found, level)
        state = impose(state, path.noisy(truth, _noise(seed, step, truth), following), basis)
    return state


def _fitting_start(path: Schedule, noise_over_data: float = 4.0) -> float:
    """The first of a hundred states at which noise is no larger than so many times the data."""
    progress = [step / 100 for step in range(100)]
    for u, level in zip(progress, path.levels_at(progress), strict=True):
        if path.noise_over_data(level) <= noise_over_data:
            return u
    return 0.0


def _noise(seed: int, step: int, like: Tensor) -> Tensor:
    """A step's noise of unit variance: a function of (seed, step, row)."""
    return gaussian(stream_seed("fill-in", seed, step), range(len(like)), tuple(like.shape[1:])).to(like)
