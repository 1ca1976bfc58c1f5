"""Bands, cumulative effects, linearity and vicinity on tiny students with known answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from koopstep.analysis.bands import band_effects, finest, radial_profile, radii
from koopstep.analysis.cumulative import cumulative
from koopstep.analysis.linearity import linearity
from koopstep.analysis.modes import BANDS, ORDERS, band_masks, drop, keep, rates_of
from koopstep.analysis.vicinity import moved, vicinity
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.nets.linear import LinearConfig
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.operators.block import BlockConfig, BlockOperator, Rates
from koopstep.operators.dense import DenseConfig
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
    student = build_student(HKDConfig(network=UNET, decoder_told="target", **changes), IMAGE)  # type: ignore[arg-type]
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
        HKDConfig(network=LinearConfig(), latent=2, observables="linear", decoder_told="target"), VECTOR
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
    offset = Batch(batch.noise, states + 100, batch.progress, None)
    bent = linearity(student, offset).summary()
    assert bent["latent_error_centred"] > bent["latent_error"]
    ends = Batch(batch.noise, states[[0, 2]], batch.progress[[0, 2]], None)
    with pytest.raises(UsageError, match="collect with --keep all"):
        linearity(student, ends)


def test_vicinity_starts_at_zero_and_keeps_the_noise_at_unit_size() -> None:
    start, other = torch.randn(2, 5000, 3, generator=torch.Generator().manual_seed(0)).unbind()
    for sigma in (0.0, 0.3, 0.6):
        assert float(moved(start, other, sigma).std()) == pytest.approx(1.0, abs=0.02)
    found = vicinity({"twice": lambda x: 2 * x}, start, other, {"mse": lambda a, b: float((a - b).square().mean())})
    values = found.distances["twice"]["mse"]
    assert values[0] == 0 and values == sorted(values)
    expected = 4 * float((moved(start, other, 0.6) - start).square().mean())
    assert values[-1] == pytest.approx(expected) and found.samples["twice"].shape == (7, 5000, 3)
