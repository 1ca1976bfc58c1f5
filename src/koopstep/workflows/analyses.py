"""The table of analyses: what commands, their help, the documentation and reports know of them.

To add one: a function in a file of its own that makes findings of a subject, and an entry here. Importing this table costs
nothing; each function imports its analysis when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from koopstep.core.errors import UsageError

if TYPE_CHECKING:
    from koopstep.analysis.findings import Findings
    from koopstep.runs.subject import RunSubject

Need = Literal["held-out rows", "path", "rates", "modes", "points", "outcomes"]
"""What an analysis needs: held-out rows of a store; a student that knows its path; modes with rates; modes that are pictures;
data in the plane; data in the plane or with classes."""


@dataclass(frozen=True)
class Entry:
    """An analysis.

    Attributes:
        about: one line of help.
        needs: what must be at hand; :func:`koopstep.workflows.analyze.require` says so plainly where it is not.
        find: makes the findings.
        views: names of the pictures that it may show, without their endings; which ones depends on student and data.
        passes: samples of the student it makes, about, for each row it looks at: a report leaves out what would take too long.
        teacher: whether it looks at the teacher too, which may then be given.
        others: whether it compares with other runs, which may then be named.
    """

    about: str
    needs: tuple[Need, ...]
    find: Callable[[RunSubject], Findings]
    views: tuple[str, ...] = ()
    passes: int = 10
    teacher: bool = False
    others: bool = False


def _modes(subject: RunSubject) -> Findings:
    from koopstep.analysis.mode_pictures import mode_findings

    return mode_findings(subject)


def _spectrum(subject: RunSubject) -> Findings:
    from koopstep.analysis.rates import spectrum

    return spectrum(subject)


def _verify(subject: RunSubject) -> Findings:
    from koopstep.analysis.verify import verify

    return verify(subject)


def _bands(subject: RunSubject) -> Findings:
    from koopstep.analysis.band_findings import bands

    return bands(subject)


def _cumulative(subject: RunSubject) -> Findings:
    from koopstep.analysis.cumulative import along_the_path

    return along_the_path(subject)


def _linearity(subject: RunSubject) -> Findings:
    from koopstep.analysis.linearity import straightness

    return straightness(subject)


def _steps(subject: RunSubject) -> Findings:
    from koopstep.workflows.analyze_steps import steps

    return steps(subject)


def _inversion(subject: RunSubject) -> Findings:
    from koopstep.analysis.inversion_findings import back_to_noise

    return back_to_noise(subject)


def _trajectory(subject: RunSubject) -> Findings:
    from koopstep.analysis.trajectory import beside_the_teacher

    return beside_the_teacher(subject)


def _vicinity(subject: RunSubject) -> Findings:
    from koopstep.analysis.vicinity import moved_noise

    return moved_noise(subject)


def _outliers(subject: RunSubject) -> Findings:
    from koopstep.analysis.outliers import between_cells

    return between_cells(subject)


def _neighbours(subject: RunSubject) -> Findings:
    from koopstep.analysis.neighbours import by_outcome

    return by_outcome(subject)


ANALYSES: dict[str, Entry] = {
    "modes": Entry(
        "each Koopman mode as a picture: its energy, half-life and period, and what it adds along the path",
        ("modes", "held-out rows"),
        _modes,
        views=("modes", "modes_pictures", "modes_along", "modes_spectrum", "modes_rates"),
        passes=3,
    ),
    "spectrum": Entry(
        "eigenvalues of the operator on the unit circle, and what they may be taken for",
        (),
        _spectrum,
        views=("spectrum", "times", "rate_maps", "band_effects"),
        passes=4,
    ),
    "verify": Entry(
        "which eigenvalues are real: residuals, pseudospectrum, forecasts, agreement",
        ("held-out rows",),
        _verify,
        views=("verify", "verify_forecast", "verify_agreement"),
        passes=25,
        others=True,
    ),
    "bands": Entry(
        "thirds of the modes, kept alone and dropped",
        ("rates", "held-out rows"),
        _bands,
        views=("bands_real", "bands_modulus", "bands_frequency", "bands_by_level", "bands_profile"),
        passes=30,
    ),
    "cumulative": Entry(
        "each band's share and effect along the path",
        ("rates", "path", "held-out rows"),
        _cumulative,
        views=("cumulative",),
        passes=60,
    ),
    "linearity": Entry(
        "whether the latent path is straight and true",
        ("path", "held-out rows"),
        _linearity,
        views=("linearity",),
        passes=6,
    ),
    "steps": Entry(
        "quality against the number of steps",
        ("path", "held-out rows"),
        _steps,
        views=("steps", "steps_samples"),
        passes=45,
    ),
    "trajectory": Entry(
        "a film of the path, beside the teacher's",
        ("path", "held-out rows"),
        _trajectory,
        views=("trajectory",),
        passes=14,
    ),
    "inversion": Entry(
        "samples back to their noise and forth again; whether that noise is noise",
        ("path", "held-out rows"),
        _inversion,
        views=("inversion", "inversion_noise"),
        passes=4,
    ),
    "vicinity": Entry(
        "what becomes of noise that is moved a little, for teacher and student",
        ("held-out rows",),
        _vicinity,
        views=("vicinity", "vicinity_samples"),
        passes=40,
        teacher=True,
    ),
    "outliers": Entry(
        "samples that lie apart (DBSCAN, eps 0.15), and where their noise lies",
        ("points", "held-out rows"),
        _outliers,
        views=("outliers",),
        passes=4,
    ),
    "neighbours": Entry(
        "noise space coloured by what it becomes; do near points share an outcome, are samples copies",
        ("outcomes", "held-out rows"),
        _neighbours,
        views=("noise_space", "nearest_real"),
        passes=4,
    ),
}


Made = TypeVar("Made", bound="Callable[[RunSubject], Findings]")


def register_analysis(name: str, *, about: str, needs: Sequence[Need] = ()) -> Callable[[Made], Made]:
    """Decorator: ``analyze`` knows a function from a run to findings.

    Args:
        name: small letters, digits, ``-`` and ``_``.
        about: one line of help.
        needs: what must be at hand for it.

    Raises:
        UsageError: the name is taken, or there is no such need.
    """
    from koopstep.core.registry import add, origin_of
    from koopstep.core.user_code import guarded

    if not isinstance(about, str) or not isinstance(needs, list | tuple):
        raise UsageError(f"of the analysis {name!r}, about is one line of text and needs a list")
    for need in needs:
        if need not in get_args(Need):
            raise UsageError(f"the analysis {name!r} cannot need {need!r}; known: {', '.join(get_args(Need))}")

    def register(made: Made) -> Made:
        add(
            "analysis",
            ANALYSES,
            name,
            Entry(about, tuple(needs), guarded(f"the analysis {name!r}", made)),
            origin_of(made),
        )
        return made

    return register


def find_entry(name: str) -> Entry:
    """The entry of an analysis.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in ANALYSES:
        raise UsageError(f"unknown analysis {name!r}; known: {', '.join(ANALYSES)}")
    return ANALYSES[name]
