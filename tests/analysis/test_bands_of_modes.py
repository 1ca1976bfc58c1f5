"""Thirds and spectra of students of modes: a mode is one thing, however many channels and pixels it has."""

from __future__ import annotations

import math

import pytest
import torch

from koopstep.analysis.band_findings import order_finding
from koopstep.analysis.bands import band_effects, level_effects, tied
from koopstep.analysis.control import random_modes
from koopstep.analysis.cumulative import cumulative
from koopstep.analysis.modes import BANDS, ORDERS, band_masks, once, rates_of
from koopstep.analysis.rates import effect_sentence, mode_sentence, rate_sentence, read_rates
from koopstep.analysis.spectrum import summarise
from koopstep.analysis.trajectory import film, film_sentence
from koopstep.core.records import Batch
from koopstep.nets.unet import UNetConfig
from koopstep.operators.modes import ModesOperatorConfig
from koopstep.operators.spectrum import Spectrum
from koopstep.students.modes import ModesConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

UNET = UNetConfig(model_channels=4, channel_mult=(1,), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
STEPS = (0.0, 0.5, 1.0)
FACTS = DataFacts(shape=(2, 4, 4), noise_scale=10.0, progress=STEPS, levels=(10.0, 1.0, 0.0))


def student(modes: int = 3, shared_by: str = "all") -> KoopmanStudent:
    operator = ModesOperatorConfig.parse({"modes": modes, "real": min(1, modes), "shared_by": shared_by}, "operator")
    torch.manual_seed(0)
    made = build_student(ModesConfig(network=UNET, operator=operator), FACTS)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return made.eval().requires_grad_(False)


def noise(rows: int = 4) -> torch.Tensor:
    return torch.randn(rows, 2, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shared_by", ["all", "noise"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_third_never_cuts_a_mode(order: str, shared_by: str) -> None:
    made = student(4, shared_by)
    rates = rates_of(made, made.encode(10 * noise(), 0.0))
    masks = [band_masks(rates, band, order)[0] for band in BANDS]  # type: ignore[arg-type]
    assert torch.equal(sum(mask.int() for mask in masks), torch.ones_like(masks[0]).int())  # type: ignore[arg-type]
    (level,) = rates
    assert level.mode is not None
    for mode in range(6):
        own = level.mode.flatten() == mode
        assert sum(bool(mask[own].any()) for mask in masks) == 1
    assert [int(once(mask, level).sum()) for mask in masks] == [2, 2, 2]
    assert tied(rates, order) == 0.0 or order == "frequency"  # type: ignore[arg-type]


def test_what_a_third_adds_is_the_sum_of_its_modes() -> None:
    made = student()
    start = made.encode(10 * noise(), 0.0)
    whole, found = band_effects(made, made.evolve(start, 1.0), None, ["real"], rates=rates_of(made, start))
    parts = made.codec.modes(start)
    ends = parts.contributions(torch.ones(1))[0]
    by_growth = parts.growth_rates[0].argsort()
    torch.testing.assert_close(found[0].effect, ends[:, by_growth[:2]].sum(dim=1))
    torch.testing.assert_close(found[0].alone, found[0].effect)
    torch.testing.assert_close(sum(band.effect for band in found), whole)


def test_two_modes_make_two_thirds_and_few_modes_no_control() -> None:
    made = student(0)
    read, effects = read_rates(made), cumulative(made, 10 * noise(), None, points=2)
    assert read.control is None and read_rates(student(4)).control is not None
    assert list(read.effects()["real"]) == list(effects.energy) == ["smallest", "middle"]
    start = made.encode(10 * noise(), 0.0)
    assert level_effects(made, start, None, read.every, "real").shape == (1, 2)
    assert "random" not in effect_sentence(read) and "random" not in order_finding(read.bands, "real", read.control)


def test_random_thirds_are_of_modes() -> None:
    made = student()
    start = made.encode(10 * noise(), 0.0)
    end = made.evolve(start, 1.0)
    ends = made.codec.modes(end).images  # as they stand at the end
    sizes = random_modes(made, end, None, draws=5).sizes.flatten()
    pairs = torch.tensor([float((ends[:, i] + ends[:, j]).square().mean()) for i in range(5) for j in range(i)])
    singles = torch.tensor([float(ends[:, i].square().mean()) for i in range(5)])
    known = torch.cat([pairs, singles])
    assert bool(((sizes[:, None] - known).abs() < 1e-5 * (1 + known)).any(dim=1).all())


def test_a_spectrum_counts_each_mode_once() -> None:
    made = student()
    read = read_rates(made)
    (level,) = summarise(read.spectra)["levels"]
    assert level["dimension"] == 2 * 2 + 3 and level["pairs"] == 2 and level["real"] == 3
    assert level["gauge"] == "fixed" and level["on"] == 1
    assert read.rates[0].alpha.shape == (5, 1, 1)
    said = rate_sentence(read)
    assert said.startswith("Of 5 modes 1 stays as it is, 3 decay (half-lives of")
    assert "2 rotate (periods of" in said and said.endswith("and 1 grows.")
    alone = mode_sentence(torch.tensor([0.0, -1.0]), torch.tensor([0.0, 0.4426]))
    assert (
        "1 rotates (a period of 14.2 of the path)" in alone and "1 decays (a half-life of 0.693 of the path)" in alone
    )
    (full,) = made.spectrum()
    modes = full.modes()
    assert len(modes) == 5 and {mode.multiplicity for mode in modes} == {2 * 2 * 16}
    assert sum(mode.multiplicity for mode in modes) == len(full.eigenvalues)


def test_equal_eigenvalues_are_one_mode() -> None:
    values = torch.tensor([0.5, 0.5j, 0.5, -0.5j, 0.5j, -0.5j, 0.25], dtype=torch.complex128)
    modes = Spectrum(values).modes()
    assert [mode.multiplicity for mode in modes] == [2, 4, 1]
    assert [mode.angle for mode in modes] == [0.0, math.pi / 2, 0.0]


def test_a_film_is_one_evaluation() -> None:
    made, calls = student(), []
    made.codec.decoder_network().register_forward_hook(lambda *_: calls.append(1))
    states = torch.stack([10 * noise(), noise(), noise() / 10])
    found = film(made, Batch(noise(), states, torch.tensor(STEPS)), frames=5)
    assert found.evaluations == 1 and len(calls) == 1
    assert "from one evaluation of the network" in film_sentence(found)
    read = made.path(noise(), torch.tensor([0.25]))[0]
    size = float(made.codec.state_size(torch.tensor([0.25]))[0])
    torch.testing.assert_close(found.frames[1], read / size * 0.5)
