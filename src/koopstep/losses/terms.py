"""The terms of an objective, one pure function each, over one lazily computed pass: KDM's (Eqs. 4 to 9) and the table.

Those of whole paths are in ``losses.trajectory``. To add a term: a function of a :class:`Pass`, a line in :data:`TERMS`,
a weight in ``ObjectiveConfig``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from koopstep.losses import trajectory
from koopstep.losses.passes import Judged
from koopstep.losses.passes import Pass as Pass
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
    if run.critic is None:
        raise RuntimeError("the adversarial term needs a critic")
    samples, labels, real = judged
    with torch.no_grad():
        of_real = run.critic(*real) if run.adversary.pairs else None
    return run.adversary.student(run.critic(samples, labels), of_real)


def spectral(run: Pass) -> Tensor:
    """A penalty on the operators' eigenvalues (KDM App. C, 'EL'); which one is ``spectral_target``."""
    total = []
    for operator in run.student.operators:
        real, imaginary = operator.controlled_eigenvalues()
        if run.spectral_target == "uniform":
            total.append(penalties.uniform_target_penalty(real, imaginary, run.seed))
        elif run.spectral_target == "circle":
            total.append(penalties.unit_circle_penalty(real, imaginary))
        else:
            total.append(penalties.bound_penalty(real, imaginary))
    return torch.stack(total).mean()


def inverse_consistency(run: Pass) -> Tensor:
    """How far ``P_inv`` of a factorised operator is from the inverse of ``P`` (published code; not in the paper)."""
    parts = [operator.inverse_consistency() for operator in run.student.operators]
    return torch.stack(parts).mean()


TERMS: dict[str, Callable[[Pass], Tensor]] = {
    "reconstruction": reconstruction,
    "latent": latent,
    "prediction": prediction,
    "adversarial": adversarial,
    "adversarial_within": adversarial_within,
    "spectral": spectral,
    "inverse_consistency": inverse_consistency,
    "trajectory": trajectory.trajectory,
    "intermediate": trajectory.intermediate,
    "linearity": trajectory.linearity,
    "generator": trajectory.generator,
}
