"""The nonlinear half of a student."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.core.schedule import Schedule
from koopstep.students.decomposition import ModeDecomposition

Latent = tuple[Tensor, ...]
"""One tensor (B, *shape) a level: (B, d) for flat latents, (B, C, H, W) for levels of a U-Net."""


_NEEDS_MODES = "this needs a student of modes, which are pictures themselves: train with --method modes"


class Codec(nn.Module, ABC):
    """The nonlinear half of a student: states to latents and back."""

    @abstractmethod
    def encode(self, x: Tensor, u: float | Tensor, class_labels: Tensor | None) -> Latent:
        """Lift the state ``x`` (B, *shape) of the path at progress ``u`` (a number, or (B,))."""

    @abstractmethod
    def decode(self, latent: Latent, u: float | Tensor, class_labels: Tensor | None) -> Tensor:
        """Read a state (B, *shape) at progress ``u`` (a number, or (B,)) out of a latent."""

    @abstractmethod
    def sampling_modules(self) -> list[nn.Module]:
        """The parts that one-step sampling needs."""

    @abstractmethod
    def decoder_network(self) -> nn.Module:
        """The decoder's network, which may start from a teacher's weights."""

    @property
    @abstractmethod
    def pinned_by(self) -> str:
        """What fixes the observables, so that eigenvalues mean something; empty when nothing does (design, section 5)."""

    @property
    def reads_path(self) -> bool:
        """Whether :meth:`decode` was made for states within the path, and not for its end only."""
        return False

    @property
    def encodes(self) -> Literal["path", "ends", "start"]:
        """Which states :meth:`encode` was made for: all of the path, its two ends, or the noise alone."""
        try:
            self.schedule()
        except UsageError:
            return "ends"
        return "path"

    def read(
        self,
        evolve: Callable[[Latent, float | Tensor], Latent],
        latent: Latent,
        start: float | Tensor,
        progress: Tensor,
        class_labels: Tensor | None,
    ) -> Tensor:
        """The states (N, B, *shape) at ``progress`` (N,) of paths whose latents stand at ``start`` (a number, or (B,))."""
        return torch.stack([self.decode(evolve(latent, u - start), u, class_labels) for u in progress.tolist()])

    @property
    def has_modes(self) -> bool:
        """Whether its latents are modes that can be looked at (:meth:`modes`); states are then sums of them."""
        return False

    def modes(self, latent: Latent) -> ModeDecomposition:
        """The modes in a latent of B rows.

        Raises:
            UsageError: if they cannot be looked at.
        """
        raise UsageError(_NEEDS_MODES)

    def scale_modes(self, latent: Latent, modes: Sequence[int], factor: Tensor) -> Latent:
        """``latent`` with the images and partners of some modes times ``factor`` (*shape, or what broadcasts to it).

        Raises:
            UsageError: as :meth:`modes`.
        """
        raise UsageError(_NEEDS_MODES)

    def fit_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """A teacher's weights, for :meth:`decoder_network` where that has more outputs than the teacher's network."""
        return weights

    def schedule(self) -> Schedule:
        """The levels of the path, for codecs that :meth:`encode` every state of it.

        Raises:
            UsageError: if this one knows the two ends of the path only.
        """
        raise UsageError(
            "this needs a student that can start from states within the path, and this one knows its two ends only; "
            "train one with --method hkd"
        )

    def state_size(self, u: Tensor) -> Tensor:
        """Standard deviation (B,) of the path's states at progress ``u`` (B,).

        Raises:
            UsageError: as :meth:`schedule`.
        """
        return self.schedule().size(u)
