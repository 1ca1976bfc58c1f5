"""Pictures that are edited, brought to what a student takes; and the mask that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.pixels import from_plain_range
from koopstep.data.sources import scaled
from koopstep.editing import masks
from koopstep.students.student import DataFacts


@dataclass(frozen=True)
class Pictures:
    """Real pictures.

    Attributes:
        data: (N, C, H, W) float32, in the student's range.
        class_labels: (N,) int64 for conditional students, else None.
        origin: where they come from, for people.
    """

    data: Tensor
    class_labels: Tensor | None
    origin: str


def fit(data: Tensor, facts: DataFacts, where: str) -> Tensor:
    """Pictures (N, C, H, W), bytes or in [-1, 1], as the student's data; grey ones get three planes where it has three.

    Raises:
        UsageError: if their size is another, or they are coloured and the student's are grey.
    """
    channels, height, width = facts.shape
    if tuple(data.shape[-2:]) != (height, width):
        raise UsageError(
            f"{where}: is {data.shape[-1]} x {data.shape[-2]} pixels, the student makes {width} x {height}; resize it"
        )
    if data.shape[1] == 1:
        data = data.expand(-1, channels, -1, -1)
    if data.shape[1] != channels:
        raise UsageError(
            f"{where}: has {data.shape[1]} colour planes, the student makes {channels}; convert it to grey"
        )
    return from_plain_range(scaled(data), facts.data_range)


def reference_picture(path: Path, facts: DataFacts) -> Tensor:
    """A picture file as a student's data (1, C, H, W).

    Raises:
        UsageError: if it cannot be read or does not fit.
    """
    return fit(masks.read_picture(path)[None], facts, str(path))


def chosen_mask(
    file: Path | None, corners: masks.Rectangle | None, otherwise: Tensor, height: int, width: int
) -> Tensor:
    """The mask (H, W) of a picture file or a rectangle, of which at most one may be given; else ``otherwise``.

    Raises:
        UsageError: if both are given, or the mask cannot be made.
    """
    if file is not None and corners is not None:
        raise UsageError("give a mask or a rectangle, not both")
    if file is not None:
        return masks.read_mask(file, height, width)
    return otherwise if corners is None else masks.rectangle(corners, height, width)
