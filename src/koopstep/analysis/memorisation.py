"""Are generated samples copies of real ones?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.core.errors import UsageError

COPY_RATIO = 0.5
"""A sample counts as a near copy below this share of the distance from its real one to the next real one."""
_BLOCK = 512


@dataclass(frozen=True)
class Memorisation:
    """How near generated samples come to real ones, in units of how near real ones come to each other.

    Attributes:
        nearest: int64 (N,), the nearest real sample of each generated one.
        distance: float64 (N,), to it, Euclidean in data units.
        ratio: float64 (N,), that distance over the distance of that real sample to its own nearest other one.
            About 1 for a sample that lies among the real ones as they lie among each other; near 0 for a
            copy.
        held_out_ratio: float64 (M',), the same for real samples that were held out, or None: what no memory
            scores.
    """

    nearest: Tensor
    distance: Tensor
    ratio: Tensor
    held_out_ratio: Tensor | None

    def summary(self) -> dict[str, Any]:
        """Returns plain numbers; ``copies`` is the share with a ratio below 0.5."""
        return {
            "samples": len(self.ratio),
            **_ratios(self.ratio),
            "copy_ratio": COPY_RATIO,
            "held_out": None if self.held_out_ratio is None else _ratios(self.held_out_ratio),
        }


def memorisation(generated: Tensor, real: Tensor, held_out: Tensor | None = None) -> Memorisation:
    """Measures whether generated samples are copies of real ones.

    Args:
        generated: (N, *shape).
        real: (M, *shape), what the teacher was trained on; M >= 2. Twins in it have distance 0 between them
            and are left out as yardsticks: the next real sample at another place is taken.
        held_out: (M', *shape), real samples that nothing was trained on, as a control.

    Raises:
        UsageError: fewer than two different real samples, or rows of another shape.
    """
    if len(real) < 2 or not len(generated) or generated.shape[1:] != real.shape[1:]:
        raise UsageError(
            "neighbours: samples of one shape and at least 2 real ones are needed, got "
            f"{tuple(generated.shape)} and {tuple(real.shape)}"
        )
    flat = real.detach().flatten(1).double()
    distance, index, ratio = _to_real(generated, flat)
    control = None if held_out is None or not len(held_out) else _to_real(held_out, flat)[2]
    return Memorisation(nearest=index, distance=distance, ratio=ratio, held_out_ratio=control)


def _to_real(samples: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance to the nearest real sample, which it is, and that distance over its own spacing; (N,) each."""
    distances, indices = nearest_rows(samples.detach().flatten(1).to(real), real, 1)
    used, back = torch.unique(indices[:, 0], return_inverse=True)
    places = torch.unique(real, dim=0)  # twins have no distance between them
    if len(places) < 2:
        raise UsageError("neighbours: all real samples are equal; there is nothing to compare distances with")
    spacing = nearest_rows(real[used], places, 2)[0][:, 1]
    return distances[:, 0].cpu(), indices[:, 0].cpu(), (distances[:, 0] / spacing[back]).cpu()


def nearest_rows(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances (Q, k) and indices (Q, k) of the nearest points, nearest first."""
    distances, indices = [], []
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        near = torch.cdist(block, points).topk(k, dim=1, largest=False).indices
        # the search works with products, which lose the digits of a near copy; the distances reported do not
        gaps = torch.stack([(block - points[near[:, rank]]).norm(dim=1) for rank in range(k)], dim=1)
        ordered, order = gaps.sort(dim=1)
        distances.append(ordered)
        indices.append(near.gather(1, order))
    return torch.cat(distances), torch.cat(indices)


def _ratios(ratio: Tensor) -> dict[str, float]:
    return {
        "median_ratio": float(ratio.median()),
        "smallest_ratio": float(ratio.min()),
        "copies": float((ratio < COPY_RATIO).double().mean()),
    }
