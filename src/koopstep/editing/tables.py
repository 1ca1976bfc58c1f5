"""Edited pictures beside the unedited ones, and where they changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from koopstep.analysis.findings import Findings, ImageRow, Images

DRAWN = 8


@dataclass(frozen=True)
class Edit:
    """An edit: what was found, and the edited pictures (N, C, H, W) in [-1, 1], of which one folder is made."""

    findings: Findings
    pictures: Tensor


def edit_table(
    file: str, given: Mapping[str, Tensor], edited: Mapping[str, Tensor], changes: Sequence[Tensor], mask: Tensor
) -> Images:
    """A picture a row, by what was given and what was made of it, over a map of the mean change.

    Args:
        file: name of the picture.
        given: heading of a column -> pictures (N, C, H, W).
        edited: the same of edited ones.
        changes: (H, W), one for each of ``edited``.
        mask: bool (H, W).
    """
    columns = [images[:DRAWN] for images in (*given.values(), *edited.values())]
    rows = [ImageRow("", torch.stack(list(pictures))) for pictures in zip(*columns, strict=True)]
    below = torch.stack(list(changes))[:, None]
    rows.append(ImageRow("mean\nchange", below, "changes", skip=len(given), gap=0.15))
    return Images(file, rows, columns=[*given, *edited], mask=mask, scale="mean |change|\nof [-1, 1]")


def mean_change(before: Tensor, after: Tensor) -> Tensor:
    """Mean absolute change (H, W) of pictures (N, C, H, W)."""
    return (after - before).abs().mean(dim=(0, 1))


def confined(edited: Tensor, unedited: Tensor, mask: Tensor, confine: bool) -> Tensor:
    """``edited`` with the unedited pictures pasted outside the mask, where that is wanted."""
    return torch.where(mask, edited, unedited) if confine else edited
