"""koopstep: one-step generators from diffusion and flow-matching teachers, by a linear (Koopman) evolution.

The public names are those of ``__all__``. Each is imported when it is first asked for, so that
``import koopstep`` costs nothing and the command line starts without PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koopstep.core.errors import KoopstepError
    from koopstep.data.collect import CollectSettings, collect
    from koopstep.data.store import TrajectoryStore
    from koopstep.evaluation.outcome import Evaluation
    from koopstep.sampling.onestep import generate
    from koopstep.sampling.student import Student
    from koopstep.students.files import load_student
    from koopstep.students.student import KoopmanStudent
    from koopstep.teachers.analytic import gaussian_teacher, mixture_teacher
    from koopstep.teachers.diffusers.teacher import from_diffusers
    from koopstep.teachers.functions import from_denoiser, from_epsilon, from_velocity
    from koopstep.workflows.evaluate import evaluate
    from koopstep.workflows.run import Run
    from koopstep.workflows.teacher_source import load_teacher

    __version__: str

__all__ = [
    "CollectSettings",
    "Evaluation",
    "KoopmanStudent",
    "KoopstepError",
    "Run",
    "Student",
    "TrajectoryStore",
    "__version__",
    "collect",
    "evaluate",
    "from_denoiser",
    "from_diffusers",
    "from_epsilon",
    "from_velocity",
    "gaussian_teacher",
    "generate",
    "load_student",
    "load_teacher",
    "mixture_teacher",
]

_HOMES = {
    "CollectSettings": "koopstep.data.collect",
    "Evaluation": "koopstep.evaluation.outcome",
    "KoopmanStudent": "koopstep.students.student",
    "KoopstepError": "koopstep.core.errors",
    "Run": "koopstep.workflows.run",
    "Student": "koopstep.sampling.student",
    "TrajectoryStore": "koopstep.data.store",
    "collect": "koopstep.data.collect",
    "evaluate": "koopstep.workflows.evaluate",
    "from_denoiser": "koopstep.teachers.functions",
    "from_diffusers": "koopstep.teachers.diffusers.teacher",
    "from_epsilon": "koopstep.teachers.functions",
    "from_velocity": "koopstep.teachers.functions",
    "gaussian_teacher": "koopstep.teachers.analytic",
    "generate": "koopstep.sampling.onestep",
    "load_student": "koopstep.students.files",
    "load_teacher": "koopstep.workflows.teacher_source",
    "mixture_teacher": "koopstep.teachers.analytic",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'koopstep' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """The installed version; a source tree that was never installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("koopstep")
    except PackageNotFoundError:
        return "0+source"
