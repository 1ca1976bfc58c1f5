"""koopstep: one-step generators from diffusion and flow-matching teachers, by a linear (Koopman) evolution.

    import koopstep as ks

    teacher = ks.load_teacher("digits-edm")
    store = ks.collect(teacher, "paths", count=20_000, keep="all")
    run = ks.distil(teacher, "run", store=store, method="modes", steps=2_000)
    images = run.student.sample(16, seed=0)
    scores = run.evaluate()

The public names are those of ``__all__``. Each is imported when it is first asked for, so that
``import koopstep`` costs nothing and the command line starts without PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koopstep.core.errors import DamagedError, Interrupted, KoopstepError, NumericsError, StorageError, UsageError
    from koopstep.data.collect import CollectSettings
    from koopstep.data.store import Store
    from koopstep.evaluation.metrics import register_metric
    from koopstep.evaluation.outcome import Evaluation
    from koopstep.losses.config import ObjectiveConfig
    from koopstep.losses.terms import register_term
    from koopstep.nets.adm import ADMConfig
    from koopstep.nets.linear import LinearConfig
    from koopstep.nets.mlp import MLPConfig
    from koopstep.nets.table import register_network
    from koopstep.nets.unet import UNetConfig
    from koopstep.operators.base import Operator
    from koopstep.operators.block import BlockConfig
    from koopstep.operators.dense import DenseConfig
    from koopstep.operators.factorised import FactorisedConfig
    from koopstep.operators.identity import IdentityConfig
    from koopstep.operators.modes import ModesOperatorConfig
    from koopstep.operators.spectral import SpectralConfig
    from koopstep.operators.table import register_operator
    from koopstep.recipes.layers import register_method
    from koopstep.recipes.recipe import Recipe, load_recipe
    from koopstep.sampling.student import Student
    from koopstep.students.decomposition import ModeDecomposition
    from koopstep.students.hkd import HKDConfig
    from koopstep.students.kdm import KDMConfig
    from koopstep.students.modes import ModesConfig
    from koopstep.teachers.analytic import gaussian_teacher, mixture_teacher
    from koopstep.teachers.base import Teacher
    from koopstep.teachers.diffusers.teacher import from_diffusers
    from koopstep.teachers.functions import from_denoiser, from_epsilon, from_velocity
    from koopstep.training.settings import TrainingConfig
    from koopstep.workflows import analyze, edit, plot
    from koopstep.workflows.analyses import register_analysis
    from koopstep.workflows.collect import collect, repair
    from koopstep.workflows.distil import distil, distill
    from koopstep.workflows.evaluate import evaluate
    from koopstep.workflows.import_pairs import import_pairs
    from koopstep.workflows.load_teacher import load_teacher
    from koopstep.workflows.report import report
    from koopstep.workflows.run import Run
    from koopstep.workflows.teacher import train_teacher
    from koopstep.workflows.train import train

    __version__: str

__all__ = [
    "ADMConfig",
    "BlockConfig",
    "CollectSettings",
    "DamagedError",
    "DenseConfig",
    "Evaluation",
    "FactorisedConfig",
    "HKDConfig",
    "IdentityConfig",
    "Interrupted",
    "KDMConfig",
    "KoopstepError",
    "LinearConfig",
    "MLPConfig",
    "ModeDecomposition",
    "ModesConfig",
    "ModesOperatorConfig",
    "NumericsError",
    "ObjectiveConfig",
    "Operator",
    "Recipe",
    "Run",
    "SpectralConfig",
    "StorageError",
    "Store",
    "Student",
    "Teacher",
    "TrainingConfig",
    "UNetConfig",
    "UsageError",
    "__version__",
    "analyze",
    "collect",
    "distil",
    "distill",
    "edit",
    "evaluate",
    "from_denoiser",
    "from_diffusers",
    "from_epsilon",
    "from_velocity",
    "gaussian_teacher",
    "import_pairs",
    "load_recipe",
    "load_teacher",
    "mixture_teacher",
    "plot",
    "register_analysis",
    "register_method",
    "register_metric",
    "register_network",
    "register_operator",
    "register_term",
    "repair",
    "report",
    "train",
    "train_teacher",
]

_HOMES = {
    "ADMConfig": "koopstep.nets.adm",
    "BlockConfig": "koopstep.operators.block",
    "CollectSettings": "koopstep.data.collect",
    "DamagedError": "koopstep.core.errors",
    "DenseConfig": "koopstep.operators.dense",
    "Evaluation": "koopstep.evaluation.outcome",
    "FactorisedConfig": "koopstep.operators.factorised",
    "HKDConfig": "koopstep.students.hkd",
    "IdentityConfig": "koopstep.operators.identity",
    "Interrupted": "koopstep.core.errors",
    "KDMConfig": "koopstep.students.kdm",
    "KoopstepError": "koopstep.core.errors",
    "LinearConfig": "koopstep.nets.linear",
    "MLPConfig": "koopstep.nets.mlp",
    "ModeDecomposition": "koopstep.students.decomposition",
    "ModesConfig": "koopstep.students.modes",
    "ModesOperatorConfig": "koopstep.operators.modes",
    "NumericsError": "koopstep.core.errors",
    "ObjectiveConfig": "koopstep.losses.config",
    "Operator": "koopstep.operators.base",
    "Recipe": "koopstep.recipes.recipe",
    "Run": "koopstep.workflows.run",
    "SpectralConfig": "koopstep.operators.spectral",
    "StorageError": "koopstep.core.errors",
    "Store": "koopstep.data.store",
    "Student": "koopstep.sampling.student",
    "Teacher": "koopstep.teachers.base",
    "TrainingConfig": "koopstep.training.settings",
    "UNetConfig": "koopstep.nets.unet",
    "UsageError": "koopstep.core.errors",
    "analyze": "koopstep.workflows",
    "collect": "koopstep.workflows.collect",
    "distil": "koopstep.workflows.distil",
    "distill": "koopstep.workflows.distil",
    "edit": "koopstep.workflows",
    "evaluate": "koopstep.workflows.evaluate",
    "from_denoiser": "koopstep.teachers.functions",
    "from_diffusers": "koopstep.teachers.diffusers.teacher",
    "from_epsilon": "koopstep.teachers.functions",
    "from_velocity": "koopstep.teachers.functions",
    "gaussian_teacher": "koopstep.teachers.analytic",
    "import_pairs": "koopstep.workflows.import_pairs",
    "load_recipe": "koopstep.recipes.recipe",
    "load_teacher": "koopstep.workflows.load_teacher",
    "mixture_teacher": "koopstep.teachers.analytic",
    "plot": "koopstep.workflows",
    "register_analysis": "koopstep.workflows.analyses",
    "register_method": "koopstep.recipes.layers",
    "register_metric": "koopstep.evaluation.metrics",
    "register_network": "koopstep.nets.table",
    "register_operator": "koopstep.operators.table",
    "register_term": "koopstep.losses.terms",
    "repair": "koopstep.workflows.collect",
    "report": "koopstep.workflows.report",
    "train": "koopstep.workflows.train",
    "train_teacher": "koopstep.workflows.teacher",
}
# names of version 0.1, which are found but not listed
_EARLIER = {
    "KoopmanStudent": "koopstep.students.student",
    "TrajectoryStore": "koopstep.data.store",
    "generate": "koopstep.sampling.onestep",
    "load_student": "koopstep.students.files",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif _HOMES.get(name) == "koopstep.workflows":  # a namespace of functions
        value = import_module(f"koopstep.workflows.{name}")
    elif name in _HOMES or name in _EARLIER:
        value = getattr(import_module(_HOMES.get(name) or _EARLIER[name]), name)
    else:
        raise AttributeError(f"module 'koopstep' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


def _version() -> str:
    """The installed version; a source tree that was never installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("koopstep")
    except PackageNotFoundError:
        return "0+source"
