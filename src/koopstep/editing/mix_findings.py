"""Mixed modes as pictures, curves and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from torch import Tensor

from koopstep.analysis.findings import Caption, Curves, Findings, Line, View
from koopstep.analysis.modes import ORDER_WORDS, Masks
from koopstep.analysis.words import percent, short
from koopstep.editing.mixing import EditPoint
from koopstep.editing.tables import Edit, confined, edit_table, mean_change

CONTROL = 0.9
"""The paper's ratio of the control that mixes all modes."""
_LESS = 0.8  # of the structure that random modes change: below that a band keeps more


@dataclass(frozen=True)
class Setting:
    """What is mixed, where and when.

    Attributes:
        modes: kind of modes -> masks of the levels.
        names: kind of modes -> what it is called.
        drawn: the kind that the pictures show.
        head: what it is called over a column.
        mask: bool (H, W), of the picture.
        ratios: rising.
        point: of the edit.
        confine: whether the unedited picture is pasted outside the mask.
    """

    modes: dict[str, Masks]
    names: Mapping[str, str]
    drawn: str
    head: str
    mask: Tensor
    ratios: tuple[float, ...]
    point: EditPoint
    confine: bool


@dataclass(frozen=True)
class Made:
    """Decoded pictures (N, C, H, W) in [-1, 1]: unedited, of the references, and edited by (kind of modes, ratio)."""

    original: Tensor
    reference: Tensor
    edited: dict[tuple[str, float], Tensor]


def shown(
    values: dict[str, Any],
    made: Made,
    setting: Setting,
    measured: Mapping[str, Sequence[Mapping[str, Any]]],
    given: Tensor | None,
) -> Edit:
    """The table of pictures with a map of the change below it, curves over the ratio, and the strongest edit."""
    first = made.original if given is None else given
    keys = [*((setting.drawn, ratio) for ratio in setting.ratios), ("all", CONTROL)]
    final = {key: confined(made.edited[key], first, setting.mask, setting.confine) for key in keys}
    heads = [*(f"{setting.head}\n{ratio:.0%}" for ratio in setting.ratios), f"all modes\n{CONTROL:.0%}"]
    table = edit_table(
        "mix.png",
        {"generated" if given is None else "real": first, "reference": made.reference},
        dict(zip(heads, final.values(), strict=True)),
        [mean_change(made.original, made.edited[key]) for key in keys],
        setting.mask,
    )
    names = {"outside over inside": "outside_over_inside", "structure error": "structure_error"}
    panels: dict[str, dict[str, Line]] = {
        title: {
            name: (setting.ratios, [entry[key] or nan for entry in measured[kind]])
            for kind, name in setting.names.items()
        }
        for title, key in names.items()
    }
    curves = Curves("mix_curves.png", panels, across="mixing ratio", logarithmic=["structure error"])
    views: list[View] = [table, curves]
    sentence = mix_sentence(values)
    text = "Modes of the reference mixed into the outlined part, at rising ratios; last, all modes. Below: the mean change."
    captions = {
        "mix.png": Caption("Mixing modes of a reference", text, sentence),
        "mix_curves.png": Caption(
            "How far the edit reaches", "Change outside over inside the mask, and structure lost inside it.", sentence
        ),
    }
    return Edit(
        Findings(values, views, sentence, captions, _numbers(values, setting)), final[setting.drawn, setting.ratios[-1]]
    )


def _numbers(values: dict[str, Any], setting: Setting) -> dict[str, Any]:
    return {
        "pictures": values["count"],
        "modes": _what(values),
        "mask": f"{percent(values['mask_area'])} of the picture",
        **{
            f"structure error at {percent(values['ratio'])}, {setting.names[kind]}": short(error)
            for kind, error in values["at_this_ratio"]["structure_error"].items()
        },
    }


def _what(values: Mapping[str, Any]) -> str:
    """``the middle third by growth rate``, or the modes' names."""
    if values["band"] is None:
        return str(values["chosen_in_words"])
    return f"the {values['band']} third by {ORDER_WORDS[values['order']]}"


def mix_sentence(values: dict[str, Any]) -> str:
    """Whether the modes keep the structure better than others do, and whether the edit stays in its mask."""
    errors = values["at_this_ratio"]["structure_error"]
    named = values["band"] is None
    mine = errors["chosen" if named else "finest" if values["levels"] == "finest" else "band"]
    leak = values["outside_over_inside"]
    reach = (
        "the mask is the whole picture"
        if leak is None
        else f"outside the mask it changes {percent(leak)} of what it does inside"
    )
    pasted = " before it is pasted" if values["confined"] and leak is not None else ""
    what = _what(values)
    if "chance" not in errors:
        done = f"mixing {what} changes the structure by {short(mine)}"
        return f"At {percent(values['ratio'])} {done}; {reach}{pasted}."
    ratio = mine / max(errors["chance"], 1e-30)
    verdict = (
        "less structure than"
        if ratio < _LESS
        else "more structure than"
        if ratio > 1 / _LESS
        else "as much structure as"
    )
    done = (
        f"mixing {what} changes {verdict} as many others" if named else f"{what} changes {verdict} as many random modes"
    )
    numbers = f"{short(mine)} against {short(errors['chance'])}; all modes {short(errors['all'])}"
    return f"At {percent(values['ratio'])} {done} ({numbers}); {reach}{pasted}."
