"""Lines and spectra: losses against steps, eigenvalues in the complex plane."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from koopstep.core.errors import UsageError
from koopstep.figures.style import FAINT, LINES, PALE, array, figure, plane
from koopstep.operators.spectrum import Spectrum

_MOST_POINTS = 50_000
_NOT_TERMS = {"step", "seconds", "learning_rate", "images_per_second", "time"}


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


def eigenvalues(path: Path, spectra: Sequence[Spectrum]) -> Path:
    """Draws the eigenvalues of each level with the unit circle; those only set, not applied, are hollow.

    The title says whether they belong to the dynamics (gauge fixed, and by what) or to this network (gauge
    free).

    Args:
        path: of the PNG.
        spectra: one a level.
    """
    columns = min(3 if len(spectra) <= 9 else 5, len(spectra))
    turn = np.linspace(0, 2 * math.pi, 400)
    with figure(path, 3.9, 4.6, rows=math.ceil(len(spectra) / columns), columns=columns) as panels:
        for panel in panels[len(spectra) :]:
            panel.set_axis_off()
        for panel, spectrum in zip(panels, spectra, strict=False):
            every = -(-len(spectrum.eigenvalues) // _MOST_POINTS) | 1  # odd: conjugates lie side by side
            values = array(spectrum.eigenvalues[::every])
            drawn = values if spectrum.lifted is None else np.concatenate([values, array(spectrum.lifted)])
            panel.plot(np.cos(turn), np.sin(turn), color=FAINT, lw=0.9, zorder=1)
            panel.axhline(0, color=PALE, lw=0.9, zorder=0)
            panel.axvline(0, color=PALE, lw=0.9, zorder=0)
            if spectrum.lifted is not None:
                lifted = array(spectrum.lifted)
                panel.scatter(
                    lifted.real,
                    lifted.imag,
                    s=15,
                    facecolors="none",
                    edgecolors=LINES[2],
                    linewidths=0.7,
                    label="set",
                )
            panel.scatter(values.real, values.imag, s=11, c=LINES[1], linewidths=0, alpha=0.85, label="of the map")
            gauge = f"gauge: fixed by {spectrum.pinned_by}" if spectrum.gauge == "fixed" else "gauge: free"
            plane(
                panel,
                max(1.15, 1.08 * float(np.abs(drawn).max())),
                "\n".join([spectrum.level, *textwrap.wrap(gauge, 46)]),
            )
            panel.set_xlabel("real part")
            if panel is panels[0]:
                panel.set_ylabel("imaginary part")
            if spectrum.lifted is not None:
                panel.legend(loc="upper right", handletextpad=0.1, borderaxespad=0.1)
    return path


def _losses(record: Mapping[str, Any]) -> dict[str, float]:
    flat = {**{k: v for k, v in record.items() if k not in _NOT_TERMS}, **record.get("terms", {})}
    return {k: float(v) for k, v in flat.items() if isinstance(v, int | float) and not isinstance(v, bool)}
