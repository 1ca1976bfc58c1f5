"""What students of Koopman modes promise beside the contract of all: states that add up, one evaluation, pinned rates."""

from __future__ import annotations

import pytest
import torch
from student_members import IMAGE, MLP, MODES, UNET, VECTOR, Made, make

from koopstep.core.errors import UsageError
from koopstep.operators.modes import ModesOperator, ModesOperatorConfig
from koopstep.operators.table import build_operator
from koopstep.students.modes import ModesCodec, ModesConfig
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student

CLOSE = {"rtol": 1e-5, "atol": 1e-4}  # levels of the path are looked up in float32


@pytest.fixture(params=sorted(MODES))
def made(request: pytest.FixtureRequest) -> Made:
    return make(MODES[request.param])


def codec_of(made: Made) -> ModesCodec:
    assert isinstance(made.student.codec, ModesCodec)
    return made.student.codec


@pytest.mark.parametrize("u", [0.0, 0.3, 1.0])
def test_the_modes_of_a_state_add_up_to_it(made: Made, u: float) -> None:
    state = made.rows(3) * made.facts.noise_scale ** (1 - u)
    latent = made.student.encode(state, u, made.labels(3))
    torch.testing.assert_close(made.student.decode(latent, u), state, **CLOSE)
    rows = made.student.encode(state, torch.full((3,), u).double(), made.labels(3))
    torch.testing.assert_close(rows[0], latent[0], **CLOSE)


def test_the_sum_is_the_formula(made: Made) -> None:
    """The issue's formula, written out from the images and the rates of each row."""
    noise, labels, operator = made.rows(3) * made.facts.noise_scale, made.labels(3), codec_of(made).operator
    latent = made.student.encode(noise, 0.0, labels)
    images = codec_of(made).images(latent)
    alpha, beta = (rate.expand(3, -1) for rate in operator.rates_of_rows(latent[0]))
    for u in (0.0, 0.4, 1.0):
        beside = (3, -1, *[1] * len(made.facts.shape))
        growth, angle = (alpha * u).exp().view(beside), (beta * u).view(beside)
        expected = (growth * (angle.cos() * images[:, 0] + angle.sin() * images[:, 1])).sum(dim=1)
        moved = made.student.evolve(latent, u, labels)
        torch.testing.assert_close(made.student.decode(moved, u), expected)
    constant, remainder = images[:, :, 0], images[:, 1, -1]
    assert not constant[:, 1].any() and not remainder.any()
    assert not alpha[:, 0].any() and not beta[:, 0].any() and not beta[:, -1].any()


def test_the_flow_is_a_group(made: Made) -> None:
    latent, evolve = made.student.encode(made.rows(2), 0.0, made.labels(2)), made.student.evolve
    torch.testing.assert_close(evolve(evolve(latent, 0.3), 0.5)[0], evolve(latent, 0.8)[0], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(evolve(evolve(latent, 0.8), -0.8)[0], latent[0], rtol=1e-11, atol=1e-11)


def test_a_path_is_its_states_one_by_one(made: Made) -> None:
    noise, labels = made.rows(3), made.labels(3)
    progress = torch.tensor([0.0, 0.25, 0.6, 1.0]).double()
    path = made.student.path(noise, progress, labels)
    assert path.shape == (4, *noise.shape)
    torch.testing.assert_close(path[0], noise * made.facts.noise_scale)
    torch.testing.assert_close(path[-1], made.student.generate(noise, labels))
    latent = made.student.encode(noise * made.facts.noise_scale, 0.0, labels)
    for u, state in zip(progress.tolist(), path, strict=True):
        torch.testing.assert_close(made.student.decode(made.student.evolve(latent, u, labels), u, labels), state)
    start = torch.tensor([0.1, 0.5, 0.9]).double()
    within = made.student.read(made.student.encode(noise, start, labels), start, progress, labels)
    for row in range(3):
        label = None if labels is None else labels[[row]]
        alone = made.student.encode(noise[[row]], float(start[row]), label)
        at = [made.student.evolve(alone, u - float(start[row]), label) for u in progress.tolist()]
        torch.testing.assert_close(within[:, [row]], torch.stack([made.student.decode(z, 0.0) for z in at]), **CLOSE)


def test_a_path_costs_one_evaluation(made: Made) -> None:
    calls = []
    codec_of(made).network.register_forward_hook(lambda *_: calls.append(1))
    made.student.path(made.rows(2), torch.linspace(0, 1, 12).double(), made.labels(2))
    assert len(calls) == 1


def test_inversion_ends_in_noise(made: Made) -> None:
    data, labels = made.rows(2), made.labels(2)
    noise = made.student.invert(data, 1.0, labels)
    assert noise.shape == data.shape and bool(noise.isfinite().all())
    known = made.student.invert(data * made.facts.noise_scale, 0.0, labels)
    torch.testing.assert_close(known, data)


def test_the_gauge_is_fixed(made: Made) -> None:
    (spectrum,) = made.student.spectrum()
    assert spectrum.gauge == "fixed" and "sum of the modes" in spectrum.pinned_by


@pytest.mark.parametrize(("facts", "network"), [(VECTOR, MLP), (IMAGE, UNET)], ids=["vector", "image"])
def test_a_fresh_path_goes_straight_to_its_guess(facts: DataFacts, network: object) -> None:
    """With a network that says nothing the path is ``c_0 + g(u) (x_T - c_0)``."""
    torch.manual_seed(0)
    student = build_student(ModesConfig(network=network, operator=ModesOperatorConfig(modes=3)), facts).double()
    codec = student.codec
    assert isinstance(codec, ModesCodec)
    for parameter in codec.network.parameters():
        torch.nn.init.zeros_(parameter)
    noise = torch.randn(4, *facts.shape, dtype=torch.float64)
    progress = torch.linspace(0, 1, 9).double()
    student.requires_grad_(False)
    shares = codec.path.noise_share(progress)
    start = noise * facts.noise_scale
    clean = codec.images(student.encode(start, 0.0))[:, 0, 0]
    for share, state in zip(shares, student.path(noise, progress), strict=True):
        wanted = clean + share * (start - clean)
        assert float((state - wanted).square().mean().sqrt()) < 0.02 * facts.noise_scale


def test_every_seed_starts_at_the_rates_of_the_schedule() -> None:
    rates = []
    for seed in (0, 1):
        (operator,) = build_student(ModesConfig(network=MLP), VECTOR, seed).operators
        assert isinstance(operator, ModesOperator)
        rates.append(torch.stack(operator.mode_rates()).detach())
    assert torch.equal(rates[0], rates[1])
    assert bool((rates[0][0, 1:] < -1).all()) and bool((rates[0][1, 1:3] > 3).all())  # they decay and turn


def test_an_operator_alone_starts_by_its_seed() -> None:
    first, again, other = (
        build_operator(ModesOperatorConfig(modes=1), (6,), seed).state_dict()["growth"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_fixed_rates_are_saved_and_not_learned() -> None:
    config = ModesOperatorConfig(modes=1, rates="fixed", growth_rates=(-2.0, -5.0), rotation_rates=(1.5,))
    student = build_student(ModesConfig(network=MLP, operator=config), VECTOR)
    (operator,) = student.operators
    assert isinstance(operator, ModesOperator) and not list(operator.parameters())
    alpha, beta = operator.mode_rates()
    torch.testing.assert_close(alpha, torch.tensor([0.0, -2.0, -5.0]))
    torch.testing.assert_close(beta, torch.tensor([0.0, 1.5, 0.0]))
    assert any(name.endswith("growth") for name in student.state_dict())


@pytest.mark.parametrize(
    ("config", "facts", "words"),
    [
        (ModesConfig(), VECTOR, "student.network is missing"),
        (
            ModesConfig(network=MLP, operator=ModesOperatorConfig(shared_by="class")),
            VECTOR,
            "needs a teacher with classes",
        ),
        (ModesConfig(network=MLP, lift=MLP), VECTOR, "student.lift is for images"),
    ],
)
def test_what_makes_no_student(config: ModesConfig, facts: DataFacts, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_student(config, facts)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"modes": 1, "real": 2}, "more than the 1 modes"),
        ({"modes": 2, "growth_rates": (-1.0,)}, "one for the remainder"),
        ({"modes": 2, "rotation_rates": (1.0,)}, "one for each of the 2 modes that turn"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ModesOperatorConfig(**settings)


def test_a_student_of_noise_alone_says_so() -> None:
    student = build_student(ModesConfig(network=MLP, within=False), VECTOR)
    assert student.generate(torch.zeros(2, 2)).shape == (2, 2)
    with pytest.raises(UsageError, match=r"student\.within=true"):
        student.encode(torch.zeros(2, 2), 0.5)
