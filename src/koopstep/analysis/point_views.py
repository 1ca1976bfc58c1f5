"""Views of points in the plane; the others are in :mod:`koopstep.analysis.findings`, where all can be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from koopstep.data.cells import Cells

COORDINATES = ("first coordinate", "second coordinate")
"""Of data in the plane."""


@dataclass(frozen=True)
class Clouds:
    """Sets of points in panels of one window, a point in the same colour in each.

    Attributes:
        file: name of the picture.
        sets: title -> (N, 2); NaN is left out. An empty title leaves a gap. The window is at most twice the first set's.
        colours: (N, 2), points that give the colours; the first set when absent.
        cells: of the data: a point has the colour of its cell; where absent, of its direction from the mean.
        columns: of panels.
        title: over everything.
        axes: names of the two coordinates.
    """

    file: str
    sets: Mapping[str, Tensor]
    colours: Tensor | None = None
    cells: Cells | None = None
    columns: int = 4
    title: str = ""
    axes: tuple[str, str] = COORDINATES


@dataclass(frozen=True)
class PointStrips:
    """Moving points in rows of small windows of one size, a point in the same colour in each.

    Attributes:
        file: name of the picture.
        rows: title, which may have lines -> (K, N, 2), a window for each of K.
        heads: titles of the K columns.
        colours: (N, 2), points that give the colours.
        cells: of the data: a point has the colour of its cell; where absent, of its direction from the mean.
        title: over everything.
    """

    file: str
    rows: Mapping[str, Tensor]
    heads: Sequence[str]
    colours: Tensor
    cells: Cells | None = None
    title: str = ""


@dataclass(frozen=True)
class Fields:
    """Arrows at points of the plane, a panel a field, each in units of its own root mean square.

    Attributes:
        file: name of the picture.
        at: (N, 2), where the arrows begin.
        fields: title -> (N, 2), the arrows.
        colours: (N, 2), points that give the colours.
        cells: as of `PointStrips`.
        columns: of panels.
        axes: names of the coordinates of ``at``.
        title: over everything.
    """

    file: str
    at: Tensor
    fields: Mapping[str, Tensor]
    colours: Tensor
    cells: Cells | None = None
    columns: int = 4
    axes: tuple[str, str] = COORDINATES
    title: str = ""


@dataclass(frozen=True)
class PointPairs:
    """Points in the plane beside their partners from the same noise, in the colours of the left ones' outcomes.

    Attributes:
        file: name of the picture.
        left: (N, 2) in data units; the teacher's, say.
        right: (N, 2), row by row from the same noise.
        titles: of the panels.
        outcomes: int64 (N,), of the left ones; one colour where there are none.
        cells: whose numbers the outcomes are, drawn behind the points; None where there are none.
        axes: names of the two coordinates.
    """

    file: str
    left: Tensor
    right: Tensor
    titles: tuple[str, str] = ("teacher", "student")
    outcomes: Tensor | None = None
    cells: Cells | None = None
    axes: tuple[str, str] = COORDINATES


@dataclass(frozen=True)
class NoiseSpace:
    """Noise by what it becomes, one panel a map.

    Attributes:
        file: name of the picture.
        noise: (N, *shape), unit variance.
        outcomes: title of the panel -> int64 (N,); negative for none.
        names: of outcomes 0, 1, ... for a legend; none is drawn without.
        cells: whose numbers the outcomes are; None where they are other things.
        separates: title of the panel whose outcomes choose the plane that noise of more dimensions is shown on, in all
            panels; the first when empty.
    """

    file: str
    noise: Tensor
    outcomes: Mapping[str, Tensor]
    names: Sequence[str] = ()
    cells: Cells | None = None
    separates: str = ""


@dataclass(frozen=True)
class OutlierMap:
    """Outliers among samples, and the noise they come from.

    Attributes:
        file: name of the picture.
        noise: (N, 2), unit variance, behind all samples.
        samples: name -> (N, 2) in data units; a row of two panels each.
        masks: name -> bool (N,), the outliers.
        outcomes: name -> int64 (N,), for the colours; negative for none.
        cells: whose numbers the outcomes are, drawn behind the samples; None where there are none.
    """

    file: str
    noise: Tensor
    samples: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    outcomes: Mapping[str, Tensor]
    cells: Cells | None = None
