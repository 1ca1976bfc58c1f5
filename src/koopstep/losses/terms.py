"""The terms of an objective, one pure function each, over one lazily computed pass: KDM's (Eqs. 4 to 9) and the table.

Those of whole paths are in ``losses.trajectory`` and ``losses.states``. To add a term: a function of a :class:`Pass`, a line
in :data:`TERMS`, and the weight of that name in ``losses.config``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from koopstep.core.arguments import checked
from koopstep.core.errors import UsageError
from koopstep.core.explain import IMPORT_FIRST, nearest
from koopstep.core.registry import add, origin_of
from koopstep.core.user_code import guarded
from koopstep.losses import states, trajectory
from koopstep.losses.config import OWN_WEIGHTS, ObjectiveConfig
from koopstep.losses.passes import Judged, Pass
from koopstep.operators import penalties


def reconstruction(run: Pass) -> Tensor:
    """KDM Eq. 5: ``d(x_0, D(E_0(x_0)))``."""
    return run.to_data(run.reconstructed)


def latent(run: Pass) -> Tensor:
    """KDM Eq. 6: mean squared difference of ``E_0(x_0)`` and ``C E_T(x_T)``."""
    pairs = zip(run.clean_data_latent, run.pushed, strict=True)
    return torch.stack([functional.mse_loss(pushed, target) for target, pushed in pairs]).mean()


def prediction(run: Pass) -> Tensor:
    """KDM Eq. 7: ``d(x_0, D(C E_T(x_T)))``."""
    return run.to_data(run.predicted)


def adversarial(run: Pass) -> Tensor:
    """KDM Eq. 8, the student's side of the game; only the student gets its gradient."""
    return _fooling(run, run.judged)


def adversarial_within(run: Pass) -> Tensor:
    """The same for the samples of :func:`trajectory`.

    Not in the papers: squared error alone makes a mean of them, from which neither a further step nor an edit can start.
    """
    return _fooling(run, run.judged_within)


def _fooling(run: Pass, judged: Judged) -> Tensor:
    if run.discriminator is None:
        raise RuntimeError("the adversarial term needs a discriminator")
    samples, labels, real = judged
    with torch.no_grad():
        of_real = run.discriminator(*real) if run.adversarial_loss.pairs else None
    return run.adversarial_loss.student(run.discriminator(samples, labels), of_real)


def spectral(run: Pass) -> Tensor:
    """A penalty on the operators' eigenvalues (KDM App. C, 'EL'); which one is ``spectral_target``."""
    total = []
    for operator in run.student.operators:
        real, imaginary = operator.controlled_eigenvalues()
        if run.config.spectral_target == "uniform":
            total.append(penalties.uniform_target_penalty(real, imaginary, run.seed))
        elif run.config.spectral_target == "circle":
            total.append(penalties.unit_circle_penalty(real, imaginary))
        else:
            total.append(penalties.bound_penalty(real, imaginary))
    return torch.stack(total).mean()


def inverse_consistency(run: Pass) -> Tensor:
    """How far ``P_inv`` of a factorised operator is from the inverse of ``P`` (published code; not in the paper)."""
    parts = [operator.inverse_consistency() for operator in run.student.operators]
    return torch.stack(parts).mean()


@dataclass(frozen=True)
class Term:
    """A term of an objective.

    Attributes:
        value: its unweighted value on one pass, a scalar and a mean over rows.
        within: whether it learns from states within the path.
        judged: what it shows the discriminator; None where it needs none.
    """

    value: Callable[[Pass], Tensor]
    within: bool = False
    judged: Callable[[Pass], Judged] | None = None


TERMS: dict[str, Term] = {
    "reconstruction": Term(reconstruction),
    "latent": Term(latent),
    "prediction": Term(prediction),
    "adversarial": Term(adversarial, judged=lambda run: run.judged),
    "adversarial_within": Term(adversarial_within, within=True, judged=lambda run: run.judged_within),
    "spectral": Term(spectral),
    "inverse_consistency": Term(inverse_consistency),
    "trajectory": Term(trajectory.trajectory, within=True),
    "intermediate": Term(trajectory.intermediate, within=True),
    "linearity": Term(trajectory.linearity, within=True),
    "generator": Term(trajectory.generator, within=True),
    "states": Term(states.states, within=True),
    "states_within": Term(states.states_within, within=True),
    "inversion": Term(states.inversion, within=True),
    "sparsity": Term(states.sparsity),
    "apart": Term(states.apart),
}


_BUILT_IN = frozenset(TERMS)
Made = TypeVar("Made", bound=Callable[[Pass], Tensor])


@checked
def register_term(name: str, *, weight: float = 1.0, within: bool = False) -> Callable[[Made], Made]:
    """Decorator: recipes know a function of a :class:`~koopstep.losses.passes.Pass` as a term of the objective.

    It gives a scalar, a mean over rows, that a student makes small. A recipe turns it on: ``objective: {terms: {name: 0.1}}``,
    or ``-o objective.terms.name=0.1``.

    Args:
        name: small letters, digits, ``-`` and ``_``.
        weight: what ``objective: {terms: [name]}`` stands for.
        within: whether it learns from states within the path (``run.points``), which a store must then have.

    Raises:
        UsageError: the name is taken, or the weight is not above 0.
    """
    if not 0 < weight < float("inf"):
        raise UsageError(f"the weight of the term {name!r} must be above 0, got {weight}")

    def register(made: Made) -> Made:
        add("term", TERMS, name, Term(guarded(f"the term {name!r}", made), within), origin_of(made))
        add("weight", OWN_WEIGHTS, name, float(weight), origin_of(made))
        return made

    return register


def chosen(config: ObjectiveConfig) -> dict[str, Term]:
    """The terms whose weight is above 0.

    Raises:
        UsageError: one is not known.
    """
    for name in config.terms:
        if name in _BUILT_IN:
            raise UsageError(f"objective.terms is for registered terms; {name!r} is built in: set objective.{name}")
        if name not in TERMS:
            own = [known for known in TERMS if known not in _BUILT_IN]
            raise UsageError(f"unknown term {name!r} in objective.terms; {nearest(name, own)}; {IMPORT_FIRST}")
    return {name: term for name, term in TERMS.items() if config.weight(name)}
