"""Where a view is drawn: on a figure of its own, or on axes that a caller has."""

from __future__ import annotations

import io
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koopstep.core.errors import UsageError
from koopstep.core.explain import short
from koopstep.core.files import write_atomic
from koopstep.figures.style import DPI, FAINT, SETTINGS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_DRAWING = threading.RLock()  # settings are global to matplotlib while something is drawn
_SHORT = 22  # letters of a line over a small panel
_LETTERS, _NARROW = 14, 44  # of a title: in an inch, and in a line at least
_BETWEEN, _BELOW, _HEAD = (
    0.35,
    0.55,
    0.92,
)  # on a caller's axes: free beside and below a panel; of the height, below a title


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the house's look, one thread at a time; matplotlib's settings are as they were afterwards.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError("figures need matplotlib: pip install koopstep[analysis]") from error
    with _DRAWING, matplotlib.rc_context(SETTINGS):
        yield


def _listed(axes: Any) -> list[Any]:
    """Axes in whatever list, such as the array that ``plt.subplots`` gives."""
    if axes is None:
        return []
    try:
        return list(getattr(axes, "flat", axes))
    except TypeError:
        return [axes]


class Sheet:
    """A page for one view; to be used within :func:`styled`.

    No window system is asked for and pyplot knows nothing of it, whatever the environment says.

    Args:
        axes: where to draw: one axes, which several panels share out among them, or as many as there are panels. Without,
            a figure of its own.
    """

    def __init__(self, axes: Axes | Sequence[Axes] | None = None) -> None:
        from matplotlib.axes import Axes as OneAxes
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as OwnFigure

        self._given: list[Axes] = [axes] if isinstance(axes, OneAxes) else _listed(axes)
        if not all(isinstance(one, OneAxes) for one in self._given):
            raise UsageError(f"ax must be matplotlib axes, or a list of them, got {short(axes)}")
        self._panels: list[Axes] = []
        if self._given:
            root = self._given[0].get_figure(root=True)
            if root is None:
                raise UsageError("figure: these axes belong to no figure any more")
            self.figure: Figure = root
        else:
            self.figure = OwnFigure(dpi=DPI, layout="constrained")
            FigureCanvasAgg(self.figure)

    def panels(self, width: float, height: float, rows: int = 1, columns: int = 1) -> list[Axes]:
        """Axes row by row; sizes are of one panel, in inches, and hold where the figure is its own.

        Raises:
            UsageError: a caller gave several axes, and not as many as there are panels.
        """
        count = rows * columns
        if not self._given:
            self.figure.set_size_inches(width * columns, height * rows)
            self._panels = list(self.figure.subplots(rows, columns, squeeze=False).ravel())
        elif len(self._given) == count:
            self._panels = self._given
        elif len(self._given) == 1:
            self._panels = _shared_out(self._given[0], rows, columns)
        else:
            raise UsageError(
                f"this picture has {count} panels: give one axes for all of them or {count}, not {len(self._given)}"
            )
        return self._panels

    @property
    def crowded(self) -> bool:
        """Whether several panels share a caller's axes: there is room for few ticks only."""
        return len(self._given) == 1 and len(self._panels) > 1

    def title(self, text: str) -> None:
        """Words over everything; nothing where a caller's axes hold one panel that has a title already."""
        if not text:
            return
        if not self._given:
            wide = max(_NARROW, int(_LETTERS * self.figure.get_figwidth()))
            self.figure.suptitle("\n".join(textwrap.wrap(text, wide)), fontsize=9)
        elif len(self._given) == 1 and not self._given[0].get_title(loc="left"):
            self._given[0].set_title(text, fontsize=9)

    def head(self, text: str) -> str:
        """The title of a panel, broken where panels are small."""
        return "\n".join(textwrap.wrap(text, _SHORT)) if self.crowded else text

    def bar(self, panel: Axes, shown: ScalarMappable, label: str, ticks: Sequence[float] | None = None) -> Axes:
        """A colour bar at the right of a panel; returns its axes."""
        place = panel.inset_axes((1.03, 0.0, 0.05, 1.0))
        bar = self.figure.colorbar(shown, cax=place, ticks=None if ticks is None else list(ticks))
        bar.set_label(label, fontsize=8)
        bar.outline.set_visible(False)
        place.tick_params(labelsize=7, color=FAINT)
        return place

    def save(self, path: Path) -> Path:
        """Write it as PNG at 150 dots an inch; folders are made."""
        picture = io.BytesIO()
        options: dict[str, Any] = {"format": "png", "dpi": DPI, "metadata": {"Software": None}}
        self.figure.savefig(picture, **options)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, picture.getvalue())
        return path


def _shared_out(host: Axes, rows: int, columns: int) -> list[Axes]:
    """Panels within one axes, which shows nothing of itself but a title any more."""
    host.set_axis_off()
    wide, high = 1 / (columns + _BETWEEN * (columns - 1)), _HEAD / (rows + _BELOW * (rows - 1))
    step_right, step_down = wide * (1 + _BETWEEN), high * (1 + _BELOW)
    return [
        host.inset_axes((column * step_right, _HEAD - high - row * step_down, wide, high))
        for row in range(rows)
        for column in range(columns)
    ]
