"""What operators do: eigenvalues in the complex plane; rates in the plane, over the image, and as times."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from koopstep.analysis.findings import Eigenvalues, LevelRates
from koopstep.figures.style import FAINT, LINES, PALE, array, figure, plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_POINTS = 20_000
_MOST_EIGENVALUES = 50_000


def eigenvalues(view: Eigenvalues, path: Path) -> Path:
    """Draw the eigenvalues of each level with the unit circle; those only set, not applied, are hollow.

    The title says whether they belong to the dynamics (gauge fixed, and by what) or to this network (gauge free).
    """
    spectra = view.spectra
    columns = min(3 if len(spectra) <= 9 else 5, len(spectra))
    turn = np.linspace(0, 2 * math.pi, 400)
    with figure(path, 3.9, 4.6, rows=math.ceil(len(spectra) / columns), columns=columns) as panels:
        for panel in panels[len(spectra) :]:
            panel.set_axis_off()
        for panel, spectrum in zip(panels, spectra, strict=False):
            every = -(-len(spectrum.eigenvalues) // _MOST_EIGENVALUES) | 1  # odd: conjugates lie side by side
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


def rates(view: LevelRates, path: Path) -> Path:
    """Draw what the view asks for: rates in the plane, means by place, or times."""
    return _RATES[view.what](view, path)


def _rate_plane(view: LevelRates, path: Path) -> Path:
    """Draw every pair's growth alpha against its turning |beta|, per unit of u, a panel a level, all at one scale."""
    names, rates = view.names, view.rates
    alphas = [_thin(array(level.alpha).ravel()) for level in rates]
    betas = [_thin(np.abs(array(level.beta).ravel())) for level in rates]
    wide = 1.08 * max(1e-6, *(float(np.abs(values).max()) for values in alphas))
    high = 1.08 * max(1e-6, *(float(values.max()) for values in betas))
    columns = min(4, len(names))
    with figure(path, 2.7, 2.6, rows=-(-len(names) // columns), columns=columns) as axes:
        for panel in axes[len(names) :]:
            panel.set_axis_off()
        for number, (panel, name) in enumerate(zip(axes, names, strict=False)):
            panel.axvline(0, color=FAINT, lw=0.9, zorder=0)
            panel.scatter(alphas[number], betas[number], s=6, c=LINES[1], linewidths=0, alpha=0.5)
            panel.set_xlim(-wide, wide)
            panel.set_ylim(-0.03 * high, high)
            panel.set_title(name, fontsize=9)
            if number + columns >= len(names):
                panel.set_xlabel("growth α (left: decays)")
            if number % columns == 0:
                panel.set_ylabel("rotation |β|, radians")
        axes[0].figure.suptitle(f"rates of each pair of channels over the whole path; gauge: {view.gauge}", fontsize=9)
    return path


def _rate_maps(view: LevelRates, path: Path) -> Path:
    """Draw where a level grows and rotates: mean over pairs of alpha (growth) and of |beta| (rotation) by place.

    All levels share one scale for each, so that their colours can be compared.
    """
    names, rates = view.names, view.rates
    growths = [array(level.alpha.mean(dim=0)) for level in rates]
    rotations = [array(level.beta.abs().mean(dim=0)) for level in rates]
    reach = max(1e-9, *(float(np.abs(values).max()) for values in growths))
    top = max(1e-9, *(float(values.max()) for values in rotations))
    count = len(names)
    with figure(path, 1.6, 1.75, rows=2, columns=count) as axes:
        for row, (maps, colours, low, high, what) in enumerate(
            ((growths, "RdBu_r", -reach, reach, "growth α"), (rotations, "viridis", 0.0, top, "rotation |β|"))
        ):
            for column, (name, values) in enumerate(zip(names, maps, strict=True)):
                panel = axes[row * count + column]
                shown = panel.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
                panel.set_xticks([])
                panel.set_yticks([])
                if row == 0:
                    panel.set_title(name, fontsize=8)
                if column == 0:
                    panel.set_ylabel(what)
            bar = axes[0].figure.colorbar(shown, ax=axes[row * count : (row + 1) * count], shrink=0.85, pad=0.01)
            bar.ax.tick_params(labelsize=7)
        axes[0].figure.suptitle(f"mean over pairs by place in the image; gauge: {view.gauge}", fontsize=9)
    return path


def _rate_times(view: LevelRates, path: Path) -> Path:
    """Draw how many modes of a level halve (decaying ones), double (growing ones) and rotate once within a time, in u."""
    with figure(path, 4.0, 3.2, columns=3) as axes:
        for index, (name, level) in enumerate(zip(view.names, view.rates, strict=True)):
            alpha, beta = array(level.alpha).ravel(), np.abs(array(level.beta).ravel())
            times = (
                math.log(2) / np.maximum(-alpha[alpha < 0], 1e-9),
                math.log(2) / np.maximum(alpha[alpha > 0], 1e-9),
                2 * math.pi / np.maximum(beta[beta > 0], 1e-9),
            )
            look = "-" if index < len(LINES) - 1 else "--"
            for panel, values in zip(axes, times, strict=True):
                _share_within(panel, values, len(alpha), LINES[(index + 1) % len(LINES)], look, name)
        heads = ("half-life of modes that decay", "doubling time of modes that grow", "period of one rotation")
        for panel, head in zip(axes, heads, strict=True):
            panel.set_xscale("log")
            panel.axvline(1.0, color=FAINT, lw=0.9, zorder=0)
            panel.set_ylim(0, 1.02)
            panel.set_xlabel("time in u (1: the whole path)")
            panel.set_title(head)
        axes[0].set_ylabel("share of the level's modes")
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
        axes[0].figure.suptitle(f"how many modes are at least this fast; gauge: {view.gauge}", fontsize=9)
    return path


def _share_within(panel: Axes, times: np.ndarray, total: int, colour: str, look: str, name: str) -> None:
    """A line that rises by one mode's share at each time; drawn even where there is none, for the legend."""
    ordered = np.sort(times)
    shares = np.arange(1, len(ordered) + 1) / max(total, 1)
    keep = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), 400)).round().astype(int))
    panel.plot(ordered[keep], shares[keep], color=colour, ls=look, lw=1.5, label=name)


def _thin(values: np.ndarray) -> np.ndarray:
    """At most 20,000 values, evenly."""
    return values[:: -(-len(values) // _MOST_POINTS)]


_RATES = {"plane": _rate_plane, "maps": _rate_maps, "times": _rate_times}
