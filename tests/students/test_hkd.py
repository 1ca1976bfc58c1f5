"""HKD students: the start from a teacher, the labels and sizes along a path, what a pinned student finds."""

from __future__ import annotations

import math

import pytest
import torch

from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.core.levels import karras_sigmas
from koopstep.core.records import Batch
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.objective import build_objective
from koopstep.nets.linear import LinearConfig
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.skips import SkipUNet
from koopstep.operators.block import BlockConfig, BlockOperator
from koopstep.students.hkd import HKDConfig, build_hkd
from koopstep.students.initialise import config_from_teacher, start_from_teacher
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.teachers.analytic import GaussianConfig, GaussianDenoiser, gaussian_of
from koopstep.teachers.files import read_teacher_file

STEPS = 12
SIGMAS = tuple(karras_sigmas(STEPS, 0.002, 20.0).tolist())
DIGITS = DataFacts(
    shape=(1, 8, 8),
    noise_scale=20.0,
    data_scale=0.75,
    progress=tuple(k / STEPS for k in range(STEPS + 1)),
    levels=SIGMAS,
)


def from_teacher(**changes: object) -> KoopmanStudent:
    teacher = read_teacher_file("digits-edm")
    network = teacher.header.config.network  # type: ignore[union-attr]
    config = config_from_teacher(HKDConfig(network=network, **changes), teacher.header.config)  # type: ignore[arg-type]
    student = build_hkd(config, DIGITS)  # type: ignore[arg-type]
    start_from_teacher(student, teacher)
    return student.eval()


@torch.no_grad()
def test_a_student_that_starts_from_its_teacher_is_the_teachers_guess() -> None:
    noise = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    guess = read_teacher_file("digits-edm").model(noise * 20.0, torch.tensor(20.0))
    kept = 0.75**2 / (20.0**2 + 0.75**2) * noise * 20.0  # c_skip x, of which an evolved latent knows nothing
    ours = from_teacher().generate(noise)
    torch.testing.assert_close(ours, guess - kept, rtol=0, atol=2e-3)


@torch.no_grad()
def test_without_evolution_it_is_the_uncut_network_bit_for_bit() -> None:
    student, noise = from_teacher(), torch.randn(3, 1, 8, 8)
    network = student.codec.decoder_network()
    assert isinstance(network, SkipUNet)
    (noisy, label), (clean, _) = (DIGITS.schedule().at(u) for u in (0.0, 1.0))
    whole = network(noise * 20.0 / noisy, torch.full((3,), label)) * clean
    assert torch.equal(student.generate(noise), whole)


def test_levels_and_sizes_between_the_kept_states() -> None:
    thin = DIGITS.model_copy(
        update={"progress": (0.0, 0.25, 11 / 12, 1.0), "levels": tuple(SIGMAS[k] for k in (0, 3, 11, 12))}
    )
    u = torch.linspace(0, 1, STEPS + 1)
    for facts in (DIGITS, thin):
        levels = facts.schedule()
        torch.testing.assert_close(levels.level(u), torch.tensor(SIGMAS).float(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            levels.size(u), (torch.tensor(SIGMAS) ** 2 + 0.75**2).sqrt().float(), rtol=1e-4, atol=0
        )
        torch.testing.assert_close(
            levels.label(u[:-1]), (torch.tensor(SIGMAS[:-1]).log() / 4).float(), rtol=1e-3, atol=1e-4
        )
        assert float(levels.label(torch.ones(1))) == pytest.approx(math.log(0.002) / 4)
    flow = DataFacts(shape=(2,), data_scale=0.5, progress=(0.0, 1.0), levels=(0.0, 1.0)).schedule()
    torch.testing.assert_close(
        flow.size(torch.tensor([0.0, 0.5, 1.0])), torch.tensor([1.0, (0.25 + 0.0625) ** 0.5, 0.5])
    )
    torch.testing.assert_close(flow.label(torch.tensor([0.3])), torch.tensor([0.3]))


def test_what_cannot_start_from_a_teacher() -> None:
    teacher = read_teacher_file("digits-edm")
    with pytest.raises(UsageError, match="the network must be its network"):
        config_from_teacher(HKDConfig(network=LinearConfig()), teacher.header.config)
    board = read_teacher_file("checkerboard-edm")
    with pytest.raises(UsageError, match="cannot be cut in two halves"):
        config_from_teacher(HKDConfig(network=board.header.config.network), board.header.config)  # type: ignore[union-attr]


def test_names_of_levels() -> None:
    assert from_teacher().level_names == (
        "8x8 skip 0",
        "8x8 skip 1",
        "8x8 skip 2",
        "4x4 skip 0",
        "4x4 skip 1",
        "4x4 bottleneck",
    )


def test_only_the_bottleneck_evolves() -> None:
    student = from_teacher(levels="bottleneck")
    numbers = [sum(p.numel() for p in operator.parameters()) for operator in student.operators]
    assert numbers == [0, 0, 0, 0, 0, 32 * 4 * 4]


@torch.no_grad()
def test_a_lift_starts_silent_and_sees_every_pixel() -> None:
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    silent = from_teacher(lift=MLPConfig(width=16, depth=2, output_scale=0.0))
    assert torch.equal(silent.generate(noise), from_teacher().generate(noise))
    torch.manual_seed(0)
    loud = from_teacher(lift=MLPConfig(width=16, depth=2))
    elsewhere = noise.clone()
    elsewhere[:, :, 0, 0] += 1
    first = [
        loud.codec.encode(x * 20.0, 0.0, None)[0] for x in (noise, elsewhere)
    ]  # one convolution away from the image
    assert float((first[0] - first[1])[:, :, -1, -1].abs().max()) > 1e-3
    with pytest.raises(UsageError, match="lift is for images"):
        build_hkd(HKDConfig(network=MLPConfig(width=8), lift=MLPConfig(width=8)), DataFacts(shape=(2,)))


def test_an_operator_without_a_kind_is_a_block() -> None:
    settings = {"kind": "hkd", "operator": {"sharing": "channel"}}
    assert HKDConfig.parse(settings, "student").operator == BlockConfig(sharing="channel")
    named = HKDConfig.parse(settings | {"operator": {"kind": "spectral"}}, "student")
    assert named.operator.kind == "spectral"
    assert HKDConfig.parse(dump(named), "student") == named


def test_shared_rates_cost_next_to_nothing_at_64_pixels() -> None:
    """FFHQ's published network: per place 4.2 million rates, shared ones below 1 % of that."""
    from koopstep.nets.unet import UNetConfig

    network = UNetConfig(channel_mult=(1, 2, 2, 2))
    facts = DataFacts(shape=(3, 64, 64), noise_scale=80.0)

    def rates(sharing: str) -> int:
        config = HKDConfig(network=network, operator=BlockConfig.parse({"sharing": sharing}, "o"))
        with torch.device("meta"):
            student = build_hkd(config, facts)
        return sum(p.numel() for operator in student.operators for p in operator.parameters())

    assert (rates("position"), rates("channel")) == (4_210_688, 4_352)
    assert rates("channel") <= rates("low_rank") <= 0.01 * rates("position")


def test_a_pinned_student_finds_the_eigenvalues_of_a_gaussian() -> None:
    """Linear observables of a path that is linear: each pair of equal directions is a block, e^alpha its contraction."""
    spread = torch.tensor([0.8, 0.8, 0.3, 0.3])
    denoiser = GaussianDenoiser(torch.zeros(4), torch.diag(spread**2))
    teacher = gaussian_of(GaussianConfig(dimension=4, sigma_max=2.0), denoiser, "gaussian", "")
    facts = DataFacts(shape=(4,), noise_scale=2.0, data_scale=0.6)
    student = build_hkd(HKDConfig(network=LinearConfig(), latent=4, observables="linear"), facts)
    codec = student.codec
    with torch.no_grad():  # channels k and k + 2 are a pair
        order = torch.eye(4)[[0, 2, 1, 3]]
        for layer, weight in ((codec.encoder, order), (codec.decoder, order.T)):  # type: ignore[union-attr]
            layer.map.weight.copy_(weight + 0.01 * torch.randn(4, 4))  # type: ignore[union-attr, operator]
        student.operators[0].alpha.fill_(-1.0)  # type: ignore[union-attr, operator]  # as in docs/examples: near the path's rate
    noise = torch.randn(512, 4, generator=torch.Generator().manual_seed(0))
    states = teacher.path(noise, steps=40)[[0, -1]]
    batch = Batch(noise, states, torch.tensor([0.0, 1.0]), None)
    objective = build_objective(ObjectiveConfig(reconstruction=1.0, latent=1.0, prediction=1.0))
    optimizer = torch.optim.Adam(student.parameters(), lr=0.02)
    for step in range(1500):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 1500)
        optimizer.zero_grad()
        run = objective.run(student, batch, 0)
        objective.total(objective.terms(run)).backward()
        optimizer.step()
    (spectrum,) = student.spectrum()
    assert spectrum.gauge == "fixed" and "linear observables" in spectrum.pinned_by
    exact = spread / (spread**2 + 4.0).sqrt()
    torch.testing.assert_close(spectrum.modulus().sort().values, exact.double().sort().values, rtol=0.01, atol=0)
    assert isinstance(student.operators[0], BlockOperator)
