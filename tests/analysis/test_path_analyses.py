"""Bands, cumulative effects, linearity and vicinity on tiny students with known answers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from koopstep.analysis.bands import band_effects, finest, level_effects, require_rates, tied
from koopstep.analysis.control import (
    CHANCE,
    DRAWS,
    chance_effects,
    random_modes,
    share_as_far,
    share_as_large,
    stands_out,
)
from koopstep.analysis.cumulative import cumulative
from koopstep.analysis.frequencies import mean_frequency, radial_profile, radii
from koopstep.analysis.linearity import linearity
from koopstep.analysis.modes import BANDS, ORDERS, band_masks, drop, has_rates, keep, rates_of
from koopstep.analysis.trajectory import film
from koopstep.analysis.vicinity import moved, unrelated, vicinity
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.nets.linear import LinearConfig
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.operators.block import BlockConfig, BlockOperator
from koopstep.operators.dense import DenseConfig
from koopstep.operators.rates import Rates
from koopstep.students.hkd import HKDConfig
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

UNET = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
STEPS = (0.0, 0.5, 1.0)
IMAGE = DataFacts(shape=(1, 8, 8), data_scale=0.5, progress=STEPS, levels=STEPS)
VECTOR = DataFacts(shape=(2,), data_scale=0.5, progress=STEPS, levels=STEPS)


def image_student(**changes: object) -> KoopmanStudent:
    torch.manual_seed(0)
    student = build_student(HKDConfig(network=UNET, decoder_condition="target", **changes), IMAGE)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return student.eval().requires_grad_(False)


def noise(count: int = 4) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("modulation", ["none", "pooled", "local"])
def test_bands_are_disjoint_thirds_and_together_everything(order: str, modulation: str) -> None:
    student = image_student(operator=BlockConfig.parse({"modulation": modulation}, "o"))
    latent = student.encode(noise(), 0.0)
    rates = rates_of(student, latent)
    masks = [band_masks(rates, band, order) for band in BANDS]  # type: ignore[arg-type]
    for index, level in enumerate(rates):
        counted = sum(mask[index].int() for mask in masks)
        assert torch.equal(counted, torch.ones_like(level.alpha).int())  # type: ignore[arg-type]
        sizes = [int(mask[index].sum()) for mask in masks]
        assert max(sizes) - min(sizes) <= 1
        key = {"real": level.alpha, "modulus": (level.alpha**2 + level.beta**2).sqrt(), "frequency": level.beta.abs()}[
            order
        ]
        small, _, large = (key[mask[index]] for mask in masks)
        assert float(small.max()) <= float(large.min())
    kept = [keep(latent, mask) for mask in masks]
    for index, level in enumerate(latent):
        torch.testing.assert_close(kept[0][index] + kept[1][index] + kept[2][index], level)
        torch.testing.assert_close(kept[0][index] + drop(latent, masks[0])[index], level)


def test_a_band_kept_whole_is_the_sample() -> None:
    student = image_student()
    latent = student.evolve(student.encode(noise(), 0.0), 1.0)
    everything = tuple(torch.ones_like(level.alpha, dtype=torch.bool) for level in rates_of(student))
    assert torch.equal(student.decode(keep(latent, everything)), student.decode(latent))
    whole, found = band_effects(student, latent, None, ORDERS)
    torch.testing.assert_close(whole, student.generate(noise()))
    assert len(found) == 9
    for order in ORDERS:
        of_order = [band for band in found if band.order == order]
        assert sum(band.energy for band in of_order) == pytest.approx(1.0, abs=1e-5)
        assert finest(found, order) in BANDS
        for band in of_order:
            summary = band.summary()
            assert summary["effect"] > 0 and 0 < summary["spatial_frequency"] < 0.5


def test_radial_profiles_find_a_wave() -> None:
    across = torch.arange(16)
    for cycles in (1, 3, 8):
        wave = (2 * math.pi * cycles * across / 16).cos().expand(1, 1, 16, 16)
        profile = radial_profile(wave)
        assert profile is not None and float(profile.sum()) == pytest.approx(1.0)
        assert float(radii(len(profile))[profile.argmax()]) == pytest.approx(cycles / 16)
    assert radial_profile(torch.randn(3, 2)) is None


def test_bad_bands_and_students_are_named() -> None:
    rates = [Rates(torch.zeros(2, 1, 1), torch.zeros(2, 1, 1))]
    with pytest.raises(UsageError, match="bands are smallest, middle, largest"):
        band_masks(rates, "low")
    with pytest.raises(UsageError, match="bands are"):
        band_masks(rates, "smallest", "size")  # type: ignore[arg-type]
    mlp = MLPConfig(width=4, depth=1)
    kdm = build_student(KDMConfig(encoder=mlp, decoder=mlp, operator=DenseConfig(), latent=4), VECTOR)
    with pytest.raises(UsageError, match=r"--method hkd or hkd\+"):
        rates_of(kdm)


def test_a_kdm_student_of_pairs_has_bands_too() -> None:
    mlp = MLPConfig(width=4, depth=1)
    student = build_student(KDMConfig(encoder=mlp, decoder=mlp, operator=BlockConfig(), latent=6), VECTOR)
    assert has_rates(student) and not has_rates(image_student(operator=BlockConfig(sharing="none")))
    require_rates(student)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    noise = torch.randn(5, 2)
    latent = student.evolve(student.encode(noise, 0.0), 1.0)
    whole, found = band_effects(student, latent, None, ORDERS)
    torch.testing.assert_close(whole, student.generate(noise).detach())
    assert sum(band.energy for band in found if band.order == "real") == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(UsageError, match="knows its two ends only"):
        linearity(student, Batch(noise, torch.randn(3, 5, 2), torch.tensor(STEPS), None))


def test_cumulative_shares_sum_to_one_and_still_modes_keep_theirs() -> None:
    student = image_student()
    for operator in student.operators:
        assert isinstance(operator, BlockOperator)
        operator.alpha.zero_()
    found = cumulative(student, noise(), None, points=5)
    assert found.u == (0.0, 0.25, 0.5, 0.75, 1.0)
    for at in range(5):
        assert sum(found.energy[band][at] for band in BANDS) == pytest.approx(1.0, abs=1e-5)
    for band in BANDS:
        assert max(found.energy[band]) - min(found.energy[band]) < 1e-5  # rotations change no share
        assert all(value >= 0 for value in found.decoded[band])


def straight_student() -> tuple[KoopmanStudent, Batch]:
    """Linear observables of a path that turns and shrinks: nothing is left to be wrong."""
    student = build_student(
        HKDConfig(network=LinearConfig(), latent=2, observables="linear", decoder_condition="target"), VECTOR
    )
    operator = student.operators[0]
    assert isinstance(operator, BlockOperator)
    with torch.no_grad():
        operator.alpha.fill_(-1.0)
        operator.beta.fill_(0.8)
    start = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    states = torch.stack([operator.evolve(start, u) for u in STEPS]).detach()
    return student, Batch(start, states, torch.tensor(STEPS), None)


def test_a_straight_path_has_no_error() -> None:
    student, batch = straight_student()
    summary = linearity(student, batch).summary()
    assert summary["latent_error"] < 1e-6 and summary["latent_error_centred"] < 1e-6
    assert max(summary["end_error_by_u"]) < 1e-10 and max(summary["read_error_by_u"]) < 1e-10


def test_a_bent_path_has_errors_where_it_bends() -> None:
    student, batch = straight_student()
    states = batch.states.clone()
    states[1] *= 2
    summary = linearity(student, Batch(batch.noise, states, batch.progress, None)).summary()
    assert summary["latent_error_by_u"] == pytest.approx([0.0, 0.5, 0.0], abs=1e-6)
    assert summary["latent_error"] == pytest.approx(0.25)
    assert summary["end_error_by_u"][1] == pytest.approx(float(batch.data.square().mean()), rel=1e-4)
    ends = Batch(batch.noise, states[[0, 2]], batch.progress[[0, 2]], None)
    with pytest.raises(UsageError, match="collect with --keep all"):
        linearity(student, ends)


@pytest.mark.parametrize("along", [0.0, 1.0])
def test_what_all_rows_share_is_no_error_and_no_motion_of_theirs(along: float) -> None:
    """A constant, or one that moves along the path."""
    student, batch = straight_student()
    states = batch.states.clone()
    states[1] *= 2
    shift = 100 * (batch.progress if along else torch.ones(3)).view(-1, 1, 1)
    found, shifted = (
        linearity(student, Batch(batch.noise, at, batch.progress, None)).summary() for at in (states, states + shift)
    )
    for name in ("latent_error_centred", "latent_error_centred_without_evolution", "explained"):
        assert shifted[name] == pytest.approx(found[name], rel=1e-3)
        assert abs(found[name]) > 0.1
    assert shifted["latent_error"] != pytest.approx(found["latent_error"], rel=0.1)


def test_vicinity_starts_at_zero_and_keeps_the_noise_at_unit_size() -> None:
    start, other = torch.randn(2, 5000, 3, generator=torch.Generator().manual_seed(0)).unbind()
    for sigma in (0.0, 0.3, 0.6):
        assert float(moved(start, other, sigma).std()) == pytest.approx(1.0, abs=0.02)
    found = vicinity({"twice": lambda x: 2 * x}, start, other, {"mse": lambda a, b: float((a - b).square().mean())})
    values = found.distances["twice"]["mse"]
    assert values[0] == 0 and values == sorted(values)
    expected = 4 * float((moved(start, other, 0.6) - start).square().mean())
    assert values[-1] == pytest.approx(expected) and found.samples["twice"].shape == (7, 5000, 3)


def test_noise_by_chance_has_no_finest_third_and_a_wave_has_its_frequency() -> None:
    student = image_student()
    latent = student.evolve(student.encode(noise(), 0.0), 1.0)
    drawn = chance_effects(student, latent, None)
    assert [band.order for band in drawn] == [CHANCE] * 3
    assert sum(band.energy for band in drawn) == pytest.approx(1.0, abs=1e-5)
    wave = (2 * math.pi * 3 * torch.arange(16) / 16).cos().expand(5, 1, 16, 16)
    assert mean_frequency(wave) == pytest.approx(3 / 16)
    fine, coarse = (2 * math.pi * 6 * torch.arange(8) / 8).cos(), (2 * math.pi * torch.arange(8) / 8).cos()
    one, two, three = drawn
    clear = [
        replace(one, effect=fine.expand(4, 1, 8, 8)),
        replace(two, effect=coarse.expand(4, 1, 8, 8)),
        replace(three, effect=coarse.expand(4, 1, 8, 8)),
    ]
    assert finest(clear, CHANCE) == one.band
    control = random_modes(student, latent, None)
    assert control.gaps is not None and len(control.gaps) == DRAWS == len(control.gaps.unique())
    assert float(control.gaps.min()) >= 0
    assert share_as_far(clear, CHANCE, control) == 1 / (DRAWS + 1)
    assert share_as_far([replace(band, effect=clear[1].effect) for band in clear], CHANCE, control) == 1
    assert share_as_far([replace(one, effect=torch.ones(4, 2))], CHANCE, control) is None
    assert share_as_large([replace(one, effect=one.effect * 100), two, three], CHANCE, control) == 1 / (DRAWS + 1)
    assert share_as_large([replace(band, effect=band.effect / 100) for band in drawn], CHANCE, control) == 1
    low, high = control.spread
    assert low < control.middle < high and control.sizes.shape == (DRAWS, 3)
    assert (stands_out(0.05), stands_out(0.06), stands_out(None)) == (True, False, None)


def test_thirds_by_chance_do_not_stand_out_however_sure_each_one_is() -> None:
    """With many rows the noise of samples is nothing, and any choice of modes seems finer than the next."""
    student = image_student()
    latent = student.evolve(student.encode(noise(16), 0.0), 1.0)
    control = random_modes(student, latent, None)
    drawn = [chance_effects(student, latent, None, seed=seed) for seed in range(40)]
    for share in (share_as_far, share_as_large):
        chosen = [stands_out(share(thirds, CHANCE, control)) for thirds in drawn]
        assert sum(map(bool, chosen)) <= 7  # 2 expected; 8 or more of 40 once in a thousand


def test_a_third_dropped_at_every_level_alone() -> None:
    student = image_student()
    latent = student.evolve(student.encode(noise(), 0.0), 1.0)
    effects = level_effects(student, latent, None, rates_of(student), "real")
    assert effects.shape == (len(latent), 3) and bool((effects > 0).all())
    masks = band_masks(rates_of(student), "middle", "real")
    only = tuple(mask if index == 1 else torch.zeros_like(mask) for index, mask in enumerate(masks))
    change = (student.decode(latent) - student.decode(drop(latent, only))).square().mean()
    assert float(effects[1, 1]) == pytest.approx(float(change), rel=1e-5)


def test_ties_at_the_edges_are_told() -> None:
    apart = torch.arange(12.0).view(12, 1, 1)
    assert tied([Rates(apart, apart)], "real") == 0.0
    assert tied([Rates(torch.zeros_like(apart), apart)], "real") == 1.0
    assert tied([Rates(torch.zeros_like(apart), apart)], "modulus") == 0.0
    half = torch.where(apart < 6, 0.0, apart)  # the edge after 4 cuts six equal modes, that after 8 none
    assert tied([Rates(half, apart)], "real") == 0.5
    still = image_student(operator=BlockConfig(sharing="none"))
    with pytest.raises(UsageError, match="no modes to sort"):
        require_rates(still)


def test_without_evolution_a_latent_that_moves_is_wrong() -> None:
    student, batch = straight_student()
    summary = linearity(student, batch).summary()
    stayed = batch.states[0] - batch.states[2]
    expected = float(stayed.square().sum().sqrt() / batch.states[2].square().sum().sqrt())
    assert summary["latent_error_without_evolution_by_u"][0] == 0
    assert summary["latent_error_without_evolution_by_u"][2] == pytest.approx(expected, rel=1e-5)
    apart = batch.states[2] - batch.states[2].mean(dim=0)
    centred = summary["latent_error_centred_without_evolution_by_u"]
    moved = stayed - stayed.mean(dim=0)
    assert centred[2] == pytest.approx(float((moved.square().sum() / apart.square().sum()).sqrt()), rel=1e-5)
    assert summary["latent_error_centred_without_evolution"] == pytest.approx(sum(centred[1:]) / 2)
    assert summary["explained"] == pytest.approx(1.0) and summary["rows"] == 6


def test_a_film_of_a_straight_path_is_the_teachers() -> None:
    student, batch = straight_student()
    found = film(student, batch, frames=5)
    assert found.u == STEPS and found.reads_path
    torch.testing.assert_close(found.student, found.teacher, atol=1e-5, rtol=1e-4)
    assert max(found.summary()["distance_by_u"]) < 1e-9
    torch.testing.assert_close(found.frames[::2], found.student)
    beside = found.beside()
    assert beside is not None
    torch.testing.assert_close(beside, found.teacher[[0, 0, 1, 1, 2]])
    few = film(student, batch, frames=5, drawn=2)
    assert torch.equal(few.student, found.student) and torch.equal(few.frames, found.frames[:, :2])
    beside = few.beside()
    assert beside is not None and beside.shape[1] == 2
    ends = film(student, Batch(batch.noise, batch.states[[0, 2]], batch.progress[[0, 2]], None))
    assert len(ends.u) == 9 and ends.beside() is None
    assert [bool(state.isnan().any()) for state in ends.teacher] == [False, *[True] * 7, False]


def test_unrelated_samples_are_those_of_other_rows() -> None:
    samples = torch.tensor([[0.0], [1.0], [3.0]])
    assert unrelated(samples, lambda a, b: float((a - b).square().mean())) == pytest.approx((9 + 1 + 4) / 3)
