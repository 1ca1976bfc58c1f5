"""Analyses and their pictures of data that cannot be drawn as they are: long vectors, and latents of four planes."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from koopstep.analysis.band_findings import bands
from koopstep.analysis.findings import Clouds, Findings, Images, PointPairs
from koopstep.analysis.outcomes import require_outcomes
from koopstep.analysis.outliers import require_plane
from koopstep.analysis.pairs import pairs_view
from koopstep.analysis.rates import spectrum
from koopstep.analysis.subject import HeldOut, Subject
from koopstep.analysis.trajectory import beside_the_teacher
from koopstep.analysis.vicinity import moved_noise
from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian
from koopstep.core.records import Batch, Found
from koopstep.data.sources import DataSource
from koopstep.figures.draw import draw_all
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.students.hkd import HKDConfig
from koopstep.students.student import DataFacts
from koopstep.students.table import StudentConfig, build_student
from koopstep.teachers.base import Teacher

STEPS = (0.0, 0.5, 1.0)
UNET = UNetConfig(model_channels=4, channel_mult=(1,), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
SHAPES: dict[str, tuple[tuple[int, ...], StudentConfig]] = {
    "vectors": ((16,), HKDConfig(network=MLPConfig(width=16, depth=2), latent=8, decoder_condition="target")),
    "latents": ((4, 8, 8), HKDConfig(network=UNET, decoder_condition="target")),
}


class Fresh(Subject):
    """A student that learned nothing, and paths from noise to noise."""

    def __init__(self, shape: tuple[int, ...], config: StudentConfig) -> None:
        self.student = build_student(
            config, DataFacts(shape=shape, data_scale=0.5, progress=STEPS, levels=STEPS, data_range=None)
        )
        with torch.no_grad():
            for number, parameter in enumerate(self.student.parameters()):
                nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(number))
        self.student.eval().requires_grad_(False)

    @cached_property
    def _held_out(self) -> HeldOut:
        noise, data = (gaussian(seed, range(24), self.student.facts.shape) for seed in (0, 1))
        states = torch.stack([noise, (noise + data) / 2, data / 2])
        return HeldOut(Batch(noise, states, torch.tensor(STEPS), None), self.student.generate(noise), 2)

    def held_out(self) -> HeldOut:
        return self._held_out

    def teacher(self) -> Found[Teacher]:
        return Found(None, UsageError("there is none"))

    def reference(self) -> Found[DataSource]:
        return Found(None, UsageError("there is none"))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("find", [spectrum, bands, beside_the_teacher, moved_noise], ids=lambda find: find.__name__)
def test_every_shape_has_its_pictures(name: str, find: object, tmp_path: Path) -> None:
    subject = Fresh(*SHAPES[name])
    found: Findings = find(subject)  # type: ignore[operator]
    assert found.conclusion.endswith(".") and found.numbers
    if find is beside_the_teacher:  # of all rows, however few are drawn
        assert found.values["rows"] == 24 and "(24 held-out rows)" in found.conclusion
    assert set(found.captions) == {view.file for view in found.views if view.file.endswith(".png")}
    for file in draw_all(found.views, tmp_path):
        with Image.open(file) as picture:
            assert min(picture.size) > 90
    samples = [view for view in found.views if isinstance(view, (Clouds, Images))]
    assert samples or find is spectrum
    for view in samples:
        shown = "principal components" in found.captions[view.file].text
        assert shown and isinstance(view, Clouds if name == "vectors" else Images)
        if isinstance(view, Clouds):
            assert view.axes == ("first principal component", "second principal component")
            assert all(points.shape == (24, 2) for points in view.sets.values())


@pytest.mark.parametrize("name", SHAPES)
def test_samples_beside_the_teachers_of_every_shape(name: str, tmp_path: Path) -> None:
    view = pairs_view(Fresh(*SHAPES[name]), most=6)
    drawn = (view.left, view.right) if isinstance(view, PointPairs) else (view.upper, view.lower)
    assert [tuple(samples.shape) for samples in drawn] == [(24, 2) if name == "vectors" else (6, 3, 8, 8)] * 2
    draw_all([view], tmp_path)
    assert (tmp_path / "samples.png").is_file()


def test_what_makes_no_sense_is_refused_plainly() -> None:
    subject = Fresh(*SHAPES["vectors"])
    with pytest.raises(UsageError, match="2-D samples only"):
        require_plane(subject)
    with pytest.raises(UsageError, match="there is none"):
        require_outcomes(subject)
