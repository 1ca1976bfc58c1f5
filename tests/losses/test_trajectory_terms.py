"""The terms within the path: their values by hand, which states they see, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.objective import build_objective, objective_for
from koopstep.losses.passes import Pass, RealRows
from koopstep.losses.terms import TERMS
from koopstep.losses.trajectory import relative, unexplained
from koopstep.nets.discriminators import build_discriminator
from koopstep.nets.mlp import MLPConfig
from koopstep.students.hkd import HKDConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

CONFIG = ObjectiveConfig()


def one_in(every: int) -> ObjectiveConfig:
    return ObjectiveConfig(trajectory_every=every)


PROGRESS = (0.0, 0.25, 0.5, 0.75, 1.0)
FACTS = DataFacts(shape=(2,), data_scale=0.5, progress=PROGRESS, levels=PROGRESS)
WITHIN = ("trajectory", "intermediate", "linearity", "generator")
WITH_A_DISCRIMINATOR = (*WITHIN, "adversarial_within")


def student() -> KoopmanStudent:
    torch.manual_seed(0)
    made = build_student(HKDConfig(network=MLPConfig(width=8, depth=2), latent=4, decoder_condition="target"), FACTS)
    for rates in made.operators[0].parameters():
        torch.nn.init.normal_(rates, std=0.5)
    return made


def batch(count: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(5, count, 2, generator=generator)
    return Batch(states[0], states, torch.tensor(PROGRESS), None)


def draws(count: int = 5, points: int = 2) -> Tensor:
    return torch.rand(count, 1 + points, generator=torch.Generator().manual_seed(2))


def test_points_lie_within_and_earlier_ones_before() -> None:
    rows = batch(400)
    run = Pass(CONFIG, student(), rows, draws=draws(400, 3))
    assert len(run.points) == 3
    for point in run.points:
        assert set(point.place.tolist()) == {1, 2, 3}
        assert torch.equal(point.u, rows.progress[point.place])
        assert torch.equal(point.state[7], rows.states[point.place[7], 7])
    assert bool((run.earlier.place < run.points[0].place).all()) and run.earlier.place.min() == 0


def test_values_by_hand() -> None:
    made, rows = student(), batch()
    run = Pass(CONFIG, made, rows, draws=draws())
    ends, straight, steps = [], [], []
    for point in run.points:
        for i in range(5):
            u, k = float(point.u[i]), int(point.place[i])
            state = rows.states[k, [i]]
            lifted = made.encode(state, u)
            ends.append((made.decode(made.evolve(lifted, 1 - u), 1.0) - rows.data[i]).square().mean())
            pushed = made.evolve(made.encode(rows.states[0, [i]], 0.0), u)[0]
            straight.append((pushed - lifted[0]).square().sum() / lifted[0].square().sum())
            after = made.encode(rows.states[k + 1, [i]], PROGRESS[k + 1])[0]
            steps.append((made.evolve(lifted, 0.25)[0] - after).square().sum() / after.square().sum() / 0.25**2)
    end = []
    for i in range(5):  # real data has a place on the straight path
        pushed = made.evolve(made.encode(rows.states[0, [i]], 0.0), 1.0)[0]
        lifted = made.encode(rows.data[[i]], 1.0)
        end.append((pushed - lifted[0]).square().sum() / lifted[0].square().sum())
    whole = (3 * torch.stack(straight).mean() + torch.stack(end).mean()) / 4
    torch.testing.assert_close(TERMS["linearity"].value(run), whole)
    for name, values in (("trajectory", ends), ("generator", steps)):
        torch.testing.assert_close(TERMS[name].value(run), torch.stack(values).mean())
    read = []
    for i in range(5):
        target, source = int(run.points[0].place[i]), int(run.earlier.place[i])
        u, s = PROGRESS[target], PROGRESS[source]
        ours = made.decode(made.evolve(made.encode(rows.states[source, [i]], s), u - s), u)
        size = float(((1 - u) ** 2 + (0.5 * u) ** 2) ** 0.5)
        read.append(((ours - rows.states[target, i]) / size).square().mean())
    torch.testing.assert_close(TERMS["intermediate"].value(run), torch.stack(read).mean())


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", WITH_A_DISCRIMINATOR)
def test_halves_add_up(name: str, every: int) -> None:
    made, rows, drawn, discriminator = student(), batch(6), draws(6), build_discriminator((2,))
    whole = TERMS[name].value(Pass(one_in(every), made, rows, discriminator=discriminator, draws=drawn))
    halves = (slice(0, 3), slice(3, 6))
    parts = [
        TERMS[name].value(Pass(one_in(every), made, rows[p], discriminator=discriminator, draws=drawn[p]))
        for p in halves
    ]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


@pytest.mark.parametrize("name", WITH_A_DISCRIMINATOR)
def test_one_row_in_three(name: str) -> None:
    made, rows, drawn, discriminator = student(), batch(6), draws(6), build_discriminator((2,))
    some = TERMS[name].value(Pass(one_in(3), made, rows, discriminator=discriminator, draws=drawn))
    few = slice(None, None, 3)
    assert torch.equal(
        some, TERMS[name].value(Pass(CONFIG, made, rows[few], discriminator=discriminator, draws=drawn[few]))
    )
    two = TERMS[name].value(Pass(one_in(4), made, rows, discriminator=discriminator, draws=drawn))  # rows 0 and 4
    few = slice(None, None, 4)
    assert torch.equal(
        two, TERMS[name].value(Pass(CONFIG, made, rows[few], discriminator=discriminator, draws=drawn[few]))
    )


def test_the_discriminator_sees_what_the_terms_ask_for() -> None:
    made, rows, discriminator = student(), batch(6), build_discriminator((2,))
    off = {"reconstruction": 0.0, "latent": 0.0, "prediction": 0.0, "trajectory_points": 2}
    seen = {}
    for name, weights in (("end", {"adversarial": 0.1}), ("within", {"adversarial_within": 0.1})):
        objective = build_objective(ObjectiveConfig(**(off | weights)), discriminator)  # type: ignore[arg-type]
        seen[name] = objective.discriminator_loss(objective.run(made, rows, 0, draws=draws(6)))
    both = build_objective(ObjectiveConfig(**off, adversarial=0.1, adversarial_within=0.2), discriminator)  # type: ignore[arg-type]
    loss, apart = both.discriminator_loss(both.run(made, rows, 0, draws=draws(6))), [seen["end"], seen["within"]]
    assert loss is not None and apart[0] is not None and apart[1] is not None
    torch.testing.assert_close(loss, (apart[0] + apart[1]) / 2)
    run = both.run(made, rows, 0, draws=draws(6))
    by_hand = torch.nn.functional.softplus(-discriminator(run.ends[0], None)).mean()
    torch.testing.assert_close(TERMS["adversarial_within"].value(run), by_hand)


def test_real_rows_are_thinned_with_the_others() -> None:
    real = RealRows(torch.randn(6, 2), torch.arange(6))
    run = Pass(one_in(3), student(), batch(6), discriminator=build_discriminator((2,)), draws=draws(6), real=real)
    samples, _, judged_beside = run.judged_within
    assert len(samples) == 2 and torch.equal(judged_beside.data, real.data[[0, 3]])
    assert judged_beside.class_labels is not None and judged_beside.class_labels.tolist() == [0, 3]


def test_a_student_that_is_linear_has_no_linearity_error() -> None:
    latent = (torch.randn(3, 4),)
    assert float(relative(latent, latent)) == 0.0
    assert float(relative((2 * latent[0],), latent)) == pytest.approx(1.0)


def test_the_spread_by_hand() -> None:
    """Rows 0, 2 and 5 are at one state, 1 and 3 at another, 4 alone at a third: it has no say in the spread."""
    place, generator = torch.tensor([1, 2, 1, 2, 3, 1]), torch.Generator().manual_seed(0)
    target = tuple(torch.randn(6, *shape, generator=generator) for shape in ((4,), (2, 3, 3)))
    moved = tuple(torch.randn(level.shape, generator=generator) for level in target)
    shares = []
    for ours, theirs in zip(moved, target, strict=True):
        groups = [theirs[place == at] for at in (1, 2)]
        apart = sum((group - group.mean(dim=0)).square().sum() for group in groups) / 3  # 2 + 1 degrees of freedom
        shares.append((ours - theirs).square().sum() / 6 / apart)
    torch.testing.assert_close(unexplained(moved, target, place), torch.stack(shares).mean())


def test_what_all_rows_share_counts_for_nothing() -> None:
    place, generator = torch.arange(40) % 2, torch.Generator().manual_seed(0)
    target, error = (torch.randn(40, 3, generator=generator) for _ in range(2))
    constant = 100.0 * (1 + place).unsqueeze(1)  # that moves along the path, too
    plain, shifted = ((target + by,) for by in (0, constant))
    missed = [unexplained((level + error,), (level,), place) for (level,) in (plain, shifted)]
    torch.testing.assert_close(*missed, rtol=1e-3, atol=0)
    assert float(relative((shifted[0] + error,), shifted)) < 1e-3 < 0.5 < float(missed[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(unexplained((shifted[0] + error,), shifted, place), missed[1])


def test_a_few_rows_estimate_the_spread_of_many() -> None:
    generator = torch.Generator().manual_seed(0)
    target, error = torch.randn(4000, 64, generator=generator), torch.randn(4000, 64, generator=generator)
    place = torch.arange(4000) % 3
    whole = unexplained((target + error,), (target,), place)
    parts = [
        unexplained((t + e,), (t,), p) for t, e, p in zip(*(x.split(8) for x in (target, error, place)), strict=True)
    ]
    assert float(torch.stack(parts).mean()) == pytest.approx(float(whole), rel=0.02)


@pytest.mark.parametrize("name", ["linearity", "generator"])
def test_terms_take_the_scale_that_was_asked_for(name: str) -> None:
    rows, drawn, config = batch(6), draws(6), ObjectiveConfig(linearity_scale="spread")
    made = student()
    run = Pass(config, made, rows, draws=drawn)
    value = TERMS[name].value(run)
    errors = []
    for point in run.points:
        if name == "linearity":
            errors.append(unexplained(made.evolve(run.noise_latent, point.u), point.latent, point.place))
        else:
            after = run.point(point.place + 1)
            errors.append(unexplained(made.evolve(point.latent, 0.25), after.latent, after.place) * 16)
    expected = torch.stack(errors).mean()
    if name == "linearity":
        expected = (3 * expected + unexplained(run.pushed, run.clean_data_latent, torch.zeros(6).long())) / 4
    torch.testing.assert_close(value, expected)
    assert not torch.allclose(value, TERMS[name].value(Pass(CONFIG, made, rows, draws=drawn)))
    with pytest.raises(UsageError, match="rows that go through together, and there is one only"):
        TERMS[name].value(Pass(config, made, rows[:1], draws=drawn[:1]))


def test_rows_at_different_states_are_compared_with_one_another() -> None:
    generator = torch.Generator().manual_seed(0)
    target, moved = torch.randn(2, 3, 4, generator=generator).unbind()
    apart = unexplained((moved,), (target,), torch.tensor([3, 1, 2]))
    torch.testing.assert_close(apart, (moved - target).square().mean() / target.var(dim=0).mean())


@pytest.mark.parametrize("name", WITHIN)
def test_what_is_missing_is_named(name: str) -> None:
    ends = Batch(batch().noise, batch().states[[0, -1]], torch.tensor([0.0, 1.0]), None)
    with pytest.raises(UsageError, match="collect with --keep all"):
        TERMS[name].value(Pass(CONFIG, student(), ends, draws=draws()))
    with pytest.raises(UsageError, match="trajectory_points"):
        TERMS[name].value(Pass(CONFIG, student(), batch()))


def test_only_terms_within_the_path_want_draws() -> None:
    discriminator = build_discriminator((2,))
    assert not build_objective(ObjectiveConfig(adversarial=0.1), discriminator).within
    assert all(
        build_objective(ObjectiveConfig.parse({name: 0.1}, "o"), discriminator).within for name in WITH_A_DISCRIMINATOR
    )
    assert {name for name, term in TERMS.items() if term.within} == {
        *WITH_A_DISCRIMINATOR,
        "states",
        "states_within",
        "inversion",
    }


class Eye:
    """Pixels as features."""

    def features(self, x: Tensor) -> list[Tensor]:
        return [x]

    def compare(self, features_a: list[Tensor], features_b: list[Tensor]) -> Tensor:
        return (features_a[0] - features_b[0]).abs().flatten(1).mean(dim=1)

    def to(self, device: torch.device) -> Eye:
        return self


def test_the_pixel_weight_fades() -> None:
    config = ObjectiveConfig(distance="perceptual", pixel=1.0, pixel_fade=3.0)
    facts = DataFacts(shape=(1, 4, 4))
    objective = objective_for(config, facts, torch.device("cpu"), lambda name: Eye())
    states = torch.randn(2, 3, 1, 4, 4)
    rows, other = Batch(states[0], states, torch.tensor([0.0, 1.0]), None), torch.randn(3, 1, 4, 4)
    seen, squared = (states[1] - other).abs().mean(), (states[1] - other).square().mean()
    for done, weight in ((0.0, 1.0), (1 / 3, 0.1), (1.0, 0.001)):
        run = objective.run(student(), rows, 0, done=done)
        torch.testing.assert_close(run.to_data(other), seen + weight * squared)
    with pytest.raises(UsageError, match=r"objective\.pixel_fade lowers"):
        build_objective(ObjectiveConfig(pixel_fade=1.0))
