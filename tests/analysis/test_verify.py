"""Which eigenvalues pass: all true ones of linear paths, none that were made up."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from koopstep.analysis.findings import Curves, ResidualPlanes
from koopstep.analysis.subject import HeldOut, Subject
from koopstep.analysis.verify import judge_student, looked_at, verify, verify_student
from koopstep.analysis.verify_agreement import Agreement, in_words
from koopstep.analysis.verify_criterion import THRESHOLD, Judged
from koopstep.analysis.verify_eigenfunctions import eigenfunctions
from koopstep.analysis.verify_latents import walk
from koopstep.analysis.verify_refit import refit
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch, Found
from koopstep.data.sources import DataSource
from koopstep.nets.linear import LinearConfig
from koopstep.nets.unet import UNetConfig
from koopstep.operators.block import BlockConfig, BlockOperator
from koopstep.operators.dense import DenseConfig
from koopstep.operators.table import build_operator
from koopstep.students.hkd import HKDConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student
from koopstep.teachers.base import Teacher
from koopstep.teachers.gaussian_path import exponential_sigmas, gaussian_modes, gaussian_path

STEPS = tuple(index / 6 for index in range(7))
ALPHA, BETA = (-1.0, 0.3, -0.4), (0.8, -2.0, 0.0)
FACTS = DataFacts(shape=(6,), data_scale=0.5, progress=STEPS, levels=STEPS)


def linear_student(alpha: tuple[float, ...] = ALPHA, beta: tuple[float, ...] = BETA) -> KoopmanStudent:
    """Observables are the state's numbers; channels k and k + 3 are a pair."""
    config = HKDConfig(network=LinearConfig(), latent=6, observables="linear", decoder_condition="target")
    student = build_student(config, FACTS)
    operator = student.operators[0]
    assert isinstance(operator, BlockOperator)
    with torch.no_grad():
        operator.alpha.copy_(torch.tensor(alpha).view(3, 1, 1))
        operator.beta.copy_(torch.tensor(beta).view(3, 1, 1))
    return student.eval().requires_grad_(False)


def paths_of(student: KoopmanStudent, rows: int = 40) -> Batch:
    """Paths that the student's own operator makes."""
    start = torch.randn(rows, 6, generator=torch.Generator().manual_seed(0)) + 1
    states = torch.stack([student.operators[0].evolve(start, u) for u in STEPS])
    return Batch(start, states, torch.tensor(STEPS), None)


def judged(student: KoopmanStudent, batch: Batch) -> Judged:
    _, (found,) = judge_student(student, batch)
    assert found is not None
    return found


def test_all_eigenvalues_of_a_linear_path_pass() -> None:
    student = linear_student()
    found = judged(student, paths_of(student))
    expected = torch.complex(torch.tensor(ALPHA), torch.tensor(BETA).abs()).to(torch.complex128).exp()
    torch.testing.assert_close(found.eigenvalues, expected, rtol=1e-6, atol=0)
    assert found.moves.all() and not found.constant.any() and not found.control.any()
    assert float(found.residual.max()) < 1e-5 and float(found.error.max()) < 1e-5
    assert found.count(found.passed) == 6  # pairs stand for two
    assert float(found.energy.sum()) == pytest.approx(1.0)
    listed = found.summary()["eigenvalues"]
    assert [one["kind"] for one in listed] == ["moves"] * 3 and listed[0]["standing_still"] > THRESHOLD


@pytest.mark.parametrize("seed", range(5))
def test_no_eigenvalue_of_a_perturbed_operator_passes(seed: int) -> None:
    shift = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed))
    shift = (shift.sign() * (0.15 + shift.abs())).tolist()
    wrong = [tuple(a + b for a, b in zip(true, by, strict=True)) for true, by in zip((ALPHA, BETA), shift, strict=True)]
    found = judged(linear_student(*wrong), paths_of(linear_student()))
    assert not found.passed.any()
    assert float(found.error[-1].min()) > THRESHOLD


def test_a_function_that_does_not_move_passes_at_eigenvalue_one_alone() -> None:
    still = linear_student((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    found = judged(still, paths_of(still))
    assert len(found.eigenvalues) == 1 and found.constant.all()  # one eigenvalue, one eigenspace
    assert found.count(found.passed) == 6
    assert not judged(still, paths_of(linear_student())).passed.any()
    moving = judged(linear_student(), paths_of(still))
    assert not moving.passed.any()
    hardly = linear_student((0.04, 0.0, 0.0), (0.0, 0.5, 0.0))
    kinds = [one["kind"] for one in judged(hardly, paths_of(hardly)).summary()["eigenvalues"]]
    assert sorted(kinds) == ["constant", "constant", "moves"]


def test_a_latent_of_one_number_for_all_rows_is_judged_as_it_is() -> None:
    still = linear_student((0.0, -1.0, -1.0), (0.0, 0.5, 0.2))
    batch = paths_of(still)
    states = batch.states.clone()
    states[:, :, [0, 3]] = 2.0  # the first pair: a constant function
    found = judged(still, Batch(batch.noise, states, batch.progress, None))
    assert found.constant.tolist() == [True, False, False] and found.moves.tolist() == [False, True, True]
    states[:, :, [0, 3]] *= torch.tensor(STEPS)[:, None, None] + 1  # a function of u alone says nothing of the path
    found = judged(still, Batch(batch.noise, states, batch.progress, None))
    assert found.passed.tolist() == [False, True, True]
    states[:, :, [0, 3]] = 0.0  # nothing at all
    found = judged(still, Batch(batch.noise, states, batch.progress, None))
    assert found.passed.tolist() == [False, True, True] and found.residual[0].isnan()


def test_residuals_and_errors_are_those_of_their_definitions() -> None:
    student, true = linear_student((-0.5, 0.3, -0.4), (1.0, 2.0, 0.5)), linear_student()
    batch = paths_of(true)
    found = judged(student, batch)
    rate = complex(-0.5, 1.0)
    phi = torch.complex(batch.states[:, :, 0], -batch.states[:, :, 3]).to(torch.complex128)
    phi = phi - phi.mean(dim=1, keepdim=True)
    step = torch.exp(torch.tensor(rate / 6))
    spread = (batch.states - batch.states.mean(dim=1, keepdim=True)).double().square().sum(dim=(1, 2))
    x, y = phi[:-1].flatten(), phi[1:].flatten()
    weights = (1 / spread[:-1]).repeat_interleave(len(batch)).to(torch.complex128)
    gram, across, later = (x.conj() @ (weights * x), x.conj() @ (weights * y), y.conj() @ (weights * y))
    squared = (later - step.conj() * across - step * across.conj() + step.abs() ** 2 * gram) / gram
    assert float(found.residual[0]) == pytest.approx(math.sqrt(float(squared.real)), rel=1e-4)
    for index, u in enumerate(STEPS):
        missed = (phi[index] - torch.exp(torch.tensor(rate * u)) * phi[0]).abs().square().sum()
        expected = math.sqrt(float(missed / phi[index].abs().square().sum()))
        assert float(found.error[index, 0]) == pytest.approx(expected, rel=1e-3, abs=1e-6)
    best = (across / gram).log() * 6
    halves = found.sums.refit[:, 0].mean()
    assert abs(complex(halves) - complex(best)) < 0.1 and abs(complex(best) - complex(-1.0, 0.8)) < 1e-4


def test_eigenfunctions_of_a_full_matrix_obey_it() -> None:
    operator = build_operator(DenseConfig(), (7,), seed=0).double()
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 2)
        z = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        found = eigenfunctions(operator, z)
        assert found is not None and int(found.multiplicity.sum()) == 7
        moved = found(operator.evolve(z, 1.0)) - found(operator.evolve(torch.zeros_like(z), 1.0))
        torch.testing.assert_close(moved, found.rates.exp() * found(z))


def test_the_path_of_a_gaussian_is_verified_within() -> None:
    """On levels that suit an isotropic Gaussian its path is one exponential, whose rate is known."""
    variance, sigma = torch.full((6,), 0.3, dtype=torch.float64), 8.0
    levels = exponential_sigmas(variance, sigma, 6)
    start = sigma * torch.randn(60, 6, generator=torch.Generator().manual_seed(3))
    states = gaussian_path(torch.zeros(6), variance.diag(), levels, start).float()
    (rate,) = gaussian_modes(torch.zeros(6), variance.diag(), sigma).rates.tolist()
    batch = Batch(start / sigma, states, torch.tensor(STEPS), None)
    found = judged(linear_student((rate,) * 3, (0.0,) * 3), batch)
    assert found.moves.all() and found.count(found.passed) == 6
    assert not judged(linear_student((0.9 * rate,) * 3, (0.0,) * 3), batch).passed.any()


def image_student(**changes: object) -> KoopmanStudent:
    torch.manual_seed(0)
    network = UNetConfig(
        model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=()
    )
    facts = DataFacts(shape=(1, 8, 8), data_scale=0.5, progress=STEPS, levels=STEPS)
    student = build_student(HKDConfig(network=network, **changes), facts)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return student.eval().requires_grad_(False)


def images(rows: int = 12) -> Batch:
    states = torch.randn(7, rows, 1, 8, 8, generator=torch.Generator().manual_seed(1)).cumsum(dim=0)
    return Batch(states[0], states, torch.tensor(STEPS), None)


@pytest.mark.parametrize("modulation", ["none", "local"])
def test_levels_of_images_are_judged_place_by_place(modulation: str) -> None:
    student, batch = image_student(operator=BlockConfig.parse({"modulation": modulation}, "o")), images()
    _, found = judge_student(student, batch)
    for one, operator in zip(found, student.operators, strict=True):
        assert one is not None and one.count(torch.ones_like(one.moves)) == operator.dimension
        shape = torch.Size((operator.shape[0] // 2, *operator.shape[1:]))
        marks = one.of_pairs(shape)
        assert marks is not None and marks.shape == shape


def test_rates_shared_by_places_are_one_eigenvalue_of_all_of_them() -> None:
    student, batch = image_student(operator=BlockConfig(sharing="channel")), images()
    seen = walk(student, batch)
    _, found = judge_student(student, batch)
    first = student.encode(batch.states[0], 0.0)
    for one, level, operator in zip(found, seen, student.operators, strict=True):
        assert one is not None and level.eigen is not None
        assert len(one.eigenvalues) == operator.shape[0] // 2
        assert one.sums.functions.multiplicity.tolist() == [2 * math.prod(operator.shape[1:])] * len(one.eigenvalues)
    fluctuation = first[0] - first[0].mean(dim=0)
    assert seen[0].eigen is not None  # all places together hold what the level holds
    assert float(seen[0].eigen.size[0].sum()) == pytest.approx(float(fluctuation.square().sum()), rel=1e-5)


class Given(Subject):
    """A student and its held-out paths."""

    def __init__(self, student: KoopmanStudent, batch: Batch, *others: KoopmanStudent) -> None:
        self.student, self._batch, self._others = student, batch, others

    def held_out(self) -> HeldOut:
        return HeldOut(self._batch, self._batch.data, 6)

    def teacher(self) -> Found[Teacher]:
        return Found(None, UsageError("none"))

    def reference(self) -> Found[DataSource]:
        return Found(None, UsageError("none"))

    def others(self) -> dict[str, KoopmanStudent]:
        return {f"run {index}": other for index, other in enumerate(self._others)}


def test_findings_of_a_true_spectrum() -> None:
    student = linear_student()
    found = verify(Given(student, paths_of(student), student, linear_student((-1.0, 0.3, -0.4), (0.8, -2.5, 0.0))))
    assert json.loads(json.dumps(found.values, allow_nan=False)) == found.values
    assert "6 of 6 eigenvalues pass (6 of eigenfunctions that move, 0 of constant ones)" in found.conclusion
    (level,) = found.values["levels"]
    one = level["eigenvalues"][0]
    assert set(one) >= {"eigenvalue", "residual", "error", "standing_still", "passed", "energy", "kind"}
    agreement = found.values["agreement"]
    assert [agreement[whom][0]["leading"] for whom in agreement] == [2, 2, 2]  # two hold 90 % of the motion
    assert [agreement[whom][0]["agree"] for whom in agreement] == [2, 2, 1]
    assert "1 of 2 leading rates agree within 5 % with run 1." in found.captions["verify_agreement.png"].finding
    edmd = level["edmd"]
    assert edmd["hausdorff"] < 1e-5 and edmd["operator_distance"] < 1e-5 and edmd["residual_median"] < 1e-5
    assert max(edmd["forecast"]) < 1e-4 and max(level["forecast"]) < 1e-5 < level["standing_still"][0]
    shares = found.values["states"]["unexplained"]
    assert max(shares["student"]) < 1e-4 and max(shares["exact DMD"]) < 1e-4 < min(shares["standing still"])
    assert found.values["states"]["residual_median"]["exact DMD"] < 1e-5
    planes, forecasts, agreements = found.views
    assert isinstance(planes, ResidualPlanes) and planes.levels[0].passed.all()
    assert isinstance(forecasts, Curves) and set(forecasts.panels) == {"latent", "state", "eigenfunctions"}
    assert isinstance(agreements, Curves) and len(agreements.panels) == 3


def test_states_that_are_not_evenly_apart_are_forecast_at_their_own_u() -> None:
    student = linear_student()
    batch = paths_of(student)
    kept = [0, 1, 2, 3, 4, 6]
    few = Batch(batch.noise, batch.states[kept], batch.progress[kept], None)
    found = verify_student(student, few, {})
    assert all(one is not None and one.passed.all() for one in found.judged)
    assert float(found.refits[0].forecast.max()) < 1e-4 and max(found.states.errors["exact DMD"]) < 1e-4


def test_edmd_shrinks_what_lies_outside_its_directions() -> None:
    facts = DataFacts(shape=(60,), data_scale=0.5, progress=STEPS, levels=STEPS)
    student = build_student(HKDConfig(network=LinearConfig(), latent=60, observables="linear"), facts)
    operator = student.operators[0]
    assert isinstance(operator, BlockOperator)
    with torch.no_grad():
        operator.alpha.fill_(-2.0)
        start = torch.randn(200, 60, generator=torch.Generator().manual_seed(0))
        states = torch.stack([operator.evolve(start, u) for u in STEPS])
    (seen,) = walk(student, Batch(start, states, torch.tensor(STEPS), None))
    assert seen.main.directions.shape == (60, 24)  # of 60: the others must shrink, too
    found = refit(seen, None, torch.tensor(STEPS))
    assert float(found.forecast.max()) < 1e-2 < float((seen.still / seen.spread)[1:].min())
    assert found.hausdorff is None and found.wasserstein is None


def test_many_states_are_thinned_and_few_rows_are_halved() -> None:
    student = linear_student()
    batch = paths_of(student)
    long = Batch(batch.noise, batch.states[:1].expand(41, -1, -1), torch.linspace(0, 1, 41), None)
    looked = looked_at(student, long)
    assert len(looked.states) == 13 and looked.progress[0] == 0 and looked.progress[-1] == 1


def test_agreement_in_words() -> None:
    rates = torch.tensor([-1.0, -8.0, 0.02], dtype=torch.complex128)
    other = torch.tensor([-1.2, -8.2, 0.03], dtype=torch.complex128)
    one = Agreement("latent", rates, other)
    differences: Tensor = one.differences
    assert differences.tolist() == pytest.approx([0.2 / 1.2, 0.2 / 8.2, 0.01])
    assert in_words([one], "with b") == "2 of 3 leading rates agree within 5 % with b."
    both = [one, Agreement("other", rates, rates)]
    assert in_words(both, "with b") == "5 of 6 leading rates agree within 5 % with b; not so 1 of 3 on latent."
    assert in_words([Agreement("latent", rates, rates)], "with b").startswith("All 3")
    assert "nothing to compare" in in_words([], "with b")
