"""Masks, and modes of a reference mixed into a part of a picture: what moves, what stays, and when it matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from koopstep.analysis.findings import Images
from koopstep.analysis.frequencies import mean_frequency
from koopstep.analysis.modes import BANDS, band_masks, rates_of
from koopstep.core.errors import UsageError
from koopstep.core.levels import karras_sigmas
from koopstep.core.pixels import in_plain_range
from koopstep.editing import masks, mixing
from koopstep.editing.mix import MixOptions, mix_modes
from koopstep.editing.mixing import EditPoint
from koopstep.editing.pictures import fit
from koopstep.nets.unet import UNetConfig
from koopstep.operators.block import BlockConfig
from koopstep.students.hkd import HKDConfig
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


def student(**config: object) -> KoopmanStudent:
    """A student in float64 whose weights and rates are not those of a fresh one."""
    torch.manual_seed(0)
    made = build_student(HKDConfig(network=UNET, **config), FACTS).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, dtype=torch.float64))
    return made.eval().requires_grad_(False)


def noise(seed: int, count: int = 3) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed)).double()


def edited(made: KoopmanStudent, point: EditPoint, ratio: float = 0.7) -> torch.Tensor:
    latent, reference = mixing.arrive(made, noise(1), point), mixing.arrive(made, noise(2), point)
    modes = mixing.within(band_masks(rates_of(made), "middle"), masks.lower_left(8, 8))
    return mixing.finish(made, mixing.mix(latent, reference, modes, ratio), point)


def test_with_static_rates_the_point_of_an_edit_does_not_matter() -> None:
    made = student()
    first = edited(made, EditPoint(0.0))
    assert not mixing.matters(made, EditPoint())
    assert not torch.allclose(first, made.generate(noise(1)), atol=1e-3)  # the edit does something
    for u in (0.3, 0.5, 0.9):
        torch.testing.assert_close(edited(made, EditPoint(u)), first, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("config", "reencode"),
    [({"operator": BlockConfig(modulation="local")}, False), ({"decoder_condition": "target"}, True)],
)
def test_the_progress_matters_with_rates_of_the_state_or_encoding_again(
    config: dict[str, object], reencode: bool
) -> None:
    made = student(**config)
    assert mixing.matters(made, EditPoint(reencode=reencode))
    early, late = edited(made, EditPoint(0.2, reencode)), edited(made, EditPoint(0.8, reencode))
    assert not torch.allclose(early, late, atol=1e-4)


def test_a_ratio_of_nothing_changes_nothing_and_all_of_everything_is_the_reference() -> None:
    made, point = student(), EditPoint()
    latent, reference = mixing.arrive(made, noise(1), point), mixing.arrive(made, noise(2), point)
    everything = mixing.all_modes(rates_of(made))
    for level, same in zip(mixing.mix(latent, reference, everything, 0.0), latent, strict=True):
        assert torch.equal(level, same)
    whole = mixing.finish(made, mixing.mix(latent, reference, everything, 1.0), point)
    torch.testing.assert_close(whole, mixing.finish(made, reference, point))


def test_only_the_modes_that_are_meant_are_mixed() -> None:
    made, point = student(), EditPoint()
    latent, reference = mixing.arrive(made, noise(1), point), mixing.arrive(made, noise(2), point)
    modes = mixing.within(band_masks(rates_of(made), "largest"), masks.rectangle((0, 0.5, 1, 1), 8, 8))
    for level, before, mask in zip(mixing.mix(latent, reference, modes, 0.5), latent, modes, strict=True):
        both = torch.cat([mask, mask])
        assert torch.equal(level[:, ~both], before[:, ~both])
        assert not torch.equal(level[:, both], before[:, both])
        assert not mask[:, : mask.shape[1] // 2].any()


def test_bands_are_disjoint_and_chance_draws_as_many() -> None:
    rates = rates_of(student())
    bands = [band_masks(rates, band, "frequency") for band in BANDS]
    assert sum(mixing.count(band) for band in bands) == mixing.count(mixing.all_modes(rates))
    drawn = mixing.chance_modes(bands[1], 0)
    assert [int(a.sum()) for a in drawn] == [int(b.sum()) for b in bands[1]]
    assert any(not torch.equal(a, b) for a, b in zip(drawn, bands[1], strict=True))
    assert {mask.shape[1] for mask in mixing.finest(bands[0]) if mask.any()} == {8}


def test_changes_are_told_apart_by_place() -> None:
    before = torch.zeros(2, 1, 8, 8)
    mask = masks.rectangle((0, 0, 0.5, 1), 8, 8)
    after = torch.where(mask, 2.0, 1.0).expand(2, 1, 8, 8)
    found = mixing.change(before, after, mask)
    assert (found.inside, found.outside, found.outside_over_inside) == (4.0, 1.0, 0.25)
    whole = mixing.change(before, after, torch.ones(8, 8, dtype=torch.bool))
    assert whole.outside is None and whole.outside_over_inside is None
    assert mixing.change(before, before, mask).outside_over_inside is None


def test_fine_detail_is_no_structure_and_has_a_high_frequency() -> None:
    checks = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    flat, mask = torch.zeros(1, 1, 8, 8), masks.lower_left(8, 8)
    assert mixing.structure_error(flat, flat + checks, mask) == pytest.approx(0, abs=1e-9)
    assert mixing.structure_error(flat, flat + 1, mask) == pytest.approx(1)
    assert mean_frequency(flat + checks) == pytest.approx(0.5**0.5)
    assert mean_frequency(flat + 1) == mean_frequency(flat) == 0


def test_bands_say_what_they_write_at_the_output() -> None:
    made, point = student(), EditPoint()
    latent = mixing.arrive(made, noise(1), point)
    found = mixing.band_frequencies(made, latent, rates_of(made), "real", point)
    assert list(found) == list(BANDS) and all(0 < value < 0.72 for value in found.values())


@pytest.mark.parametrize(
    ("point", "ratio", "words"),
    [
        (EditPoint(1.0), 0.5, "below 1"),
        (EditPoint(0.5, True), 0.5, "hkd+"),
        (EditPoint(), 1.5, "a ratio is from 0"),
    ],
)
def test_what_cannot_be_mixed(point: EditPoint, ratio: float, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("+", r"\+")):
        edited(student(), point, ratio)


def test_masks_keep_their_place_at_every_size() -> None:
    triangle = masks.lower_left(8, 8)
    assert masks.area(triangle) == pytest.approx(28 / 64)
    assert triangle[7, 0] and not triangle[0, 7]
    assert torch.equal(masks.of_level(triangle, 4, 4), masks.lower_left(4, 4))
    assert torch.equal(masks.of_level(triangle, 8, 8), triangle)
    quarter = masks.rectangle((0.5, 0, 1, 0.5), 8, 8)
    assert quarter[:4, 4:].all() and int(quarter.sum()) == 16


def test_a_mask_from_a_file_is_white_inside(tmp_path: Path) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32] = 255
    Image.fromarray(picture).save(tmp_path / "m.png")
    assert torch.equal(masks.read_mask(tmp_path / "m.png", 8, 8), masks.rectangle((0, 0, 1, 0.5), 8, 8))


def test_bad_masks_are_told(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "black.png")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep.png")
    for name, words in {
        "none.png": "no such",
        "text.png": "cannot be read",
        "black.png": "nothing is white",
        "deep.png": "8-bit",
    }.items():
        with pytest.raises(UsageError, match=words):
            masks.read_mask(tmp_path / name, 8, 8)
    for corners in ((0, 0, 1.5, 1), (0.5, 0, 0.5, 1), (-0.1, 0, 1, 1), (0.01, 0.01, 0.02, 0.02)):
        with pytest.raises(UsageError, match="rectangle"):
            masks.rectangle(corners, 8, 8)


def test_real_pictures_come_back_along_the_path_they_would_have_gone() -> None:
    """With static rates back and forth is nothing; with rates of the state, read at another end, it is something."""
    for modulation, exact in (("none", True), ("local", False)):
        made, data = student(operator=BlockConfig(modulation=modulation)), noise(3)  # type: ignore[arg-type]
        at_end = made.decode(made.encode(data, 1.0), 1.0)
        for u in (0.0, 0.5, 0.9):
            latent = mixing.come_back(made, data, EditPoint(u))
            assert not torch.allclose(latent[0], made.encode(data, 1.0)[0], atol=1e-4)
            again = mixing.finish(made, latent, EditPoint(u))
            assert torch.allclose(again, at_end, rtol=1e-9, atol=1e-9) is exact


def test_edited_pictures_of_another_range_are_shown_in_the_usual_one() -> None:
    usual, other = student().float(), student().float()
    other.facts = FACTS.model_copy(update={"data_range": (0.0, 3.0)})
    options = MixOptions(count=3, ratios=(0.5,))
    shown, moved = (mix_modes(made, options) for made in (usual, other))
    torch.testing.assert_close(moved.pictures, in_plain_range(shown.pictures, (0.0, 3.0)))
    (table, *_), (same, *_) = moved.findings.views, shown.findings.views
    assert isinstance(table, Images) and isinstance(same, Images) and table.data_range == (-1.0, 1.0)
    torch.testing.assert_close(table.rows[0].images, in_plain_range(same.rows[0].images, (0.0, 3.0)))


def test_pictures_are_brought_into_the_student_s_range() -> None:
    black_and_white = torch.tensor([0, 255] * 32, dtype=torch.uint8).reshape(1, 1, 8, 8)
    facts = FACTS.model_copy(update={"data_range": (-0.5, 0.25)})
    assert fit(black_and_white, facts, "here").unique().tolist() == [-0.5, 0.25]
    assert fit(black_and_white, FACTS, "here").unique().tolist() == [-1.0, 1.0]
