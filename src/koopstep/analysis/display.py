"""How samples of any shape come onto paper: as points in the plane or as pictures, by one map fixed by the teacher's data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from koopstep.analysis.point_views import COORDINATES
from koopstep.core.pixels import DataRange
from koopstep.students.student import DataFacts

_MOST_ROWS = 2000
_MOST_PIXELS = 200_000
_WIDE = 1024  # numbers a sample from which no covariance is formed


@dataclass(frozen=True)
class Display:
    """A linear map from samples to what is drawn of them; the same for student, teacher and noise.

    Attributes:
        kind: ``points`` (N, 2), or ``images`` (N, 1 or 3, H, W).
        data_range: what is drawn black and white, of images.
        note: for the caption: what is shown in place of the samples; empty where they are shown as they are.
        axes: of points: the names of the two coordinates.
    """

    kind: Literal["points", "images"]
    data_range: DataRange
    note: str = ""
    axes: tuple[str, str] = COORDINATES
    _shape: tuple[int, ...] = ()
    _mean: Tensor | None = None
    _directions: Tensor | None = None

    def __call__(self, samples: Tensor) -> Tensor:
        """Samples (..., *shape) as points (..., 2) or images (..., 1 or 3, H, W), on the device where they are."""
        if self._mean is None or self._directions is None:
            return samples
        mean, directions = (part.to(samples.device, samples.dtype) for part in (self._mean, self._directions))
        if self.kind == "points":
            return (samples.flatten(samples.ndim - len(self._shape)) - mean) @ directions
        return ((samples.movedim(-3, -1) - mean) @ directions).movedim(-1, -3)


def display_of(facts: DataFacts, data: Tensor) -> Display:
    """How samples of a student are shown: points in the plane and pictures as they are, anything else by its widest directions.

    Vectors become their first two principal components. Feature maps of two planes, or of more than three, become pictures
    whose red, green and blue are the first three principal components of their pixels, each centred and in proportion.

    Args:
        facts: of the student's data.
        data: (N, *shape), samples of the teacher, from which the directions are taken.
    """
    shape, shown = facts.shape, facts.shown_range
    if len(shape) == 3:
        return Display("images", shown) if shape[0] in (1, 3) else _planes(facts, data)
    return Display("points", shown) if shape == (2,) else _components(facts, data)


def _components(facts: DataFacts, data: Tensor) -> Display:
    mean, directions, share = _principal(data[:_MOST_ROWS].flatten(1), 2)
    note = (
        f"the first two principal components of the teacher's data ({share:.0%} of the variance of "
        f"{directions.shape[0]} numbers)"
    )
    axes = ("first principal component", "second principal component")
    return Display("points", facts.shown_range, note, axes, facts.shape, mean, directions)


def _planes(facts: DataFacts, data: Tensor) -> Display:
    planes, scale = facts.shape[0], facts.data_scale
    pixels = data[:_MOST_ROWS].movedim(1, -1).reshape(-1, planes)
    pixels = pixels[:: max(1, len(pixels) // _MOST_PIXELS)]
    mean, directions, share = _principal(pixels, 3)
    widest = float(((pixels.double().cpu() - mean) @ directions[:, 0]).std())
    note = (
        f"red, green and blue are the first principal components of the {planes} planes ({share:.0%} of their variance)"
    )
    return Display(
        "images", (-2 * scale, 2 * scale), note, ("", ""), facts.shape, mean, directions * (scale / max(widest, 1e-12))
    )


def _principal(rows: Tensor, number: int) -> tuple[Tensor, Tensor, float]:
    """Mean (d,), directions (d, number) of the largest variance, and the share of it that they hold; float64.

    The largest entry of a direction is positive, so that equal data give equal pictures. Where there are fewer directions
    than asked for, the rest are zero.
    """
    rows = rows.detach().double().cpu()
    mean = rows.mean(dim=0)
    centred = rows - mean
    if rows.shape[1] <= _WIDE:
        variances, vectors = torch.linalg.eigh(centred.T @ centred / max(len(rows), 1))
        variances, vectors = variances.flip(0).clamp_min(0), vectors.flip(1)
    else:
        _, sizes, found = torch.linalg.svd(centred[: _WIDE // 2], full_matrices=False)
        variances, vectors = sizes.square(), found.T
    vectors, total = vectors[:, :number], float(variances.sum())
    largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    directions = torch.zeros(rows.shape[1], number, dtype=torch.float64)
    directions[:, : vectors.shape[1]] = vectors * largest.sign()
    return mean, directions, float(variances[:number].sum()) / total if total > 0 else 1.0
