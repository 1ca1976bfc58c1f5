"""Lines and bars: curves along the path, losses against steps, values against a ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from koopstep.analysis.findings import Bars, Curves, Line
from koopstep.core.errors import UsageError
from koopstep.figures.sheet import Sheet, styled
from koopstep.figures.style import FAINT, INK, LINES, in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NOT_TERMS = {"step", "seconds", "learning_rate", "images_per_second", "time"}
_COLUMNS, _MOST_DOTS = 3, 40
_OUTSIDE: Any = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0}
_COLOURS = tuple(colour for _ in range(4) for colour in LINES[1:])
_ALWAYS = {"teacher": INK, "student": LINES[1]}
"""Lines that have the same colour in every figure."""
_EMPTY = 1e-12  # the height of an axis on which everything is 0


def curves(view: Curves, sheet: Sheet) -> None:
    """Draw a panel for each entry, each with named lines; one legend where all panels have the same lines."""
    panels, columns = view.panels, 2 if len(view.panels) == 4 else min(_COLUMNS, len(view.panels))
    together = _same_lines(view)
    beside = not together and any(len(lines) > 5 or max(map(len, lines)) > 24 for lines in panels.values())
    axes = sheet.panels(
        (3.9 if columns < 3 else 3.4) + 2.2 * beside, 3.0, rows=-(-len(panels) // columns), columns=columns
    )
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    for number, (panel, (head, lines)) in enumerate(zip(axes, panels.items(), strict=False)):
        _lines(panel, lines, view, head in view.ordered)
        if head in view.logarithmic:
            panel.set_yscale("log")
        elif view.from_zero:
            panel.margins(y=0.08)
            panel.set_ylim(0, max(panel.get_ylim()[1], _EMPTY))
        panel.grid(True, axis="y")
        panel.set_xlabel(view.across)
        if number % columns == 0:
            panel.set_ylabel(view.up)
        panel.set_title(sheet.head(head))
        if beside:
            panel.legend(**_OUTSIDE)
        elif len(lines) > 1 and not together:
            panel.legend(loc="best")
    for alike in view.alike:
        ends = [panel.get_ylim() for panel, head in zip(axes, panels, strict=False) if head in alike]
        for panel, head in zip(axes, panels, strict=False):
            if head in alike:
                panel.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    if together:
        most = max(range(len(panels)), key=lambda number: len(axes[number].get_lines()))
        axes[columns - 1].legend(handles=axes[most].get_lines(), **_OUTSIDE)
    sheet.title(view.title)


def _same_lines(view: Curves) -> bool:
    """Whether one legend will do for several panels: the same lines in the same colours, but for those to compare with."""
    names = [[name for name in lines if name not in view.faint] for lines in view.panels.values()]
    return len(names) > 1 and len(names[0]) > 1 and all(other == names[0] for other in names)


def _lines(panel: Axes, lines: Mapping[str, Line], view: Curves, ordered: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    ours = [name for name in lines if name not in view.faint and name not in view.rings]
    free = [name for name in ours if name not in _ALWAYS]
    left = in_order(len(free)) if ordered else [one for one in _COLOURS if len(free) == len(ours) or one != LINES[1]]
    colours = dict(zip(free, left, strict=False)) | _ALWAYS
    for name, (x, y) in lines.items():
        if name in view.rings:
            panel.plot(x, y, color=INK, label=name, ls="", marker="o", ms=8, mfc="none", zorder=3)
        elif name in view.faint:
            dark = name.startswith(("whole", "mean", "teacher"))  # over the pale ones, which are wider
            look = {"ls": "--", "lw": 1.2} if dark else {"ls": "-", "lw": 3.5, "alpha": 0.6, "zorder": 1.5}
            look |= {"marker": "o", "ms": 5} if sum(math.isfinite(one) for one in y) == 1 else {}  # no line at all
            panel.plot(x, y, color=INK if dark else FAINT, label=name, **look)  # type: ignore[arg-type]
        elif name == "teacher":  # open rings over the student's line: seen even where the two agree
            look = {"ls": (0, (2, 3)), "lw": 1.2, "marker": "o", "ms": 6, "mfc": "none", "zorder": 3}
            panel.plot(x, y, color=INK, label=name, **look)  # type: ignore[arg-type]
        else:
            mark = "o" if len(x) <= _MOST_DOTS or not view.joined else ""
            look = {"ls": "-", "lw": 1.5, "ms": 2.5} if view.joined else {"ls": "", "ms": 5}
            panel.plot(x, y, color=colours[name], label=name, marker=mark, **look)  # type: ignore[arg-type]
    if all(float(value).is_integer() for x, _ in lines.values() for value in x):
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def bars(view: Bars, sheet: Sheet) -> None:
    """Draw grouped bars, a panel for each entry; a range to compare with lies behind them."""
    groups, panels = view.groups, view.panels
    name_of_spread, low, high = view.spread or ("", 0.0, 0.0)
    top = 1.08 * max(high, *(max(values) for sets in panels.values() for values in sets.values()))
    axes = sheet.panels(min(3.6, max(2.8, 1.2 + 0.5 * len(groups))), 3.0, columns=len(panels))
    for number, (panel, (head, sets)) in enumerate(zip(axes, panels.items(), strict=True)):
        step = 0.8 / len(sets)
        for index, (name, values) in enumerate(sets.items()):
            places = np.arange(len(groups)) + (index - (len(sets) - 1) / 2) * step
            shade: Any = in_order(len(sets))[index] if view.ordered else _COLOURS[index]
            if view.ordered and len(sets) == 1:
                shade = in_order(len(groups))
            panel.bar(places, list(values), width=0.92 * step, color=shade, label=name if len(sets) > 1 else None)
        if view.spread is not None:
            panel.axhspan(low, high, color=FAINT, alpha=0.5, lw=0, zorder=0, label=name_of_spread)
        slanted = {"rotation": 30, "ha": "right"} if max(len(group) for group in groups) > 8 else {}
        panel.set_xticks(range(len(groups)), groups, **slanted)  # type: ignore[arg-type]
        panel.grid(True, axis="y")
        panel.set_axisbelow(True)
        panel.set_ylim(0, top or 1.0)
        panel.set_title(sheet.head(head))
        if number == 0:
            panel.set_ylabel(view.up)
        if number == len(panels) - 1 and (len(sets) > 1 or view.spread is not None):
            panel.legend(**_OUTSIDE)
    sheet.title(view.title)


def losses(records: Sequence[Mapping[str, Any]], *, names: Sequence[str] = ()) -> Curves:
    """Losses against steps, one line a term, on a logarithmic scale.

    Args:
        records: lines of metrics, each with ``step`` and numbers, or a mapping of numbers under ``terms``.
        names: the terms drawn, in this order; all that occur when not given. Values that are not positive are gaps.

    Raises:
        UsageError: no record has a step and a loss.
    """
    rows = [(float(record["step"]), _losses(record)) for record in records if "step" in record]
    found = list(names) or list(dict.fromkeys(name for _, values in rows for name in values))
    if not rows or not found:
        raise UsageError("figure: the metrics hold no step with a loss; train for at least one logged step")
    steps = [step for step, _ in rows]
    terms = {
        name.replace("_", " "): (steps, [_positive(values.get(name, math.nan)) for _, values in rows]) for name in found
    }
    return Curves("losses.png", {"loss of each term, before its weight": terms}, across="step", logarithmic=_ALL)


def loss_curves(path: Path, records: Sequence[Mapping[str, Any]], *, names: Sequence[str] = ()) -> Path:
    """Draw :func:`losses` into a file."""
    with styled():
        sheet = Sheet()
        curves(losses(records, names=names), sheet)
        return sheet.save(path)


_ALL = ("loss of each term, before its weight",)


def _positive(value: float) -> float:
    return value if value > 0 else math.nan


def _losses(record: Mapping[str, Any]) -> dict[str, float]:
    flat = {**{k: v for k, v in record.items() if k not in _NOT_TERMS}, **record.get("terms", {})}
    return {k: float(v) for k, v in flat.items() if isinstance(v, int | float) and not isinstance(v, bool)}
