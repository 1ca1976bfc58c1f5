"""Sets of samples as a view: pictures in rows, or clouds of points, whatever the shape of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from koopstep.analysis.findings import Clouds, Images, View, image_rows
from koopstep.analysis.outcomes import cells_of
from koopstep.analysis.subject import Subject


def view_of_sets(
    subject: Subject,
    file: str,
    sets: Mapping[str, Tensor],
    *,
    heads: Sequence[str] = (),
    columns: int = 4,
    title: str = "",
    colours: Tensor | None = None,
) -> View:
    """Show sets of samples by the subject's display.

    Args:
        subject: whose samples they are.
        file: name of the picture.
        sets: title -> samples (N, *shape): a row of pictures, or a panel of points.
        heads: titles over the columns of pictures.
        columns: of panels of points.
        title: over everything.
        colours: samples (N, *shape) that give points their colours; the first set when absent.
    """
    display = subject.display
    shown = {name: display(samples.detach().cpu()) for name, samples in sets.items()}
    if display.kind == "images":
        return Images(file, image_rows(shown), columns=heads, title=title, data_range=display.data_range)
    by = None if colours is None else display(colours.detach().cpu())
    return Clouds(file, shown, by, cells_of(subject), columns, title, display.axes)


def how_shown(subject: Subject) -> str:
    """A sentence for captions on what is shown in place of the samples; empty where they are shown as they are."""
    note = subject.display.note
    return f" Shown: {note}." if note else ""
