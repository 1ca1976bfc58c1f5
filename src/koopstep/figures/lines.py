"""Lines and bars: curves along the path, losses against steps, values against a ratio."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from koopstep.core.errors import UsageError
from koopstep.figures.style import FAINT, INK, LINES, figure

Line = tuple[Sequence[float], Sequence[float]]
"""Values along x, and along y."""

_NOT_TERMS = {"step", "seconds", "learning_rate", "images_per_second", "time"}
_COLOURS = tuple(colour for _ in range(4) for colour in LINES[1:])


def curves_of(
    path: Path,
    panels: Mapping[str, Mapping[str, Line]],
    *,
    across: str,
    up: str = "",
    logarithmic: bool = False,
    from_zero: bool = True,
    columns: int = 3,
    faint: Collection[str] = (),
    title: str = "",
) -> Path:
    """Draw a panel for each entry, each with named lines.

    Args:
        path: of the PNG.
        panels: title -> name -> line; colours go by place.
        across: names the horizontal axis.
        up: names the vertical one.
        logarithmic: the vertical axis.
        from_zero: whether the vertical axis begins there, where it is not logarithmic.
        columns: of panels.
        faint: names of lines to compare with, drawn dashed: those of wholes and means black, others grey.
        title: over everything.
    """
    from matplotlib.ticker import MaxNLocator

    columns = min(columns, len(panels))
    beside = any(len(lines) > 5 or max(map(len, lines)) > 24 for lines in panels.values())
    with figure(path, 4.3 + 2.4 * beside, 3.0, rows=-(-len(panels) // columns), columns=columns) as axes:
        for panel in axes[len(panels) :]:
            panel.set_axis_off()
        for number, (panel, (head, lines)) in enumerate(zip(axes, panels.items(), strict=False)):
            colours = dict(zip((name for name in lines if name not in faint), _COLOURS, strict=False))
            for name, (x, y) in lines.items():
                look = {"ls": "--", "lw": 1.2} if name in faint else {"lw": 1.5, "marker": "o", "ms": 2.5}
                shade = INK if name.startswith(("whole", "mean")) else FAINT
                panel.plot(x, y, color=colours.get(name, shade), label=name, **look)  # type: ignore[arg-type]
            if logarithmic:
                panel.set_yscale("log")
            elif from_zero:
                panel.set_ylim(bottom=0)
            if all(float(value).is_integer() for x, _ in lines.values() for value in x):
                panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.grid(True, axis="y")
            panel.set_xlabel(across)
            if number % columns == 0:
                panel.set_ylabel(up)
            panel.set_title(head)
            if beside:
                panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
            elif len(lines) > 1:
                panel.legend(loc="best")
        if title:
            axes[0].figure.suptitle(title, fontsize=9)
    return path


def ratio_curves(
    path: Path,
    panels: Mapping[str, Mapping[str, Sequence[float | None]]],
    ratios: Sequence[float],
    *,
    shares: Sequence[str] = (),
) -> Path:
    """Draws values against the mixing ratio.

    Args:
        path: of the PNG.
        panels: title -> line's name -> one value a ratio; what is None or not positive is a gap.
        ratios: in [0, 1].
        shares: titles of panels that start at 0; the others are logarithmic.
    """
    with figure(path, 3.5, 3.1, columns=len(panels)) as axes:
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            for index, (name, values) in enumerate(lines.items()):
                heights = [value if value is not None and value > 0 else float("nan") for value in values]
                colour = LINES[1 + index % (len(LINES) - 1)]
                axis.plot(list(ratios), heights, color=colour, lw=1.4, marker="o", ms=3.5, label=name)
            if title in shares:
                axis.set_ylim(0, 1.08 * max((v for line in lines.values() for v in line if v is not None), default=1))
            else:
                axis.set_yscale("log")
            axis.grid(True, which="major", axis="y")
            axis.set_xlabel("mixing ratio")
            axis.set_title(title)
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0)
    return path


def bars(
    path: Path,
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    groups: Sequence[str],
    *,
    up: str,
    line: float | None = None,
    line_name: str = "",
    title: str = "",
) -> Path:
    """Draw grouped bars, a panel for each entry: name -> one value a group; ``line`` is a height to compare with."""
    width = 1.2 + 0.55 * len(groups)
    top = 1.08 * max(line or 0.0, *(max(values) for sets in panels.values() for values in sets.values()))
    with figure(path, max(3.0, width), 3.0, columns=len(panels)) as axes:
        for number, (panel, (head, sets)) in enumerate(zip(axes, panels.items(), strict=True)):
            step = 0.8 / len(sets)
            for index, (name, values) in enumerate(sets.items()):
                places = np.arange(len(groups)) + (index - (len(sets) - 1) / 2) * step
                told = name if len(sets) > 1 else None
                panel.bar(places, list(values), width=0.92 * step, color=_COLOURS[index], label=told)
            if line is not None:
                panel.axhline(line, color=INK, lw=1.0, ls="--", label=line_name)
            slanted = {"rotation": 30, "ha": "right"} if max(len(group) for group in groups) > 8 else {}
            panel.set_xticks(range(len(groups)), groups, **slanted)  # type: ignore[arg-type]
            panel.grid(True, axis="y")
            panel.set_axisbelow(True)
            panel.set_ylim(0, top or 1.0)
            panel.set_title(head)
            if number == 0:
                panel.set_ylabel(up)
            if number == len(panels) - 1 and (len(sets) > 1 or line is not None):
                panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
        if title:
            axes[0].figure.suptitle(title, fontsize=9)
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
        panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    return path


def _losses(record: Mapping[str, Any]) -> dict[str, float]:
    flat = {**{k: v for k, v in record.items() if k not in _NOT_TERMS}, **record.get("terms", {})}
    return {k: float(v) for k, v in flat.items() if isinstance(v, int | float) and not isinstance(v, bool)}
