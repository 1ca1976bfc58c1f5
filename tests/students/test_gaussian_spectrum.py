"""A Gaussian's path is linear, so its Koopman eigenvalues are known; a student with linear tied observables finds them.

The eigenvalues of the whole path's map are ``sqrt(v / (v + sigma_max^2))`` for the variances v of the data.
"""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import Tensor

from koopstep.analysis.verify import verify_student
from koopstep.core.config import Config
from koopstep.core.noise import gaussian
from koopstep.core.records import Batch
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.objective import build_objective
from koopstep.nets.linear import LinearConfig
from koopstep.operators.dense import DenseConfig
from koopstep.operators.spectral import SpectralConfig
from koopstep.students.kdm import KDMConfig, build_kdm
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.teachers.analytic import gaussian_teacher
from koopstep.teachers.gaussian_path import gaussian_path_factors

VARIANCES = torch.tensor([1.0, 0.25, 0.04], dtype=torch.float64)
SIGMA_MAX, STEPS = 3.0, 60  # so small a sigma_max keeps the factors apart from 0; so many steps leave no Heun error
# From a start that hardly shrinks (the default), the latent term is lowered first by shrinking the observables, and
# the eigenvalues follow a hundred times slower: start near the path's own contraction, the mean of ln(eigenvalue).
SPECTRAL = SpectralConfig(real_modes=3, initial_rate=-2.0)


@functools.cache
def principal_axes() -> Tensor:
    start = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(start).Q


@functools.cache
def paths() -> tuple[Batch, DataFacts, Tensor]:
    """512 pairs of the teacher, and the analytic eigenvalues, smallest first."""
    axes = principal_axes()
    teacher = gaussian_teacher(torch.zeros(3), axes * VARIANCES @ axes.T, sigma_max=SIGMA_MAX)
    noise = gaussian(0, range(512), (3,))
    path = teacher.path(noise, steps=STEPS)
    batch = Batch(noise, path[[0, -1]], torch.tensor([0.0, 1.0])).to("cpu", torch.float64)
    facts = DataFacts(shape=(3,), noise_scale=teacher.noise_scale, data_scale=teacher.data_scale)
    levels = torch.tensor(teacher.levels(STEPS), dtype=torch.float64)
    return batch, facts, gaussian_path_factors(VARIANCES, levels)[-1].sort().values


def trained(operator: Config, *, tied: bool, seed: int = 0) -> KoopmanStudent:
    """A linear student after a few hundred steps of L-BFGS on the terms prediction and latent."""
    batch, facts, _ = paths()
    config = KDMConfig(
        encoder=LinearConfig(),
        decoder=LinearConfig(),
        operator=operator,  # type: ignore[arg-type]
        latent=3,
        tied=tied,
    )
    student = build_kdm(config, facts, seed).double()
    objective = build_objective(ObjectiveConfig(reconstruction=0.0, latent=1.0, prediction=1.0))
    optimizer = torch.optim.LBFGS(
        student.parameters(),
        max_iter=600,
        history_size=30,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-9,
        tolerance_change=1e-15,
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective.total(objective.terms(objective.run(student, batch, 0)))
        loss.backward()
        return loss

    optimizer.step(closure)
    return student.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("operator", "seed"),
    [(SPECTRAL, 0), (SPECTRAL, 1), (SPECTRAL, 2), (DenseConfig(), 0)],
    ids=["spectral", "spectral-second-start", "spectral-third-start", "dense"],
)
def test_eigenvalues_are_the_analytic_ones(operator: Config, seed: int) -> None:
    student = trained(operator, tied=True, seed=seed)
    _, facts, analytic = paths()
    (spectrum,) = student.spectrum()
    assert spectrum.gauge == "fixed"
    learned = spectrum.eigenvalues
    assert float(learned.imag.abs().max()) < 1e-6
    torch.testing.assert_close(learned.real.sort().values, analytic, rtol=0.01, atol=0)
    # and the modes are the data's principal axes: the map in state space is axes diag(eigenvalues) axes^T
    axes = principal_axes()
    basis = torch.eye(3, dtype=torch.float64)
    in_state_space = student.generate(basis / facts.noise_scale)
    order = gaussian_path_factors(VARIANCES, torch.tensor([SIGMA_MAX, 0.0]))[-1]
    torch.testing.assert_close(in_state_space, axes * order @ axes.T, rtol=0, atol=2e-3)


def test_eigenvalues_of_separate_encoders_are_free() -> None:
    """The control: the same data, the same samples, but the eigenvalues are whatever the training left."""
    batch, _, analytic = paths()
    spectra = []
    for operator in (SPECTRAL, DenseConfig()):
        student = trained(operator, tied=False)
        (spectrum,) = student.spectrum()
        assert (spectrum.gauge, spectrum.pinned_by) == ("free", "")
        error = (student.generate(batch.noise) - batch.data).square().mean()
        assert float(error) < 1e-6  # as good a student as the tied one
        spectra.append(spectrum.eigenvalues.abs().sort().values)
    assert all(float(((moduli - analytic) / analytic).abs().max()) > 0.1 for moduli in spectra)
    assert float((spectra[0] - spectra[1]).abs().max()) > 0.1


@pytest.mark.parametrize("operator", [SPECTRAL, DenseConfig()], ids=["spectral", "dense"])
def test_the_eigenvalues_are_verified_and_those_of_a_perturbed_operator_are_not(operator: Config) -> None:
    student, (batch, _, _) = trained(operator, tied=True), paths()
    found = verify_student(student, batch, {})
    (judged,) = found.known
    assert judged.moves.all() and judged.count(judged.passed) == 3 and not judged.control.any()
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        wrong = copy.deepcopy(student)
        for parameter in wrong.operators.parameters():
            shift = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.5 * shift * (1 + parameter.abs()))
        (judged,) = verify_student(wrong, batch, {}).known
        assert not judged.passed.any()
