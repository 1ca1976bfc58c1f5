"""The noise levels along a teacher's path: level, size and label at any progress, and states at a level."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError

_RHO = 7.0
_LOWEST_SIGMA = 0.002


class Schedule(nn.Module, ABC):
    """Levels between the states that were kept, and what follows from them.

    Attributes:
        clean: the level of the data.
        falling: whether levels fall from noise to data.
        noise_scale: standard deviation of the first state.
        data_scale: standard deviation of the last one.
    """

    clean: float
    falling: bool
    progress: Tensor
    nodes: Tensor

    def __init__(
        self, progress: Sequence[float], levels: Sequence[float], noise_scale: float, data_scale: float
    ) -> None:
        super().__init__()
        self.noise_scale, self.data_scale = noise_scale, data_scale
        self._known: dict[float, tuple[float, float]] = {}
        nodes = self._bent(torch.tensor(levels, dtype=torch.float64))
        self.register_buffer("progress", torch.tensor(progress, dtype=torch.float32), persistent=False)
        self.register_buffer("nodes", nodes.float(), persistent=False)

    @abstractmethod
    def _bent(self, level: Tensor) -> Tensor:
        """Levels as numbers between which the path's grid is even."""

    @abstractmethod
    def _straightened(self, node: Tensor) -> Tensor:
        """The inverse."""

    def size(self, u: Tensor) -> Tensor:
        """Standard deviation (B,) of the states at ``u`` (B,), noise and data being independent."""
        return self.size_with(self.data_scale, u)

    @abstractmethod
    def label(self, u: Tensor) -> Tensor:
        """What networks are conditioned on (B,) at ``u`` (B,)."""

    @abstractmethod
    def noisy(self, data: Tensor, noise: Tensor, level: float) -> Tensor:
        """A state at ``level`` around ``data`` (B, *shape), from unit-variance ``noise`` of the same shape."""

    @abstractmethod
    def denoised(self, state: Tensor, output: Tensor, level: float) -> Tensor:
        """The mean of the data that ``state`` may come from, given the teacher's network's ``output`` there."""

    @abstractmethod
    def preconditioned(self, state: Tensor, output: Tensor, u: Tensor) -> Tensor:
        """A guess at the data (B, *shape) from a network's output of unit size, which is what a teacher's network gives.

        Args:
            state: (B, *shape) at progress ``u``.
            output: (B, *shape): EDM's F (arXiv 2206.00364, Eq. 7) where levels fall, the velocity where they rise.
            u: shape (B,) or (1,).
        """

    @abstractmethod
    def size_with(self, data_scale: float, u: Tensor) -> Tensor:
        """As :meth:`size`, of data of standard deviation ``data_scale``."""

    def noise_share(self, u: Tensor) -> Tensor:
        """How much of the first state is left at ``u`` (B,) if the data is one point: from 1 to (almost) 0."""
        return self.size_with(0.0, u) / self.size_with(0.0, torch.zeros_like(u))

    @abstractmethod
    def slope(self, state: Tensor, output: Tensor, level: float) -> Tensor:
        """The derivative of the path by the level, given the teacher's network's ``output`` at ``state``."""

    @abstractmethod
    def noise_over_data(self, level: float) -> float:
        """Size of the noise in a state at ``level``, over the size of the data in it."""

    def level(self, u: Tensor) -> Tensor:
        """Sigma or t at ``u`` (B,) in [0, 1]."""
        after = torch.searchsorted(self.progress, u.detach().to(self.progress.dtype)).clamp(1, len(self.progress) - 1)
        low, high = self.progress[after - 1].to(u), self.progress[after].to(u)
        share = ((u - low) / (high - low)).clamp(0, 1)
        return self._straightened(torch.lerp(self.nodes[after - 1].to(u), self.nodes[after].to(u), share))

    def levels_at(self, progress: Sequence[float]) -> list[float]:
        """The level at each progress."""
        found: list[float] = self.level(torch.tensor(progress, device=self.nodes.device)).tolist()
        return found

    def at(self, u: float) -> tuple[float, float]:
        """Size and label at one ``u``, worked out once: sampling asks for the same two every time."""
        if u not in self._known:
            row = torch.tensor([u], dtype=torch.float64, device=self.nodes.device)
            self._known[u] = float(self.size(row)), float(self.label(row))
        return self._known[u]


class SigmaSchedule(Schedule):
    """Falling levels, EDM's sigma: ``x = data + sigma noise``.

    Between two kept states their seventh roots are even, as on EDM's grid (Eq. 5), which is exact wherever the teacher's
    grid is. Networks see ``ln(sigma) / 4``, as EDM's do, and a teacher's network gives the denoised state.
    """

    clean, falling = 0.0, True

    def _bent(self, level: Tensor) -> Tensor:
        return level.clamp(min=0) ** (1 / _RHO)

    def _straightened(self, node: Tensor) -> Tensor:
        return node**_RHO

    def size_with(self, data_scale: float, u: Tensor) -> Tensor:
        return (self.level(u) ** 2 + data_scale**2).sqrt()

    def label(self, u: Tensor) -> Tensor:
        return self.level(u).clamp(min=_LOWEST_SIGMA).log() / 4

    def noisy(self, data: Tensor, noise: Tensor, level: float) -> Tensor:
        return data + level * noise

    def denoised(self, state: Tensor, output: Tensor, level: float) -> Tensor:
        return output

    def preconditioned(self, state: Tensor, output: Tensor, u: Tensor) -> Tensor:
        sigma, data = self.level(u).view(-1, *[1] * (state.ndim - 1)), self.data_scale
        total = sigma**2 + data**2
        return (state * data**2 / total + output * sigma * data / total.sqrt()).to(state.dtype)

    def slope(self, state: Tensor, output: Tensor, level: float) -> Tensor:
        return (state - output) / level

    def noise_over_data(self, level: float) -> float:
        return level / self.data_scale


class FlowSchedule(Schedule):
    """Rising levels, the time of the straight flow: ``x = (1 - t) noise + t data``.

    Imported paths of unknown levels count as these. Networks see t, and a teacher's network gives the velocity.
    """

    clean, falling = 1.0, False

    def _bent(self, level: Tensor) -> Tensor:
        return level

    def _straightened(self, node: Tensor) -> Tensor:
        return node

    def size_with(self, data_scale: float, u: Tensor) -> Tensor:
        level = self.level(u)
        return (((1 - level) * self.noise_scale) ** 2 + (level * data_scale) ** 2).sqrt()

    def label(self, u: Tensor) -> Tensor:
        return self.level(u)

    def noisy(self, data: Tensor, noise: Tensor, level: float) -> Tensor:
        return (1 - level) * self.noise_scale * noise + level * data

    def denoised(self, state: Tensor, output: Tensor, level: float) -> Tensor:
        return state + (1 - level) * output

    def preconditioned(self, state: Tensor, output: Tensor, u: Tensor) -> Tensor:
        left = 1 - self.level(u).view(-1, *[1] * (state.ndim - 1))
        return (state + left * output).to(state.dtype)

    def slope(self, state: Tensor, output: Tensor, level: float) -> Tensor:
        return output

    def noise_over_data(self, level: float) -> float:
        return (1 - level) * self.noise_scale / (level * self.data_scale) if level else float("inf")


def schedule_of(
    progress: Sequence[float], levels: Sequence[float], *, noise_scale: float, data_scale: float
) -> Schedule:
    """The schedule of a path with these levels: sigmas where they fall, flow times where they rise.

    Args:
        progress: u of the states that were kept, rising from 0 to 1.
        levels: the teacher's level at each of them.
        noise_scale: standard deviation of the first state.
        data_scale: standard deviation of the last one.

    Raises:
        UsageError: if there are fewer than two, or not as many of one as of the other.
    """
    if len(progress) != len(levels) or len(levels) < 2:
        raise UsageError(f"a path needs a level for each of its states, got {levels} at {progress}")
    kind = SigmaSchedule if levels[0] > levels[-1] else FlowSchedule
    return kind(progress, levels, noise_scale, data_scale)
