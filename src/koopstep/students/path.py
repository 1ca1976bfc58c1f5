"""What a student of whole paths knows of its teacher's path: level, size and label at any progress."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.students.student import DataFacts

_RHO = 7.0
_LOWEST_SIGMA = 0.002


class PathLevels(nn.Module):
    """Levels between the states that were kept, and what follows from them.

    Falling levels are EDM's sigma, ``x = data + sigma noise``; between two kept states their seventh roots are even, as on
    EDM's grid (Eq. 5), which is exact wherever the teacher's grid is. Rising levels are the time of the straight flow,
    ``x = (1 - t) noise + t data``. Imported paths of unknown levels count as the latter.
    """

    progress: Tensor
    nodes: Tensor

    def __init__(self, facts: DataFacts) -> None:
        super().__init__()
        if len(facts.progress) != len(facts.levels) or len(facts.levels) < 2:
            raise UsageError(f"a path needs a level for each of its states, got {facts.levels} at {facts.progress}")
        self.noise_scale, self.data_scale = facts.noise_scale, facts.data_scale
        self.falling = facts.levels[0] > facts.levels[-1]
        levels = torch.tensor(facts.levels, dtype=torch.float64)
        nodes = levels.clamp(min=0) ** (1 / _RHO) if self.falling else levels
        self._known: dict[float, tuple[float, float]] = {}
        self.register_buffer("progress", torch.tensor(facts.progress, dtype=torch.float32), persistent=False)
        self.register_buffer("nodes", nodes.float(), persistent=False)

    def level(self, u: Tensor) -> Tensor:
        """Sigma or t at ``u`` (B,) in [0, 1]."""
        after = torch.searchsorted(self.progress, u.detach().to(self.progress.dtype)).clamp(1, len(self.progress) - 1)
        low, high = self.progress[after - 1].to(u), self.progress[after].to(u)
        share = ((u - low) / (high - low)).clamp(0, 1)
        node = torch.lerp(self.nodes[after - 1].to(u), self.nodes[after].to(u), share)
        return node**_RHO if self.falling else node

    def size(self, u: Tensor) -> Tensor:
        """Standard deviation (B,) of the states at ``u`` (B,), noise and data being independent."""
        level = self.level(u)
        if self.falling:
            return (level**2 + self.data_scale**2).sqrt()
        return (((1 - level) * self.noise_scale) ** 2 + (level * self.data_scale) ** 2).sqrt()

    def at(self, u: float) -> tuple[float, float]:
        """Size and label at one ``u``, worked out once: sampling asks for the same two every time."""
        if u not in self._known:
            row = torch.tensor([u], dtype=torch.float64, device=self.nodes.device)
            self._known[u] = float(self.size(row)), float(self.label(row))
        return self._known[u]

    def label(self, u: Tensor) -> Tensor:
        """What networks are told (B,) at ``u`` (B,): ``ln(sigma) / 4`` as EDM's, or t as flow matching's."""
        level = self.level(u)
        return level.clamp(min=_LOWEST_SIGMA).log() / 4 if self.falling else level
