"""Filling in: bases are orthonormal, what is known is kept, and a perfect guess is found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.levels import flow_times, karras_sigmas
from koopstep.editing import masks, zeroshot
from koopstep.editing.zeroshot import Basis, Colours, Patches, Pixels
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.operators.dense import DenseConfig
from koopstep.students.hkd import HKDConfig
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

UNET = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
SIGMA = DataFacts(
    shape=(3, 8, 8),
    noise_scale=20.0,
    data_scale=0.5,
    progress=STEPS,
    levels=tuple(karras_sigmas(4, 0.002, 20.0).tolist()),
)
FLOW = DataFacts(shape=(3, 8, 8), data_scale=0.5, progress=STEPS, levels=tuple(flow_times(4).tolist()))
BASES: dict[str, Basis] = {
    "pixels": Pixels(masks.rectangle(masks.LEFT_HALF, 8, 8)),
    "colours": Colours(),
    "patches": Patches(2),
    "large patches": Patches(4),
}


def pictures(count: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).tanh()


def student(facts: DataFacts) -> KoopmanStudent:
    torch.manual_seed(0)
    return build_student(HKDConfig(network=UNET), facts).eval().requires_grad_(False)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 16])
def test_the_reflection_is_orthonormal_and_begins_flat(size: int) -> None:
    matrix = zeroshot.orthonormal(size)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(matrix[0], torch.full((size,), size**-0.5, dtype=torch.float64))


@pytest.mark.parametrize("basis", BASES.values(), ids=BASES)
def test_bases_keep_lengths_and_come_back(basis: Basis) -> None:
    x = pictures().double()
    coefficients = basis.forward(x)
    torch.testing.assert_close(basis.backward(coefficients), x)
    torch.testing.assert_close(coefficients.square().sum(), x.square().sum())


def test_what_is_known_is_what_it_is_called() -> None:
    x, other = pictures(), pictures(seed=1)
    half = zeroshot.impose(other, x, BASES["pixels"])
    assert torch.equal(half[..., 4:], x[..., 4:]) and torch.equal(half[..., :4], other[..., :4])
    grey = zeroshot.impose(other, x, BASES["colours"])
    torch.testing.assert_close(grey.mean(dim=1), x.mean(dim=1))
    small = zeroshot.impose(other, x, BASES["patches"])
    pool = torch.nn.functional.avg_pool2d
    torch.testing.assert_close(pool(small, 2), pool(x, 2))


@pytest.mark.parametrize("facts", [SIGMA, FLOW], ids=["sigma", "flow"])
@pytest.mark.parametrize("basis", BASES.values(), ids=BASES)
def test_a_student_keeps_what_is_known(basis: Basis, facts: DataFacts) -> None:
    made, truth = student(facts), pictures()
    path = made.codec.schedule()
    given = {"progress": zeroshot.progress_from(path, 3), "seed": 0}
    start = torch.zeros(1, 3, 8, 8)
    filled = zeroshot.fill_in(zeroshot.student_guess(made), path, truth, basis, start, **given)  # type: ignore[arg-type]
    torch.testing.assert_close(zeroshot.impose(filled, truth, basis), filled, rtol=0, atol=1e-5)
    if isinstance(basis, Pixels):
        assert torch.equal(filled[..., ~basis.hole], truth[..., ~basis.hole])
    # the missing part of the truth is not looked at
    hidden = zeroshot.impose(torch.zeros_like(truth), truth, basis)
    again = zeroshot.fill_in(zeroshot.student_guess(made), path, hidden, basis, start, **given)  # type: ignore[arg-type]
    torch.testing.assert_close(again, filled, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("facts", [SIGMA, FLOW], ids=["sigma", "flow"])
def test_a_teacher_that_knows_the_answer_finds_it(facts: DataFacts) -> None:
    truth, path, basis = pictures(), facts.schedule(), BASES["pixels"]
    start, progress = torch.zeros(1, 3, 8, 8), zeroshot.progress_from(path, 4)

    def field(x: Tensor, level: Tensor, labels: Tensor | None) -> Tensor:
        return truth if path.falling else (truth - x) / (1 - level.view(-1, 1, 1, 1))

    guess = zeroshot.teacher_guess(field, path)
    for found in (
        zeroshot.fill_in(guess, path, truth, basis, start, progress=progress, seed=0),
        zeroshot.teacher_fill_in(field, path, truth, basis, start, progress=progress, seed=0),
    ):
        torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)
        assert torch.equal(found[..., 4:], truth[..., 4:])


def test_the_noise_is_the_seeds() -> None:
    made, truth, start = student(SIGMA), pictures(), torch.zeros(1, 3, 8, 8)
    path, guess = made.codec.schedule(), zeroshot.student_guess(made)
    runs = [
        zeroshot.fill_in(guess, path, truth, BASES["pixels"], start, progress=[0.0, 0.5], seed=seed)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_filling_in_starts_where_noise_hides_little() -> None:
    path = SIGMA.schedule()
    progress = zeroshot.progress_from(path, 5)
    levels = path.levels_at(progress)
    assert 1.5 < levels[0] <= 4 * 0.5 and levels == sorted(levels, reverse=True) and progress[-1] < 1
    assert zeroshot.progress_from(path, 4, 0.0) == [0.0, 0.25, 0.5, 0.75]
    (t,) = FLOW.schedule().levels_at(zeroshot.progress_from(FLOW.schedule(), 1))
    assert (1 - t) / (t * 0.5) == pytest.approx(4, rel=0.1)


def test_scores_look_at_what_was_missing_only() -> None:
    truth = torch.zeros(2, 3, 8, 8)
    wrong = truth.clone()
    wrong[..., :4] = 0.2
    torch.testing.assert_close(zeroshot.missing_error(wrong, truth, BASES["pixels"]), torch.full((2,), 0.04))
    torch.testing.assert_close(zeroshot.psnr(wrong, truth, BASES["pixels"]), torch.full((2,), 20.0))
    torch.testing.assert_close(zeroshot.missing_error(truth + 0.2, truth, Patches(2)), torch.zeros(2))


def test_what_cannot_be_filled_in() -> None:
    mlp = MLPConfig(width=8, depth=2, fourier=0)
    ends = build_student(
        KDMConfig(encoder=mlp, decoder=mlp, operator=DenseConfig(), latent=4), DataFacts(shape=(2,), noise_scale=80.0)
    )
    with pytest.raises(UsageError, match="--method hkd"):
        ends.codec.schedule()
    path = SIGMA.schedule()
    for steps, first, words in ((0, None, "at least 1 step"), (3, 1.0, "below 1"), (3, -0.1, "below 1")):
        with pytest.raises(UsageError, match=words):
            zeroshot.progress_from(path, steps, first)
