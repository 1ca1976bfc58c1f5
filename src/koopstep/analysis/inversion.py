"""Back to the noise: which noise the student takes a sample to come from, and what it makes of that noise again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.evaluation.path import share
from koopstep.students.student import KoopmanStudent

_AT_A_TIME = 256
_TINY = 1e-30


@dataclass(frozen=True)
class Inverted:
    """Samples, their noise and what becomes of it.

    Attributes:
        data: (N, *shape), what was inverted.
        noise: (N, *shape), of unit variance if all is well.
        again: (N, *shape), what the student makes of it: the reconstruction.
    """

    data: Tensor
    noise: Tensor
    again: Tensor

    @property
    def mse(self) -> float:
        """Mean squared error of the reconstruction."""
        return float((self.again - self.data).square().mean())

    @property
    def unexplained_variance(self) -> float:
        """Mean squared error of the reconstruction over the variance of the data: 1 for the mean of the data.

        The square of what paths call unexplained, which is a root.
        """
        return share(self.again - self.data, self.data).item() ** 2

    def psnr(self, width: float) -> float:
        """Mean over samples of the ratio of the range's ``width`` to the error, in decibels."""
        errors = (self.again - self.data).square().flatten(1).mean(dim=1).clamp(min=_TINY)
        return float((10 * (width**2 / errors).log10()).mean())


@dataclass(frozen=True)
class NoiseFacts:
    """What tells noise (N, *shape) from a Gaussian of unit variance.

    Attributes:
        rows: N.
        norm: mean over rows of the norm over ``sqrt(d)``: about ``1 - 1 / (4 d)``; 0.80 for one number, 0.89 for two.
        norm_spread: its standard deviation: about ``1 / sqrt(2 d)``.
        mean: root mean square over the d numbers of each one's mean over rows: about ``1 / sqrt(N)``.
        variance: mean over the d numbers of each one's variance over rows: 1.
        smallest_variance, largest_variance: of them.
        kurtosis: excess of all numbers: 0.
        distance: of Kolmogorov and Smirnov, between all numbers and the Gaussian: 0.
        correlation: root mean square of the correlations between different numbers: about ``1 / sqrt(N)``. None above 4,096.
        neighbours: mean product of pixels beside or below one another, over the mean square: 0. None where there are none.
    """

    rows: int
    norm: float
    norm_spread: float
    mean: float
    variance: float
    smallest_variance: float
    largest_variance: float
    kurtosis: float
    distance: float
    correlation: float | None
    neighbours: float | None


_MOST_CORRELATED = 4096


@torch.no_grad()
def invert(student: KoopmanStudent, data: Tensor, class_labels: Tensor | None = None) -> Inverted:
    """Samples (N, *shape) to their noise in one evaluation, and forth again in one; on the CPU.

    Raises:
        UsageError: if the student does not start at data, or reads the end of its path only.
    """
    if student.codec.encodes != "path" or not student.codec.reads_path:
        if student.codec.has_modes:
            raise UsageError(
                "inversion starts at data, and this student of modes encodes noise alone: train it with "
                "-o student.within=true"
            )
        raise UsageError(
            "inversion starts at data and reads the noise; this student does not do both. Train one with --method modes, "
            "or hkd+"
        )
    device = next(student.parameters()).device
    pages: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(data), _AT_A_TIME):
        few = slice(start, start + _AT_A_TIME)
        labels = None if class_labels is None else class_labels[few].to(device)
        noise = student.invert(data[few].to(device), 1.0, labels)
        pages.append((noise.cpu(), student.generate(noise, labels).cpu()))
    noises, again = zip(*pages, strict=True)
    return Inverted(data.cpu(), torch.cat(noises), torch.cat(again))


def noise_facts(noise: Tensor) -> NoiseFacts:
    """Measures of ``noise`` (N, *shape), N at least 2."""
    flat = noise.flatten(1).double()
    rows, numbers = flat.shape
    norms = flat.norm(dim=1) / math.sqrt(numbers)
    variances = flat.var(dim=0)
    centred = flat - flat.mean()
    return NoiseFacts(
        rows=rows,
        norm=float(norms.mean()),
        norm_spread=float(norms.std()),
        mean=float(flat.mean(dim=0).square().mean().sqrt()),
        variance=float(variances.mean()),
        smallest_variance=float(variances.min()),
        largest_variance=float(variances.max()),
        kurtosis=float(centred.pow(4).mean() / centred.square().mean().square().clamp(min=_TINY)) - 3,
        distance=_distance_to_gaussian(flat.flatten()),
        correlation=_correlation(flat) if 1 < numbers <= _MOST_CORRELATED else None,
        neighbours=_neighbours(noise.double()) if noise.ndim == 4 and min(noise.shape[2:]) > 1 else None,
    )


def recovered(found: Tensor, true: Tensor) -> dict[str, float]:
    """How near noise ``found`` (N, *shape) is to the ``true`` one: unexplained share of its variance, and correlation."""
    a, b = (each.flatten(1).double() for each in (found, true))
    cosine = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=_TINY)
    return {"unexplained_variance": share(a - b, b).item() ** 2, "correlation": float(cosine.mean())}


def summary(inverted: Inverted, width: float | None) -> dict[str, Any]:
    """In plain numbers; ``width`` of the data's range gives a PSNR."""
    found: dict[str, Any] = {
        "rows": len(inverted.data),
        "mse": inverted.mse,
        "unexplained_variance": inverted.unexplained_variance,
        "noise": vars(noise_facts(inverted.noise)),
    }
    return found if width is None else found | {"psnr": inverted.psnr(width)}


def _distance_to_gaussian(values: Tensor) -> float:
    ordered = values.sort().values
    below = torch.special.ndtr(ordered)
    steps = torch.arange(len(ordered) + 1, dtype=torch.float64, device=values.device) / len(ordered)
    return float(torch.maximum((steps[1:] - below).abs(), (below - steps[:-1]).abs()).max())


def _correlation(flat: Tensor) -> float:
    matrix = torch.nan_to_num(torch.corrcoef(flat.T))
    numbers = len(matrix)
    total = matrix.square().sum() - matrix.diagonal().square().sum()
    return float((total / (numbers * (numbers - 1))).sqrt())


def _neighbours(noise: Tensor) -> float:
    beside = (noise[..., :, 1:] * noise[..., :, :-1]).mean()
    below = (noise[..., 1:, :] * noise[..., :-1, :]).mean()
    return float((beside + below) / 2 / noise.square().mean().clamp(min=_TINY))
