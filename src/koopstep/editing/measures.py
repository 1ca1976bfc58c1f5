"""What an edit changed, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from koopstep.editing import mixing
from koopstep.editing.perceptual import Perceptual


def reach(before: Tensor, after: Tensor, mask: Tensor, perceptual: Perceptual) -> dict[str, Any]:
    """How far an edit reaches, as it comes out of the decoder: nothing is pasted here."""
    moved = mixing.change(before, after, mask)
    structure = mixing.structure_error(before, after, mask)
    result: dict[str, Any] = {
        "mse_inside": moved.inside,
        "mse_outside": moved.outside,
        "outside_over_inside": moved.outside_over_inside,
        "structure_error": structure,
        "structure_share": structure / moved.inside if moved.inside > 0 else None,
    }
    if not perceptual.missing:
        inside = perceptual.distance(torch.where(mask, after, before), before) or 0.0
        outside = perceptual.distance(torch.where(mask, before, after), before)
        seen = mixing.Change(inside, None if bool(mask.all()) else outside)
        result |= {"lpips_inside": seen.inside, "lpips_outside": seen.outside}
        result["lpips_outside_over_inside"] = seen.outside_over_inside
    return result


def strongest(measured: Mapping[str, Sequence[dict[str, Any]]], drawn: str) -> dict[str, Any]:
    """The numbers at the largest ratio, where the edit is strongest: of what is drawn, then of every kind."""
    last = {kind: entries[-1] for kind, entries in measured.items()}
    keys = ("outside_over_inside", "lpips_outside_over_inside", "structure_error", "structure_share")
    return {
        "ratio": last[drawn]["ratio"],
        **{key: last[drawn][key] for key in keys if key in last[drawn]},
        "at_this_ratio": {key: {kind: last[kind][key] for kind in last} for key in keys if key in last[drawn]},
    }


def inversion(original: Tensor, given: Tensor, perceptual: Perceptual) -> dict[str, Any]:
    """How well real pictures come back unedited: lifted, evolved to that point and on to the end, decoded."""
    found: dict[str, Any] = {"mse": float((original - given).square().mean())}
    return found if perceptual.missing else found | {"lpips": perceptual.distance(original, given)}
