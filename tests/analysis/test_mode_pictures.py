"""``analyze modes``: numbers that follow from paths made by hand, pictures that add up, sentences that say what is there."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from koopstep.analysis.findings import Curves, Fields, Images, PointStrips
from koopstep.analysis.mode_energies import ModeReading, half_life, period, read_modes, require_modes
from koopstep.analysis.mode_pictures import captions_of, mode_findings
from koopstep.analysis.mode_words import modes_sentence, spread_words
from koopstep.analysis.subject import HeldOut, Subject
from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian
from koopstep.core.records import Batch, Found
from koopstep.data.sources import DataSource
from koopstep.figures.draw import draw_all
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.operators.modes import ModesOperatorConfig
from koopstep.students.decomposition import ModeDecomposition
from koopstep.students.modes import ModesConfig
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student
from koopstep.teachers.base import Teacher

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
UNET = UNetConfig(model_channels=4, channel_mult=(1,), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
SHAPES = {"plane": (2,), "vectors": (5,), "grey": (1, 8, 8), "colour": (3, 8, 8), "latents": (4, 8, 8)}


class Own(Subject):
    """A student that learned nothing, and paths that are its own."""

    def __init__(self, shape: tuple[int, ...], shared_by: str = "all", num_classes: int = 0) -> None:
        network = UNET if len(shape) == 3 else MLPConfig(width=8, depth=2)
        operator = ModesOperatorConfig.parse({"modes": 3, "real": 1, "shared_by": shared_by}, "operator")
        facts = DataFacts(
            shape=shape,
            num_classes=num_classes,
            noise_scale=8.0,
            progress=STEPS,
            levels=(8.0, 4.0, 2.0, 0.5, 0.0),
            data_range=(-1.0, 1.0) if shape[0] < 4 else None,
            unseen=(0.5,),
        )
        self.student = build_student(ModesConfig(network=network, operator=operator), facts)
        with torch.no_grad():
            for number, parameter in enumerate(self.student.codec.parameters()):
                spread = torch.empty_like(parameter)
                parameter += nn.init.normal_(spread, std=0.2, generator=torch.Generator().manual_seed(number))
        self.student.eval().requires_grad_(False)

    @cached_property
    def _held_out(self) -> HeldOut:
        facts = self.student.facts
        noise = gaussian(0, range(12), facts.shape)
        labels = torch.arange(12) % facts.num_classes if facts.num_classes else None
        states = self.student.path(noise, torch.tensor(STEPS), labels)
        states[0] = 8 * noise
        return HeldOut(Batch(noise, states, torch.tensor(STEPS), labels), states[-1], 4)

    def held_out(self) -> HeldOut:
        return self._held_out

    def teacher(self) -> Found[Teacher]:
        return Found(None, UsageError("there is none"))

    def reference(self) -> Found[DataSource]:
        return Found(None, UsageError("there is none"))


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_has_its_pictures(name: str, tmp_path: Path) -> None:
    found = mode_findings(Own(SHAPES[name]))
    assert found.conclusion.endswith("(12 held-out rows).")
    assert set(found.captions) == {view.file for view in found.views}
    kinds = {view.file: type(view) for view in found.views}
    assert kinds["modes.png"] is (Images if len(SHAPES[name]) == 3 else PointStrips)
    assert kinds.get("modes_pictures.png") is {"plane": Fields, "vectors": None}.get(name, Images)
    assert ("modes_spectrum.png" in kinds) == (len(SHAPES[name]) == 3)
    for file in draw_all(found.views, tmp_path):
        with Image.open(file) as picture:
            assert min(picture.size) > 200


def test_own_paths_are_explained_and_the_held_out_time_is_marked() -> None:
    found = mode_findings(Own((1, 8, 8)))
    path = found.values["path"]
    assert path["u"] == [0.25, 0.5, 0.75, 1.0] and path["unseen"] == [False, True, False, False]
    assert max(path["unexplained"]) < 1e-3 < min(path["standing_still"][:-1]) and path["standing_still"][-1] < 1e-3
    (along,) = (view for view in found.views if view.file == "modes_along.png")
    assert isinstance(along, Curves)
    rings = along.panels["unexplained share of the states"]["at times never trained on"][1]
    assert [value == value for value in rings] == [False, True, False, False]
    assert [mode["name"] for mode in found.values["modes"]] == ["constant", "mode 1", "mode 2", "mode 3", "remainder"]


def test_numbers_are_those_of_the_modes() -> None:
    subject = Own((1, 8, 8))
    batch = subject.rows()
    read = read_modes(subject.student, batch)
    assert float(read.energy.sum()) == pytest.approx(1) and float(read.energy[0]) == 0
    latent = subject.student.encode(batch.states[0], 0.0)
    images = latent[0].view(12, 2, 5, 1, 8, 8).clone()
    images[:, :, 2] = 0
    without = subject.student.read((images.view_as(latent[0]),), 0.0, torch.tensor(STEPS))
    spread = (batch.data - batch.data.mean(dim=0)).square().mean()
    lost = (batch.data - without[-1]).square().mean() / spread
    assert float(read.effect[2]) == pytest.approx(float(lost.sqrt()), rel=1e-3)
    half = subject.student.codec.state_size(torch.tensor([0.5]))[0]
    part = (batch.states[2] - without[2]).square().mean().sqrt() / half
    assert float(read.size[20, 2]) == pytest.approx(float(part), rel=1e-3)
    assert read.profile is not None and torch.allclose(read.profile.sum(dim=1), torch.ones(5))
    values = read.summary()[1]
    alpha, beta = subject.student.operators[0].mode_rates()  # type: ignore[operator]
    assert values["growth_rate"] == pytest.approx(float(alpha[1])) and values["period"] == period(float(beta[1]))
    assert values["half_life"] == half_life(float(alpha[1])) and read.summary()[0]["half_life"] is None


def test_the_rows_of_the_picture_add_up_to_the_path() -> None:
    for name in ("grey", "latents"):
        strip = mode_findings(Own(SHAPES[name])).views[0]
        assert isinstance(strip, Images)
        _, whole, *parts = [row.images for row in strip.rows]
        nothing = whole - sum(parts)  # what is drawn of a sample of zeros
        torch.testing.assert_close(nothing, nothing[:1].expand_as(nothing), rtol=0, atol=1e-4)
        assert bool((nothing.flatten(2) == 0).all()) or name == "latents"


def test_rates_of_their_own_are_shown_by_class_or_in_order() -> None:
    by_class = mode_findings(Own((2,), "class", num_classes=3))
    (rates,) = (view for view in by_class.views if view.file == "modes_rates.png")
    assert isinstance(rates, Curves) and rates.across == "class"
    x, y = rates.panels["growth rate"]["mode 1"]
    assert list(x) == [0, 1, 2] and len(set(y)) == 3
    assert by_class.values["modes"][1]["growth_rate_spread"] > 0
    assert not rates.joined
    apart = max(mode["growth_rate_spread"] for mode in by_class.values["modes"])
    told = by_class.captions["modes_rates.png"].finding
    assert apart > 0 and told.startswith("Classes differ by at most") and told.endswith("of the mean rates.")
    of_noise = mode_findings(Own((2,), "noise"))
    (rates,) = (view for view in of_noise.views if view.file == "modes_rates.png")
    assert isinstance(rates, Curves) and rates.across == "per cent of the rows"
    assert rates.joined and of_noise.captions["modes_rates.png"].finding.startswith("Noises differ by at most")
    ordered = list(rates.panels["growth rate"]["mode 1"][1])
    assert ordered == sorted(ordered)
    assert not any(view.file == "modes_rates.png" for view in mode_findings(Own((2,))).views)


def by_hand(*energy: float) -> ModeReading:
    count = len(energy)
    modes = ModeDecomposition(
        torch.zeros(1, count, 2),
        torch.zeros(1, count, 2),
        torch.linspace(0, -4, count)[None],
        torch.zeros(1, count),
    )
    every: Tensor = torch.tensor(energy)
    return ModeReading(modes, every, every, torch.zeros(1), every[None], None, None, True)


def test_sentences() -> None:
    read = by_hand(0.0, 0.6, 0.005, 0.35, 0.045)
    assert read.leading == [1, 3] and read.not_needed == [2]
    said = modes_sentence(read, None, 1)
    assert "2 of them hold 90 % of the moving energy: mode 1 and mode 3. Mode 2 is not needed (below 1 %)." in said
    assert said.endswith("no states within the path to compare with (1 held-out row).")
    rows = ModeDecomposition(
        torch.zeros(2, 3, 2), torch.zeros(2, 3, 2), torch.tensor([[0.0, -1, -3], [0, -1.5, -3]]), torch.zeros(2, 3)
    )
    told = spread_words(replace(read, modes=rows), "classes")
    assert "at most 0.500 in a mode's growth rate and 0 in its rotation" in told
    needed = modes_sentence(replace(read, energy=torch.tensor([0.0, 0.95, 0.02, 0.02, 0.01])), None, 2)
    assert "1 of them holds 90 % of the moving energy: mode 1." in needed and "not needed" not in needed


def test_students_without_modes_are_refused() -> None:
    from koopstep.students.hkd import HKDConfig

    facts = DataFacts(shape=(2,), progress=STEPS, levels=STEPS)
    student = build_student(HKDConfig(network=MLPConfig(width=8, depth=2), latent=4), facts)
    with pytest.raises(UsageError, match="train with --method modes"):
        require_modes(student)
    with pytest.raises(UsageError, match="train with --method modes"):
        student.modes(torch.zeros(1, 2))


def test_one_leading_mode_is_not_compared_with_itself() -> None:
    subject = Own((1, 8, 8))
    read = read_modes(subject.student, subject.rows())
    one = replace(read, energy=torch.eye(5)[2], frequency=torch.full((5,), 0.25))
    told = captions_of(one, None, "", "rows")["modes_spectrum.png"].finding
    assert told == "The leading mode, mode 2, has 0.250 cycles a pixel on the mean."
    two = replace(one, energy=torch.tensor([0.0, 0.5, 0.5, 0.0, 0.0]), frequency=torch.arange(5) / 10)
    told = captions_of(two, None, "", "rows")["modes_spectrum.png"].finding
    assert "mode 1 is the coarsest" in told and "mode 2 the finest" in told
