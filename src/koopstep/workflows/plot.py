"""``koopstep.plot``: every picture of a run, on axes of one's own.

A function for each: ``koopstep.plot.spectrum(run, ax=axes)`` draws on the axes and returns their figure; without axes the
figure is new, and pyplot knows nothing of it (``figure.savefig(...)`` writes it, a notebook shows it).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from koopstep.analysis.findings import Clouds, Images, Movie, View, image_rows
from koopstep.analysis.pairs import pairs_view
from koopstep.core.arguments import AnyDevice, AnyPath, checked
from koopstep.core.errors import KoopstepError, UsageError
from koopstep.core.job import Job, working
from koopstep.data.reference import RealData
from koopstep.figures.draw import draw_on
from koopstep.figures.lines import losses as loss_view
from koopstep.runs.folder import read_config, read_metrics
from koopstep.runs.subject import RunSubject
from koopstep.sampling.onestep import generate
from koopstep.workflows.analyses import ANALYSES, Entry
from koopstep.workflows.analyze import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN_BY = {view: name for name, entry in ANALYSES.items() for view in entry.views}
__all__ = ["losses", "samples", *_SHOWN_BY]
_PAIRS, _ALONE = 40, 2000


@checked
def losses(run: AnyPath, ax: Axes | None = None) -> Figure:
    """Each term of the objective over the steps of the training.

    Args:
        run: a run, or its folder; it need not be finished.
        ax: where to draw; a new figure when absent.

    Raises:
        UsageError: if nothing was logged yet.
    """
    read_config(Path(run))  # a folder that is no run is refused as such
    return draw_on(loss_view(read_metrics(Path(run))), ax)


@checked
def samples(
    run: AnyPath,
    ax: Axes | Sequence[Axes] | None = None,
    *,
    data: AnyPath | None = None,
    device: AnyDevice | None = None,
    quiet: bool = False,
    job: Job | None = None,
) -> Figure:
    """The student's samples beside the teacher's from the same noise, which training never saw.

    Where no store is at hand, the student's alone.

    Args:
        run: a run, its folder, or a student's folder.
        ax: where to draw, or as many axes as the picture has panels; a new figure when absent.
        data: the store whose held-out rows are shown; the run's own when absent.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.
    """
    with working(job, device, quiet) as job:
        subject = RunSubject(Path(run), job=job, data=None if data is None else Path(data))
        return draw_on(samples_view(subject, alone=data is None), ax)


def samples_view(subject: RunSubject, *, alone: bool = False) -> View:
    """Held-out samples of teacher and student; where ``alone`` is allowed and there are none, the student's."""
    facts = subject.student.facts
    image = len(facts.shape) == 3
    try:
        subject.held_out()
    except KoopstepError:
        if not alone:
            raise
        own, _ = generate(subject.student, _PAIRS if image else _ALONE, 0)
        if image:
            return Images("samples.png", image_rows({"student": own}), data_range=facts.shown_range)
        return Clouds("samples.png", {"student": own})
    return pairs_view(subject, _PAIRS)


_TEXT = """The picture {name!r} of the analysis {what!r}: {about}.

    Args:
        run: a run, its folder, or a student's folder.
        ax: where to draw: axes, which several panels share out among them, or as many as the picture has panels; a new
            figure when absent.
        data: the store whose held-out rows are looked at; the run's own when absent.
        reference: real data to look at beside; what the teacher learned from when absent.
        device: ``cpu``, ``cuda`` or ``cuda:N``; where None, ``$KOOPSTEP_DEVICE``, else CUDA where present.
        quiet: no words on standard error.
        job: in place of ``device`` and ``quiet``, for those who have one.

    Returns:
        The figure that the axes are on.

    Raises:
        UsageError: the analysis does not fit the student or the data, or has no such picture of them.

    Example:
        >>> koopstep.plot.{name}("run").savefig("{name}.png")
    """


def _named(name: str) -> Callable[..., Figure]:
    """The function ``koopstep.plot.NAME``."""
    what = _SHOWN_BY[name]
    entry = ANALYSES[what]

    def made(
        run: AnyPath,
        ax: Axes | Sequence[Axes] | None = None,
        *,
        data: AnyPath | None = None,
        reference: RealData | None = None,
        device: AnyDevice | None = None,
        quiet: bool = False,
        job: Job | None = None,
    ) -> Figure:
        with working(job, device, quiet) as job:
            subject = RunSubject(Path(run), job=job, data=None if data is None else Path(data), reference=reference)
            return draw_on(_view(subject, name, what, entry), ax)

    made.__name__ = made.__qualname__ = name
    made.__doc__ = _TEXT.format(name=name, what=what, about=entry.about)
    return checked(made)


def _view(subject: RunSubject, name: str, what: str, entry: Entry) -> View:
    """The picture of this name; of a film and a strip of one name, the strip."""
    require(entry, subject)
    shown = {Path(view.file).stem: view for view in sorted(entry.find(subject).views, key=_still_last)}
    if name not in shown:
        raise UsageError(f"{what} has no picture {name!r} of this run; it has {', '.join(shown)}")
    return shown[name]


def _still_last(view: View) -> bool:
    return not isinstance(view, Movie)


globals().update({name: _named(name) for name in _SHOWN_BY})


def __getattr__(name: str) -> Callable[..., Figure]:
    close = difflib.get_close_matches(name, __all__, n=1)
    known = f"did you mean {close[0]}?" if close else f"it has {', '.join(__all__)}"
    raise AttributeError(f"koopstep.plot has no {name!r}; {known}")


def __dir__() -> list[str]:
    return list(__all__)
