"""The terms that learn the states on the way: by hand, with states left out, and what is missing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.levels import karras_sigmas
from koopstep.core.records import Batch
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.objective import build_objective
from koopstep.losses.passes import Pass
from koopstep.losses.states import apart, inversion, sparsity, states, states_within
from koopstep.nets.mlp import MLPConfig
from koopstep.operators.modes import ModesOperator, ModesOperatorConfig
from koopstep.students.hkd import HKDConfig
from koopstep.students.modes import ModesConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import StudentConfig, build_student

MLP = MLPConfig(width=8, depth=2, fourier=1)
STEPS = tuple(k / 6 for k in range(7))
FACTS = DataFacts(
    shape=(2,), noise_scale=10.0, data_scale=0.7, progress=STEPS, levels=tuple(karras_sigmas(6, 0.002, 10.0).tolist())
)
CONFIG = ObjectiveConfig(reconstruction=0, latent=0, states=1.0, states_held_out=1)


def student(config: StudentConfig | None = None) -> KoopmanStudent:
    torch.manual_seed(0)
    return build_student(config or ModesConfig(network=MLP, operator=ModesOperatorConfig(modes=2)), FACTS)


def batch(rows: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(1)
    along = [torch.randn(rows, 2, generator=generator) * 10 ** (1 - u) for u in STEPS]
    return Batch(along[0], torch.stack(along), torch.tensor(STEPS), None)


def draws() -> Tensor:
    return torch.rand(5, 2, generator=torch.Generator().manual_seed(2))


def run(config: ObjectiveConfig = CONFIG, rows: Batch | None = None) -> Pass:
    return Pass(config, student(), rows or batch(), draws=draws())


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_states_by_hand(power: float) -> None:
    config = CONFIG.model_copy(update={"states_power": power})
    made, rows = student(), batch()
    total, weights = 0.0, 0.0
    latent = made.encode(rows.states[0], 0.0)
    for place in (1, 2, 4, 5):  # 3 is held out, 6 is the end
        u = STEPS[place]
        read = made.decode(made.evolve(latent, u), u)
        size = float(made.codec.state_size(torch.tensor([u]))[0])
        total += u**power * float(((read - rows.states[place]) / size).square().mean().detach())
        weights += u**power
    assert float(states(run(config)).detach()) == pytest.approx(total / weights, rel=1e-4)


def test_from_within_all_learned_states_count() -> None:
    one = run()
    made, rows, point = one.student, one.batch, one.points[0]
    errors = []
    for place in (0, 1, 2, 4, 5, 6):
        u = STEPS[place]
        read = made.decode(made.evolve(point.latent, u - point.u), u)
        size = float(made.codec.state_size(torch.tensor([u]))[0])
        errors.append(float(((read - rows.states[place]) / size).square().mean().detach()))
    assert float(states_within(one).detach()) == pytest.approx(sum(errors) / 6, rel=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_rows_starts_at_the_end(share: float) -> None:
    """The others start at every learned state within the path alike."""
    rows, drawn = 4000, torch.rand(4000, 2, generator=torch.Generator().manual_seed(3))
    config = CONFIG.model_copy(update={"states_within": 1.0, "states_from_end": share})
    one = Pass(config, student(), batch(rows), draws=drawn)
    first, counts = one.from_end, torch.bincount(one.start.place[one.from_end :], minlength=7)
    assert first == round(share * rows) and bool((one.start.place[:first] == 6).all())
    assert counts[[0, 3, 6]].sum() == 0
    assert (counts[[1, 2, 4, 5]] / rows).tolist() == pytest.approx([(1 - share) / 4] * 4, abs=0.03)
    assert torch.equal(one.start.u, one.batch.progress[one.start.place])


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_inversion_goes_to_the_noise_and_back(share: float) -> None:
    one = run(CONFIG.model_copy(update={"states_from_end": share}))
    made, data = one.student, one.batch.data[: math.ceil(5 * share)]
    again = made.generate(made.invert(data))
    error = float((again - data).square().mean().detach()) / FACTS.data_scale**2
    assert float(inversion(one).detach()) == pytest.approx(error, rel=1e-4)


def test_inversion_needs_rows_that_start_at_the_data() -> None:
    with pytest.raises(UsageError, match="states_from_end above 0"):
        build_objective(CONFIG.model_copy(update={"inversion": 1.0}))


def test_inversion_teaches_both_ways() -> None:
    """Not the way back alone: what the noise becomes has a gradient, too."""
    made = student()
    config = CONFIG.model_copy(update={"states_from_end": 1.0})
    value = inversion(Pass(config, made, batch(), draws=draws()))
    value.backward()
    touched = [name for name, parameter in made.named_parameters() if parameter.grad is not None]
    assert any("network" in name for name in touched) and any("growth" in name for name in touched)


def test_a_held_out_state_is_never_seen() -> None:
    """Nothing depends on it, whatever term asks, and whatever is drawn."""
    weights = {"states_within": 1.0, "trajectory": 1.0, "intermediate": 1.0, "linearity": 1.0, "inversion": 1.0}
    weights["states_from_end"] = 0.5
    config = CONFIG.model_copy(update=weights)
    rows = batch(64)
    seen = rows.states.clone().requires_grad_()
    drawn = torch.rand(64, 5, generator=torch.Generator().manual_seed(3))
    one = Pass(config, student(), Batch(rows.noise, seen, rows.progress, None), draws=drawn)
    objective = build_objective(config)
    objective.total(objective.terms(one)).backward()
    assert seen.grad is not None
    touched = seen.grad.flatten(1).abs().sum(dim=1) > 0
    assert touched.tolist() == [True, True, True, False, True, True, True]


@pytest.mark.parametrize(
    ("kept", "asked", "left_out"), [(7, 1, (3,)), (13, 3, (3, 6, 9)), (5, 1, (2,)), (3, 1, ()), (2, 1, ())]
)
def test_which_states_are_held_out(kept: int, asked: int, left_out: tuple[int, ...]) -> None:
    assert CONFIG.model_copy(update={"states_held_out": asked}).held_out(kept) == left_out


def test_ends_alone_are_not_enough() -> None:
    ends = Batch(batch().noise, batch().states[[0, -1]], torch.tensor([0.0, 1.0]), None)
    for term in (states, states_within):
        with pytest.raises(UsageError, match="collect with --keep all"):
            term(run(rows=ends))


def test_a_student_of_the_end_is_refused() -> None:
    one = Pass(CONFIG, student(HKDConfig(network=MLP, latent=6)), batch(), draws=draws())
    with pytest.raises(UsageError, match="reads the end of the path only"):
        states(one)


def test_sparsity_falls_with_a_mode() -> None:
    one, fewer = run(), run()
    latent = one.noise_latent[0].detach().clone()
    (operator,) = one.student.operators
    assert isinstance(operator, ModesOperator)
    operator.pictures(latent)[:, :, 1] = 0
    fewer.__dict__["noise_latent"] = (latent,)
    assert float(sparsity(fewer).detach()) < float(sparsity(one).detach())


def test_apart_falls_with_distance() -> None:
    found = []
    for second in (-1.1, -5.0):
        rates = ModesOperatorConfig(
            modes=2, rates="fixed", growth_rates=(-1.0, second, -9.0), rotation_rates=(1.0, 1.0)
        )
        found.append(float(apart(Pass(CONFIG, student(ModesConfig(network=MLP, operator=rates)), batch()))))
    assert found[0] > found[1] + 0.05


def test_settings_that_cannot_be_meant() -> None:
    with pytest.raises(UsageError, match="states_held_out"):
        build_objective(CONFIG.model_copy(update={"generator": 1.0}))
    with pytest.raises(UsageError, match="states_power"):
        build_objective(CONFIG.model_copy(update={"states": 0.0, "prediction": 1.0, "states_power": 1.0}))
