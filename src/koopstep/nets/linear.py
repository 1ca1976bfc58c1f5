"""A linear map as a network: observables that mean something (design, section 5)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from koopstep.core.config import Config


class LinearConfig(Config):
    """A square or rectangular matrix without bias; the level and the class are ignored."""

    kind: Literal["linear"] = "linear"


class Linear(nn.Module):
    """``x -> W x``, starting from the identity (padded or cut)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.map = nn.Linear(inputs, outputs, bias=False)
        nn.init.eye_(self.map.weight)

    def forward(self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        return self.map(x)  # type: ignore[no-any-return]
