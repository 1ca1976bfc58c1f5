"""Modes with names: which are meant, scaled and exchanged in a mask, with the rates that rows carry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from koopstep.analysis.modes import rates_of
from koopstep.core.errors import UsageError
from koopstep.core.levels import karras_sigmas
from koopstep.editing import masks, mixing
from koopstep.editing.mix import MixOptions, mix_modes
from koopstep.editing.mixing import EditPoint
from koopstep.editing.scale import ScaleOptions, scale_modes, scale_sentence
from koopstep.editing.selection import chosen_modes, in_words, masks_of, names_of, other_modes
from koopstep.nets.unet import UNetConfig
from koopstep.operators.block import BlockConfig
from koopstep.operators.modes import ModesOperatorConfig
from koopstep.students.hkd import HKDConfig
from koopstep.students.modes import ModesConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

UNET = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
FACTS = DataFacts(
    shape=(1, 8, 8),
    noise_scale=20.0,
    data_scale=0.5,
    progress=(0.0, 0.25, 0.5, 0.75, 1.0),
    levels=tuple(karras_sigmas(4, 0.002, 20.0).tolist()),
)
WHOLE = torch.ones(8, 8, dtype=torch.bool)
TOP = masks.rectangle((0, 0, 1, 0.5), 8, 8)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def student(shared_by: str = "all", within: bool = True, **facts: object) -> KoopmanStudent:
    """A student in float64, of three modes, whose weights are not those of a fresh one."""
    torch.manual_seed(0)
    rates = ModesOperatorConfig(
        modes=3,
        shared_by=shared_by,  # type: ignore[arg-type]
        growth_rates=(-1.0, -3.0, -2.0, -5.0),
        rotation_rates=(1.0, 2.0, 4.0),
    )
    config = ModesConfig(network=UNET, operator=rates, within=within)
    made = build_student(config, FACTS.model_copy(update=facts)).double()
    with torch.no_grad():
        for parameter in made.codec.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    return made.eval().requires_grad_(False)


def noise(seed: int, count: int = 3) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed)).double()


def at_point(made: KoopmanStudent, seed: int, u: float = 0.5) -> tuple[Tensor, ...]:
    return mixing.arrive(made, noise(seed), EditPoint(u))


def test_modes_have_names() -> None:
    made, latent = student(), at_point(student(), 1)
    assert names_of(made) == ("constant", "1", "2", "3", "remainder")
    assert chosen_modes(made, latent, ["3", "constant", "3"], 0.5) == (0, 3)
    assert chosen_modes(made, latent, ["mode 3", "constant"], 0.5) == (0, 3)
    assert chosen_modes(made, latent, ["all"], 0.5) == (0, 1, 2, 3, 4)
    assert in_words(made, (0, 1, 3, 4)) == "the constant, modes 1 and 3 and the remainder"
    assert in_words(made, (2,)) == "mode 2" and in_words(made, (0, 1, 2, 3, 4)) == "all modes"
    assert other_modes(made, (0, 1, 2), 0) == (3, 4) and other_modes(made, range(5), 0) == ()
    assert set(other_modes(made, (0,), 0)) < {1, 2, 3, 4}


def test_the_leading_modes_hold_nine_tenths_of_the_energy() -> None:
    """A mode that is made large leads alone; wherever along the path the latent stands."""
    made = student()
    for mode in (1, 2, 3, 4):
        latent = made.codec.scale_modes(at_point(made, 1, 0.0), [mode], torch.tensor(100.0).double())
        assert chosen_modes(made, latent, ["leading"], 0.0) == (mode,)
        assert chosen_modes(made, made.evolve(latent, 0.7), ["leading"], 0.7) == (mode,)
    twice = made.codec.scale_modes(at_point(made, 1, 0.0), [1, 3], torch.tensor(100.0).double())
    assert set(chosen_modes(made, twice, ["leading"], 0.0)) <= {1, 3}


@pytest.mark.parametrize(
    ("wanted", "words"),
    [(["4"], "constant, 1, 2, 3, remainder"), (["mode 4"], "got 'mode 4'"), (["led"], "leading"), ([], "at least")],
)
def test_unknown_names_are_told(wanted: list[str], words: str) -> None:
    made = student()
    with pytest.raises(UsageError, match=words):
        chosen_modes(made, at_point(made, 1), wanted, 0.5)


@pytest.mark.parametrize("shared_by", ["all", "noise"])
def test_scaling_is_of_images_and_partners_in_the_mask_alone(shared_by: str) -> None:
    """The rates that rows carry beside the pictures stay; by 0 a mode is gone from every state, by 1 nothing is changed."""
    made = student(shared_by)
    latent = at_point(made, 1, 0.0)
    scaled = made.codec.scale_modes(latent, [2], torch.where(TOP, 3.0, 1.0))
    before, after = made.codec.modes(latent), made.codec.modes(scaled)
    for old, new in ((before.images, after.images), (before.partners, after.partners)):
        torch.testing.assert_close(new[:, 2, :, :4], 3 * old[:, 2, :, :4])
        assert torch.equal(new[:, 2, :, 4:], old[:, 2, :, 4:])
        others = [0, 1, 3, 4]
        assert torch.equal(new[:, others], old[:, others])
    assert torch.equal(after.growth_rates, before.growth_rates)
    assert torch.equal(after.rotation_rates, before.rotation_rates)
    assert torch.equal(made.codec.scale_modes(latent, [1, 2], torch.ones(()))[0], latent[0])
    u = torch.linspace(0, 1, 5).double()
    without = made.read(made.codec.scale_modes(latent, [2], torch.zeros(())), 0.0, u)
    torch.testing.assert_close(without, made.read(latent, 0.0, u) - before.contributions(u)[:, :, 2], **CLOSE)


@pytest.mark.parametrize("shared_by", ["noise", "class"])
def test_exchange_carries_the_rates_along(shared_by: str) -> None:
    """All of a mode from another row, its rates too: from there on it is the other row's mode; the rest is its own."""
    made = student(shared_by, num_classes=3 if shared_by == "class" else 0)
    labels, theirs = (torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])) if shared_by == "class" else (None, None)
    point = EditPoint(0.5)
    latent, reference = (
        mixing.arrive(made, noise(1), point, labels),
        mixing.arrive(made, noise(2), point, theirs),
    )
    chosen = mixing.within(masks_of(rates_of(made, latent), [2]), WHOLE)
    mixed = mixing.mix(latent, reference, chosen, 1.0)
    own, other, both = (made.codec.modes(one) for one in (latent, reference, mixed))
    assert not torch.allclose(own.growth_rates[:, 2], other.growth_rates[:, 2])
    torch.testing.assert_close(both.growth_rates[:, 2], other.growth_rates[:, 2])
    torch.testing.assert_close(both.rotation_rates[:, 2], other.rotation_rates[:, 2])
    torch.testing.assert_close(both.growth_rates[:, [0, 1, 3, 4]], own.growth_rates[:, [0, 1, 3, 4]])
    u = torch.tensor([0.5]).double()
    parts = own.contributions(u)[0]
    parts[:, 2] = other.contributions(u)[0][:, 2]
    torch.testing.assert_close(mixing.finish(made, mixed, point, labels), parts.sum(dim=1), **CLOSE)


def test_in_a_mask_each_pixel_goes_on_by_the_rates_it_was_given() -> None:
    made, point = student("noise"), EditPoint(0.5)
    latent, reference = at_point(made, 1), at_point(made, 2)
    chosen = mixing.within(masks_of(rates_of(made, latent), range(5)), TOP)
    mixed = mixing.finish(made, mixing.mix(latent, reference, chosen, 1.0), point)
    torch.testing.assert_close(mixed[:, :, :4], mixing.finish(made, reference, point)[:, :, :4], **CLOSE)
    torch.testing.assert_close(mixed[:, :, 4:], mixing.finish(made, latent, point)[:, :, 4:], **CLOSE)


def test_mixing_speaks_of_modes() -> None:
    found = mix_modes(student().float(), MixOptions(count=3, ratios=(0.5, 0.9), modes=("1", "constant"))).findings
    assert found.values["chosen"] == ["constant", "1"] and found.values["reencoded"] is True
    assert set(found.values["edits"]) == {"chosen", "all", "chance"}
    assert "mixing the constant and mode 1 changes" in found.conclusion and "others" in found.conclusion
    alone = mix_modes(student().float(), MixOptions(count=3, ratios=(0.9,), modes=("all",), reencode=False)).findings
    assert (
        set(alone.values["edits"]) == {"chosen", "all"}
        and "mixing all modes changes the structure by" in alone.conclusion
    )
    assert alone.values["outside_over_inside"] == 0  # modes are pixels: without encoding again nothing leaks


def test_scaling_says_what_it_did() -> None:
    made = student().float()
    edit = scale_modes(made, ScaleOptions(count=3, modes=("2",), scales=(1.0, 0.0), reencode=False))
    values = edit.findings.values
    assert [entry["scale"] for entry in values["edits"]["chosen"]] == [0.0, 1.0]
    assert values["edits"]["chosen"][1]["mse_inside"] == 0 < values["edits"]["chosen"][0]["mse_inside"]
    assert values["modes"]["chosen"] == ["2"] and len(values["modes"]["chance"]) == 1
    assert edit.pictures.shape == (3, 1, 8, 8)
    assert edit.findings.conclusion == scale_sentence(values)
    assert "Scaling mode 2 by 0 at u = 0.5 changes pictures" in edit.findings.conclusion
    again = scale_modes(made, ScaleOptions(count=3)).findings.values
    assert again["reencoded"] is True and [e["scale"] for e in again["edits"]["chosen"]] == [0.0, 0.5, 1.5, 2.0]
    bare = scale_modes(student(within=False).float(), ScaleOptions(count=3)).findings.values
    assert bare["reencoded"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count"),
        ({"scales": ()}, "at least one"),
        ({"scales": (1e9,)}, "-100"),
        ({"at": 1.0}, "at is from"),
    ],
)
def test_settings_out_of_range(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ScaleOptions(**options)  # type: ignore[arg-type]


def test_names_are_for_students_that_have_them() -> None:
    block = build_student(HKDConfig(network=UNET, operator=BlockConfig()), FACTS)
    with pytest.raises(UsageError, match="--method modes"):
        scale_modes(block, ScaleOptions(count=2))
    with pytest.raises(UsageError, match="--method modes"):
        block.codec.scale_modes((torch.zeros(1),), [0], torch.ones(()))
    with pytest.raises(UsageError, match="this one has bands"):
        mix_modes(block, MixOptions(count=2, modes=("1",)))
    with pytest.raises(UsageError, match="have names"):
        mix_modes(student(), MixOptions(count=2, band="middle"))
