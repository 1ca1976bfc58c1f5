"""How far an edited picture is from another as people see it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from koopstep.features.extract import LPIPS_NAME, Extractor, available

_SMALLEST_SEEN = 32  # pixels a side, below which LPIPS looks at enlarged pictures


class Perceptual:
    """LPIPS (SqueezeNet) of pictures, where it can be had.

    Pictures below 32 pixels are enlarged by repeating pixels, as the network cannot look at less: such distances compare
    with each other and with nothing published.

    Attributes:
        missing: why there is none; empty where there is.
        enlarged: how many times pictures are enlarged before they are looked at.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.enlarged = max(1, math.ceil(_SMALLEST_SEEN / min(shape[1:])))
        self.missing = ""
        if shape[0] not in (1, 3):
            self.missing = "LPIPS looks at one or three planes"
        elif not available(LPIPS_NAME):
            self.missing = "the weights of LPIPS are not at hand (KOOPSTEP_WEIGHTS names their folder)"
        self._extractor = Extractor(device)

    def distance(self, a: Tensor, b: Tensor) -> float | None:
        """Mean over pictures (N, C, H, W); None where there is none to be had."""
        if self.missing:
            return None
        large = [x.repeat_interleave(self.enlarged, 2).repeat_interleave(self.enlarged, 3) for x in (a, b)]
        return float(self._extractor.distance(*large).mean())

    def summary(self) -> dict[str, str | int]:
        """What to say beside the numbers."""
        return {"lpips_left_out": self.missing} if self.missing else {"lpips_enlarged": self.enlarged}
