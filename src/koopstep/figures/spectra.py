"""What operators do: eigenvalues in the complex plane; rates in the plane, over the image, and as times."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from koopstep.analysis.findings import Eigenvalues, LevelRates
from koopstep.analysis.spectrum import identifiable
from koopstep.figures.sheet import Sheet
from koopstep.figures.style import FAINT, LINES, PALE, array, in_order, plane, two_sided

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_POINTS = 20_000
_MOST_EIGENVALUES = 50_000
_LONGEST = 1e3  # paths: modes slower than that do nothing one could see
_CROWDED = 0.25  # of the window: eigenvalues within less than that are shown larger in a panel of their own


def eigenvalues(view: Eigenvalues, sheet: Sheet) -> None:
    """Draw the eigenvalues of each level with the unit circle; those only set, not applied, are hollow.

    Where they crowd at one place it is shown larger within the panel. The title says whether they are identifiable.
    """
    spectra = view.spectra
    columns = min(3 if len(spectra) <= 9 else 5, len(spectra))
    panels = sheet.panels(3.9, 4.6, rows=math.ceil(len(spectra) / columns), columns=columns)
    for panel in panels[len(spectra) :]:
        panel.set_axis_off()
    for number, (panel, spectrum) in enumerate(zip(panels, spectra, strict=False)):
        every = -(-len(spectrum.eigenvalues) // _MOST_EIGENVALUES) | 1  # odd: conjugates lie side by side
        values = array(spectrum.eigenvalues[::every])
        lifted = None if spectrum.lifted is None else array(spectrum.lifted)
        drawn = values if lifted is None else np.concatenate([values, lifted])
        known = view.passed[number] if view.passed else None
        passed = None if known is None else array(known)[::every]
        _eigenvalue_dots(panel, values, lifted, passed)
        reach = max(1.15, 1.08 * float(np.abs(drawn).max()))
        gauge = "free" if spectrum.gauge == "free" else f"fixed by {spectrum.pinned_by}"
        head = f"{spectrum.level}: {len(spectrum.eigenvalues):,} eigenvalues"
        plane(panel, reach, "\n".join([head, *textwrap.wrap(identifiable(gauge), 46)]))
        panel.set_xlabel("real part")
        if panel is panels[0]:
            panel.set_ylabel("imaginary part")
        if lifted is not None or passed is not None:
            panel.legend(loc="upper right", handletextpad=0.1, borderaxespad=0.1)
        _zoom(panel, values, reach, passed)


def _eigenvalue_dots(
    panel: Axes, values: np.ndarray, lifted: np.ndarray | None, passed: np.ndarray | None = None
) -> None:
    turn = np.linspace(0, 2 * math.pi, 2000)
    panel.plot(np.cos(turn), np.sin(turn), color=FAINT, lw=0.9, zorder=1)
    panel.axhline(0, color=PALE, lw=0.9, zorder=0)
    panel.axvline(0, color=PALE, lw=0.9, zorder=0)
    if lifted is not None:
        look: Any = {"facecolors": "none", "edgecolors": LINES[2], "linewidths": 0.7}
        panel.scatter(lifted.real, lifted.imag, s=15, label="set", **look)
    if passed is None:
        panel.scatter(values.real, values.imag, s=11, c=LINES[1], linewidths=0, alpha=0.85, label="of the map")
    else:
        _filled_where(panel, values.real, values.imag, passed, size=11)


def _filled_where(panel: Axes, x: np.ndarray, y: np.ndarray, passed: np.ndarray, *, size: float) -> None:
    """Dots that are filled where they passed, over hollow ones."""
    hollow: Any = {"facecolors": "none", "edgecolors": LINES[1], "linewidths": 0.5, "alpha": 0.6}
    panel.scatter(x[~passed], y[~passed], s=size, label=f"did not pass: {int((~passed).sum()):,}", **hollow)
    panel.scatter(x[passed], y[passed], s=1.6 * size, c=LINES[3], linewidths=0, label=f"passed: {int(passed.sum()):,}")


def _zoom(panel: Axes, values: np.ndarray, reach: float, passed: np.ndarray | None) -> None:
    """All eigenvalues again, larger, where they fill a small part of the window."""
    middle = complex((values.real.max() + values.real.min()) / 2, (values.imag.max() + values.imag.min()) / 2)
    wide, high = float(np.abs(values.real - middle.real).max()), float(np.abs(values.imag - middle.imag).max())
    if 1.15 * max(wide, high) > _CROWDED * reach:
        return
    inside = panel.inset_axes((0.2 if middle.real > 0 else 0.36, 0.3, 0.44, 0.4))  # within the circle, beside them
    _eigenvalue_dots(inside, values, None, passed)
    wide, high = (1.15 * max(half, 1e-3 * max(wide, high), 1e-6) for half in (wide, high))  # each axis to the data
    inside.set_xlim(middle.real - wide, middle.real + wide)
    inside.set_ylim(middle.imag - high, middle.imag + high)
    inside.tick_params(labelsize=6, length=2, direction="in", pad=1)
    inside.locator_params(nbins=3)
    for spine in inside.spines.values():
        spine.set_visible(True)
    panel.indicate_inset_zoom(inside, edgecolor=FAINT)


def rates(view: LevelRates, sheet: Sheet) -> None:
    """Draw what the view asks for: rates in the plane, means by place, or times."""
    _RATES[view.what](view, sheet)


def _rate_plane(view: LevelRates, sheet: Sheet) -> None:
    """Draw every pair's growth alpha against its rotation |beta| over the whole path, a panel a level, scaled to it."""
    columns = min(3, len(view.names))
    axes = sheet.panels(3.1, 2.9, rows=-(-len(view.names) // columns), columns=columns)
    for panel in axes[len(view.names) :]:
        panel.set_axis_off()
    for number, (panel, name, level) in enumerate(zip(axes, view.names, view.rates, strict=False)):
        alpha, beta = array(level.alpha).ravel(), np.abs(array(level.beta).ravel())
        wide, high = 1.1 * max(1e-9, float(np.abs(alpha).max())), 1.1 * max(1e-9, float(beta.max()))
        panel.axvspan(-wide, 0, color=PALE, lw=0, zorder=0)
        if not view.passed or (passed := view.passed[number]) is None:
            panel.scatter(_thin(alpha), _thin(beta), s=7, c=LINES[1], linewidths=0, alpha=0.5)
        else:
            _filled_where(panel, _thin(alpha), _thin(beta), _thin(array(passed).ravel()), size=7)
        panel.set_xlim(-wide, wide)
        panel.set_ylim(-0.03 * high, high)
        panel.locator_params(axis="x", nbins=2 if sheet.crowded else 5)
        panel.set_title(name if sheet.crowded else f"{name}: {alpha.size:,} modes", fontsize=9)
        if not (alpha.any() or beta.any()):
            panel.text(0.5, 0.5, "stays as it is", ha="center", va="center", transform=panel.transAxes)
        if not sheet.crowded or number + columns >= len(view.names):
            panel.set_xlabel("growth α" if sheet.crowded else "growth rate α (shaded: decays)")
        if number % columns == 0:
            panel.set_ylabel("rotation rate |β|, radians")
        if view.passed and not sheet.crowded and view.passed[number] is not None:
            panel.legend(loc="upper right", handletextpad=0.1, borderaxespad=0.1, fontsize=7)
    sheet.title(f"rates of the modes over the whole path, axes scaled to each level; rates {identifiable(view.gauge)}")


def _rate_maps(view: LevelRates, sheet: Sheet) -> None:
    """Draw where a level grows and rotates: mean over pairs of alpha (growth) and of |beta| (rotation) by place.

    All levels share one scale for each, so that their colours can be compared.
    """
    names, rates = view.names, view.rates
    growths = [array(level.alpha.mean(dim=0)) for level in rates]
    rotations = [array(level.beta.abs().mean(dim=0)) for level in rates]
    reach = max(1e-9, *(float(np.abs(values).max()) for values in growths))
    top = max(1e-9, *(float(values.max()) for values in rotations))
    count = len(names)
    axes = sheet.panels(1.6, 1.75, rows=2, columns=count)
    kinds: tuple[tuple[list[np.ndarray], Any, float, float, str], ...] = (
        (growths, two_sided(), -reach, reach, "growth rate α"),
        (rotations, "viridis", 0.0, top, "rotation rate |β|, radians"),
    )
    for row, (maps, colours, low, high, what) in enumerate(kinds):
        for column, (name, values) in enumerate(zip(names, maps, strict=True)):
            panel = axes[row * count + column]
            shown = panel.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
            if row == 0:
                panel.set_title(name, fontsize=8)
        sheet.bar(axes[(row + 1) * count - 1], shown, what)
    sheet.title(f"mean over modes by place in the image; rates {identifiable(view.gauge)}")


def _rate_times(view: LevelRates, sheet: Sheet) -> None:
    """Draw how many modes of a level halve (decaying ones), double (growing ones) and rotate once within a time, in u."""
    axes = sheet.panels(3.3, 3.0, columns=3)
    shortest = 0.5
    for name, level, colour in zip(view.names, view.rates, in_order(len(view.names)), strict=True):
        alpha, beta = array(level.alpha).ravel(), np.abs(array(level.beta).ravel())
        times = (
            math.log(2) / np.maximum(-alpha[alpha < 0], 1e-9),
            math.log(2) / np.maximum(alpha[alpha > 0], 1e-9),
            2 * math.pi / np.maximum(beta[beta > 0], 1e-9),
        )
        shortest = min(shortest, *(float(values.min(initial=shortest)) for values in times))
        for panel, values in zip(axes, times, strict=True):
            _share_within(panel, values, len(alpha), colour, name)
    heads = ("half-life of modes that decay", "doubling time of modes that grow", "period of one rotation")
    for panel, head in zip(axes, heads, strict=True):
        panel.set_xscale("log")
        panel.set_xlim(0.8 * shortest, _LONGEST)
        panel.axvline(1.0, color=FAINT, lw=0.9, zorder=0)
        panel.set_ylim(0, 1.02)
        panel.set_xlabel("time in u (1: the whole path)")
        panel.set_title(head)
    axes[0].set_ylabel("share of the level's modes")
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    sheet.title(f"how many modes are at least this fast; rates {identifiable(view.gauge)}")


def _share_within(panel: Axes, times: np.ndarray, total: int, colour: str, name: str) -> None:
    """A line that rises by one mode's share at each time; drawn even where there is none, for the legend."""
    ordered = np.sort(times)
    shares = np.arange(1, len(ordered) + 1) / max(total, 1)
    keep = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), 400)).round().astype(int))
    panel.plot(ordered[keep], shares[keep], color=colour, lw=1.5, label=name)


def _thin(values: np.ndarray) -> np.ndarray:
    """At most 20,000 values, evenly."""
    return values[:: -(-len(values) // _MOST_POINTS)]


_RATES = {"plane": _rate_plane, "maps": _rate_maps, "times": _rate_times}
