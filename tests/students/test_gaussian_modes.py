"""A student of modes finds the Koopman modes of a Gaussian that are known in closed form: rates and pictures within 1 %."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from koopstep.core.noise import gaussian
from koopstep.core.records import Batch
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.objective import build_objective
from koopstep.nets.linear import LinearConfig
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.table import NetworkConfig
from koopstep.operators.modes import ModesOperator, ModesOperatorConfig
from koopstep.operators.variable_projection import fit_exponentials
from koopstep.students.modes import ModesCodec, ModesConfig, build_modes
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.teachers.analytic import gaussian_teacher
from koopstep.teachers.gaussian_path import gaussian_modes

STEPS, ROWS = 12, 128
U = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)


def covariance(*variances: float) -> Tensor:
    start = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = torch.linalg.qr(start).Q
    full = basis * torch.tensor(variances, dtype=torch.float64) @ basis.T
    return (full + full.T) / 2


def paths(mean: Tensor, spread: Tensor, sigma_max: float, spacing: str) -> tuple[Batch, DataFacts]:
    teacher = gaussian_teacher(mean, spread, sigma_max=sigma_max, solver="exact", spacing=spacing)  # type: ignore[arg-type]
    noise = gaussian(0, range(ROWS), (3,)).double()
    states = torch.stack(list(teacher.states(noise, None, STEPS)))
    facts = DataFacts(
        shape=(3,),
        noise_scale=teacher.noise_scale,
        data_scale=teacher.data_scale,
        progress=tuple(U.tolist()),
        levels=teacher.levels(STEPS),
    )
    return Batch(noise, states, U), facts


def trained(
    batch: Batch, facts: DataFacts, network: NetworkConfig, modes: ModesOperatorConfig, seed: int
) -> KoopmanStudent:
    """A student after some hundred steps of L-BFGS on the states of all rows."""
    torch.manual_seed(seed)
    student = build_modes(ModesConfig(network=network, operator=modes, within=False), facts, seed).double()
    assert isinstance(student.codec, ModesCodec)
    torch.nn.init.zeros_(student.codec.clean_share)  # the other start ends in a lesser minimum of so few rows
    objective = build_objective(ObjectiveConfig(reconstruction=0.0, latent=0.0, prediction=1.0, states=5.0))
    optimizer = torch.optim.LBFGS(
        student.parameters(),
        max_iter=300,
        history_size=50,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-12,
        tolerance_change=1e-18,
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective.total(objective.terms(objective.run(student, batch, 0)))
        loss.backward()
        return loss

    optimizer.step(closure)
    return student.eval().requires_grad_(False)


def modes_of(student: KoopmanStudent, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Growth and rotation (M,), and the images (M, B, D) at the noise."""
    (operator,) = student.operators
    assert isinstance(operator, ModesOperator)
    assert isinstance(student.codec, ModesCodec)
    images = student.codec.images(student.encode(batch.states[0], 0.0))
    alpha, beta = operator.mode_rates()
    return alpha, beta, images[:, 0].transpose(0, 1)


def size(picture: Tensor) -> float:
    return float(picture.square().mean().sqrt())


@pytest.mark.parametrize(
    ("network", "mean"),
    [(LinearConfig(), torch.zeros(3)), (MLPConfig(width=16, depth=2), torch.tensor([1.0, -0.5, 0.3]))],
    ids=["linear", "mlp"],
)
def test_one_variance_one_decaying_mode(network: NetworkConfig, mean: Tensor) -> None:
    """``c_0 = mean``, and what is left of the noise, ``x_T - mean``, decays at the analytic rate."""
    mean = mean.double()
    spread = covariance(0.5, 0.5, 0.5)
    batch, facts = paths(mean, spread, 10.0, "exponential")
    known = gaussian_modes(mean, spread, 10.0)
    start = ModesOperatorConfig(modes=0, growth_rates=(-1.0,))
    student = trained(batch, facts, network, start, seed=0)
    assert student.spectrum()[0].gauge == "fixed"
    alpha, _, images = modes_of(student, batch)
    torch.testing.assert_close(alpha[1:], known.rates, rtol=0.01, atol=0)
    moving = known.images(batch.states[0])[0]
    assert size(images[1] - moving) < 0.01 * size(moving)
    assert size(images[0] - mean) < 0.01 * facts.data_scale


def test_two_modes_for_one_are_right_in_their_sum() -> None:
    """Nearly equal rates: which part is whose is not determined; what they add up to is, at every u."""
    mean, spread = torch.zeros(3, dtype=torch.float64), covariance(0.5, 0.5, 0.5)
    batch, facts = paths(mean, spread, 10.0, "exponential")
    known = gaussian_modes(mean, spread, 10.0)
    student = trained(batch, facts, LinearConfig(), ModesOperatorConfig(modes=1, real=1), seed=0)
    alpha, _, images = modes_of(student, batch)
    moving = torch.einsum("nm,mbd->nbd", (U[:, None] * alpha[1:]).exp(), images[1:])
    expected = (U * known.rates).exp()[:, None, None] * known.images(batch.states[0])[0]
    assert all(size(found - exact) < 0.001 * size(exact) for found, exact in zip(moving, expected, strict=True))


@pytest.mark.parametrize("start", [(-0.3, -2.6), (1.0, -2.0)])
def test_two_variances_a_decaying_and_a_growing_mode(start: tuple[float, float]) -> None:
    mean, spread = torch.zeros(3, dtype=torch.float64), covariance(1.0, 0.1, 0.1)
    batch, facts = paths(mean, spread, 3.0, "exponential")
    known = gaussian_modes(mean, spread, 3.0)
    modes = ModesOperatorConfig(modes=1, real=1, growth_rates=start)
    student = trained(batch, facts, LinearConfig(), modes, seed=0)
    alpha, _, images = modes_of(student, batch)
    order = alpha[1:].argsort()
    torch.testing.assert_close(alpha[1:][order], known.rates, rtol=0.01, atol=0)
    for found, analytic in zip(images[1:][order], known.images(batch.states[0]), strict=True):
        assert size(found - analytic) < 0.01 * size(analytic)
    assert size(images[0]) < 0.01 * facts.data_scale


def test_on_edm_s_levels_the_rates_are_those_of_the_best_fit() -> None:
    """Three variances have no finite sum there; variable projection says which is best, and a mode that turns is."""
    mean, spread = torch.zeros(3, dtype=torch.float64), covariance(1.0, 0.25, 0.04)
    batch, facts = paths(mean, spread, 10.0, "edm")
    weights = 5.0 / (STEPS - 1) / facts.schedule().size(U).square()  # as `states` has them
    weights[-1] = 1.0  # `prediction` is not relative
    best = fit_exponentials(batch.states, U, 1, weights=weights)
    near = ModesOperatorConfig(modes=1, growth_rates=(-5.0, -7.0), rotation_rates=(6.0,))
    alpha, beta, _ = modes_of(trained(batch, facts, LinearConfig(), near, seed=0), batch)
    torch.testing.assert_close(alpha, best.alpha, rtol=0.01, atol=0)
    torch.testing.assert_close(beta.abs(), best.beta.abs(), rtol=0.01, atol=0)
    assert float(best.beta.abs().max()) > 6
