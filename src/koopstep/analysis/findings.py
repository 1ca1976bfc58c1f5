"""What an analysis hands back: numbers, and what is to be seen in them, described and not drawn.

A view is the data of one picture with its words; :mod:`koopstep.figures` draws it, and whoever shows it another way reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from koopstep.analysis.plane_views import LevelPlane as LevelPlane
from koopstep.analysis.plane_views import ResidualPlanes as ResidualPlanes
from koopstep.analysis.point_views import Clouds as Clouds
from koopstep.analysis.point_views import Fields as Fields
from koopstep.analysis.point_views import NoiseSpace as NoiseSpace
from koopstep.analysis.point_views import OutlierMap as OutlierMap
from koopstep.analysis.point_views import PointPairs as PointPairs
from koopstep.analysis.point_views import PointStrips as PointStrips
from koopstep.core.pixels import PLAIN, DataRange
from koopstep.data.cells import Cells
from koopstep.operators.rates import Rates
from koopstep.operators.spectrum import Spectrum

Line = tuple[Sequence[float], Sequence[float]]
"""Values along x, and along y."""


@dataclass(frozen=True)
class Curves:
    """Panels of named lines.

    Attributes:
        file: name of the picture.
        panels: title -> name -> line; colours go by place.
        across: names the horizontal axis.
        up: names the vertical one.
        logarithmic: titles of the panels whose vertical axis is.
        from_zero: whether the vertical axis of the others begins there.
        joined: whether the points of a line are joined; not where they have no order.
        faint: names of lines to compare with, drawn those of wholes, means and the teacher dashed, others wide and pale.
        rings: names of lines drawn as rings alone, around some points of another.
        ordered: titles of the panels whose lines have an order, which their colours show.
        alike: groups of titles of panels whose vertical axes are the same.
        title: over everything.
    """

    file: str
    panels: Mapping[str, Mapping[str, Line]]
    across: str
    up: str = ""
    logarithmic: Collection[str] = ()
    from_zero: bool = True
    joined: bool = True
    faint: Collection[str] = ()
    rings: Collection[str] = ()
    ordered: Collection[str] = ()
    alike: Sequence[Collection[str]] = ()
    title: str = ""


@dataclass(frozen=True)
class Bars:
    """Panels of grouped bars.

    Attributes:
        file: name of the picture.
        panels: title -> name -> one value a group.
        groups: names of the groups.
        up: names the vertical axis.
        spread: name, lower and upper end of a range to compare with; None for none.
        ordered: whether the bars of a group (of a panel, where there is one a group) have an order, which their colours show.
        title: over everything.
    """

    file: str
    panels: Mapping[str, Mapping[str, Sequence[float]]]
    groups: Sequence[str]
    up: str
    spread: tuple[str, float, float] | None = None
    ordered: bool = False
    title: str = ""


@dataclass(frozen=True)
class ImageRow:
    """A row of images.

    Attributes:
        title: at its left; empty for none.
        images: (N, C, H, W): ``images`` in data units, where NaN is white; ``differences`` of them; or maps of ``changes``,
            one plane, 0 or above. Differences share one scale, and so do changes. Planes of data that are neither grey nor
            coloured are shown as tiles.
        kind: which of them.
        skip: places left empty at its left.
        gap: free space above, in places.
        missing: (H, W), pixels of images that are not there; None for none.
    """

    title: str
    images: Tensor
    kind: Literal["images", "differences", "changes"] = "images"
    skip: int = 0
    gap: float = 0.0
    missing: Tensor | None = None


@dataclass(frozen=True)
class Images:
    """Images in labelled rows, column by column the same sample, or row by row.

    Attributes:
        file: name of the picture.
        rows: from top to bottom.
        columns: titles over the columns.
        title: over everything.
        mask: bool (H, W), whose edge is drawn on the maps of changes; None for none.
        data_range: of the images.
        reach: differences are shown from -reach to reach, in data units; None for the largest.
        scale: names the numbers of differences or changes, for their colour bar.
    """

    file: str
    rows: Sequence[ImageRow]
    columns: Sequence[str] = ()
    title: str = ""
    mask: Tensor | None = None
    data_range: DataRange = PLAIN
    reach: float | None = None
    scale: str = ""


def image_rows(sets: Mapping[str, Tensor]) -> list[ImageRow]:
    """Rows of plain images by their titles."""
    return [ImageRow(title, images) for title, images in sets.items()]


@dataclass(frozen=True)
class Pairs:
    """Images above their partners, in bands.

    Attributes:
        file: name of the picture.
        upper: (N, 1 or 3, H, W) in data units.
        lower: of the same shape.
        titles: of the upper and the lower ones.
        data_range: of both.
    """

    file: str
    upper: Tensor
    lower: Tensor
    titles: tuple[str, str] = ("teacher", "student")
    data_range: DataRange = PLAIN


@dataclass(frozen=True)
class Movie:
    """Moving pictures.

    Attributes:
        file: name of the picture.
        sets: (F, N, C, H, W) images or (F, N, 2) points, each set a row (images) or a column (points).
        data_range: of images.
        outcomes: int64 (N,), for the colours of points; dark ones where there are none.
        cells: whose numbers the outcomes are; None where they are other things.
    """

    file: str
    sets: Sequence[Tensor]
    data_range: DataRange = PLAIN
    outcomes: Tensor | None = None
    cells: Cells | None = None


@dataclass(frozen=True)
class Eigenvalues:
    """The eigenvalues of each level.

    Attributes:
        file: name of the picture.
        spectra: one a level.
        passed: bool, one tensor a level as its eigenvalues: which were verified; None, or nothing at all, where unknown.
    """

    file: str
    spectra: Sequence[Spectrum]
    passed: Sequence[Tensor | None] = ()


@dataclass(frozen=True)
class LevelRates:
    """Rates of levels.

    Attributes:
        file: name of the picture.
        what: growth against rotation in the ``plane``, means by place as ``maps``, or how many modes are how fast (``times``).
        names: of the levels.
        rates: of the levels.
        gauge: ``free``, or ``fixed by`` what.
        passed: bool, one tensor a level as its rates: whose eigenvalues were verified; None, or nothing at all, where unknown.
    """

    file: str
    what: Literal["plane", "maps", "times"]
    names: Sequence[str]
    rates: Sequence[Rates]
    gauge: str
    passed: Sequence[Tensor | None] = ()


View = (
    Curves
    | Bars
    | Images
    | Pairs
    | PointPairs
    | PointStrips
    | Fields
    | Clouds
    | Movie
    | Eigenvalues
    | LevelRates
    | ResidualPlanes
    | NoiseSpace
    | OutlierMap
)


@dataclass(frozen=True)
class Caption:
    """What a page says about a view.

    Attributes:
        heading: over it.
        text: how to read it.
        finding: what is seen in it, one plain sentence with its numbers; empty where there is nothing to say.
    """

    heading: str
    text: str
    finding: str = ""


@dataclass(frozen=True)
class Findings:
    """What an analysis found.

    Attributes:
        values: plain numbers, texts, lists and mappings of them, as JSON holds them.
        views: what is to be seen, in order; the first is the one that tells most.
        conclusion: one plain sentence: the main numbers and what they mean, or that nothing was found.
        captions: file of a view -> what a report says about it; views without one are not in reports.
        numbers: the few numbers that people are shown, by name.
    """

    values: dict[str, Any]
    views: Sequence[View]
    conclusion: str
    captions: Mapping[str, Caption] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
