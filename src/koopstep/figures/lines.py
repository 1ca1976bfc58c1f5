"""Lines and bars: curves along the path, losses against steps, values against a ratio."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from koopstep.analysis.findings import Bars, Curves, Line
from koopstep.core.errors import UsageError
from koopstep.figures.style import FAINT, INK, LINES, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NOT_TERMS = {"step", "seconds", "learning_rate", "images_per_second", "time"}
_COLUMNS = 3
_OUTSIDE: Any = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0}
_COLOURS = tuple(colour for _ in range(4) for colour in LINES[1:])


def curves(view: Curves, path: Path) -> Path:
    """Draw a panel for each entry, each with named lines; one legend where all panels have the same lines."""
    panels, columns = view.panels, min(_COLUMNS, len(view.panels))
    together = _same_lines(view)
    beside = not together and any(len(lines) > 5 or max(map(len, lines)) > 24 for lines in panels.values())
    with figure(path, 4.3 + 2.4 * beside, 3.0, rows=-(-len(panels) // columns), columns=columns) as axes:
        for panel in axes[len(panels) :]:
            panel.set_axis_off()
        for number, (panel, (head, lines)) in enumerate(zip(axes, panels.items(), strict=False)):
            _lines(panel, lines, view.faint)
            if head in view.logarithmic:
                panel.set_yscale("log")
            elif view.from_zero:
                panel.set_ylim(bottom=0)
            panel.grid(True, axis="y")
            panel.set_xlabel(view.across)
            if number % columns == 0:
                panel.set_ylabel(view.up)
            panel.set_title(head)
            if beside:
                panel.legend(**_OUTSIDE)
            elif len(lines) > 1 and not together:
                panel.legend(loc="best")
        if together:
            most = max(range(len(panels)), key=lambda number: len(axes[number].get_lines()))
            axes[columns - 1].legend(handles=axes[most].get_lines(), **_OUTSIDE)
        if view.title:
            axes[0].figure.suptitle(view.title, fontsize=9)
    return path


def _same_lines(view: Curves) -> bool:
    """Whether one legend will do for several panels: the same lines in the same colours, but for those to compare with."""
    names = [[name for name in lines if name not in view.faint] for lines in view.panels.values()]
    return len(names) > 1 and len(names[0]) > 1 and all(other == names[0] for other in names)


def _lines(panel: Axes, lines: Mapping[str, Line], faint: Collection[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    colours = dict(zip((name for name in lines if name not in faint), _COLOURS, strict=False))
    for name, (x, y) in lines.items():
        look = {"ls": "--", "lw": 1.2} if name in faint else {"lw": 1.5, "marker": "o", "ms": 2.5}
        shade = INK if name.startswith(("whole", "mean")) else FAINT
        panel.plot(x, y, color=colours.get(name, shade), label=name, **look)  # type: ignore[arg-type]
    if all(float(value).is_integer() for x, _ in lines.values() for value in x):
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def bars(view: Bars, path: Path) -> Path:
    """Draw grouped bars, a panel for each entry."""
    groups, panels = view.groups, view.panels
    width = 1.2 + 0.55 * len(groups)
    name_of_spread, low, high = view.spread or ("", 0.0, 0.0)
    top = 1.08 * max(high, *(max(values) for sets in panels.values() for values in sets.values()))
    with figure(path, max(3.0, width), 3.0, columns=len(panels)) as axes:
        for number, (panel, (head, sets)) in enumerate(zip(axes, panels.items(), strict=True)):
            step = 0.8 / len(sets)
            for index, (name, values) in enumerate(sets.items()):
                places = np.arange(len(groups)) + (index - (len(sets) - 1) / 2) * step
                label = name if len(sets) > 1 else None
                panel.bar(places, list(values), width=0.92 * step, color=_COLOURS[index], label=label)
            if view.spread is not None:
                panel.axhspan(low, high, color=FAINT, alpha=0.5, lw=0, zorder=0, label=name_of_spread)
            slanted = {"rotation": 30, "ha": "right"} if max(len(group) for group in groups) > 8 else {}
            panel.set_xticks(range(len(groups)), groups, **slanted)  # type: ignore[arg-type]
            panel.grid(True, axis="y")
            panel.set_axisbelow(True)
            panel.set_ylim(0, top or 1.0)
            panel.set_title(head)
            if number == 0:
                panel.set_ylabel(view.up)
            if number == len(panels) - 1 and (len(sets) > 1 or view.spread is not None):
                panel.legend(**_OUTSIDE)
        if view.title:
            axes[0].figure.suptitle(view.title, fontsize=9)
    return path


def loss_curves(path: Path, records: Sequence[Mapping[str, Any]], *, names: Sequence[str] = ()) -> Path:
    """Draws losses against steps, one line a term, on a logarithmic scale.

    Args:
        path: of the PNG.
        records: lines of metrics, each with ``step`` and numbers, or a mapping of numbers under ``terms``.
        names: the terms drawn, in this order; all that occur when not given. Values that are not positive are
            gaps.

    Raises:
        UsageError: no record has a step and a loss.
    """
    rows = [(float(record["step"]), _losses(record)) for record in records if "step" in record]
    found = list(names) or list(dict.fromkeys(name for _, losses in rows for name in losses))
    if not rows or not found:
        raise UsageError("figure: the metrics hold no step with a loss; train for at least one logged step")
    with figure(path, 6.0, 3.4) as (panel,):
        for index, name in enumerate(found):
            line = [(step, losses.get(name, math.nan)) for step, losses in rows]
            steps, values = np.array(line).T
            values[~(values > 0)] = np.nan
            main = name in ("total", "loss")
            colour = LINES[index % len(LINES)]
            mark = "o" if len(rows) < 3 else ""
            panel.plot(
                steps,
                values,
                color=colour,
                lw=1.8 if main else 1.1,
                label=name.replace("_", " "),
                marker=mark,
            )
        panel.set_yscale("log")
        panel.grid(True, which="major", axis="y")
        panel.set_xlabel("step")
        panel.set_title("losses")
        panel.margins(x=0.01)
        panel.legend(**_OUTSIDE)
    return path


def _losses(record: Mapping[str, Any]) -> dict[str, float]:
    flat = {**{k: v for k, v in record.items() if k not in _NOT_TERMS}, **record.get("terms", {})}
    return {k: float(v) for k, v in flat.items() if isinstance(v, int | float) and not isinstance(v, bool)}
