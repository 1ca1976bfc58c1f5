"""EDM teachers of every preconditioning: their grids, labels, paths and losses; the packaged ones are what they were."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.core.levels import iddpm_sigmas, karras_sigmas
from koopstep.nets.adm import ADMConfig
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.preconditioning import PRECONDITIONINGS, EDMDenoiser, VelocityModel
from koopstep.nets.unet import UNetConfig
from koopstep.teachers.edm import (
    TRAINING_LEVELS,
    EDMConfig,
    build_edm,
    edm_loss,
    edm_sigmas,
    edm_teacher,
    noisiest_label,
)
from koopstep.teachers.files import TeacherHeader, read_teacher_file, save_teacher
from koopstep.teachers.flow import FlowConfig, build_flow, flow_loss
from koopstep.teachers.table import TEACHERS

MLP = MLPConfig(width=16, depth=2)
UNET = UNetConfig(
    model_channels=8,
    channel_mult=(1, 2),
    channel_mult_emb=2,
    num_blocks=1,
    attention_resolutions=(4,),
    augment_channels=3,
    embedding="fourier",
    encoder="residual",
    channel_mult_noise=2,
    resample_filter=(1, 3, 3, 1),
)
ADM = ADMConfig(model_channels=8, channel_mult=(1, 2), channel_mult_emb=2, num_blocks=1, channels_per_head=8)

# Weighted sums of what the packaged teachers gave for fixed states before this family had other members.
BEFORE = {
    "checkerboard-edm": [0.676840843224929, 1.7963039451442342, -0.39738612737571405],
    "checkerboard-fm": [-0.36409071205125315, 3.8276153080479722, -2.3892376092261816],
    "digits-cond-edm": [1.350727192608666, -2.9565064473277234, -3.4966185037807733],
    "digits-edm": [1.2188752749136689, -3.3420463328589913, -0.8865543880782106],
}


@pytest.mark.parametrize("name", BEFORE)
def test_packaged_teachers_are_what_they_were(name: str) -> None:
    file = read_teacher_file(name)
    size = math.prod(file.teacher.shape)
    x = (torch.arange(3 * size, dtype=torch.float64) * 0.7311).sin().reshape(3, *file.teacher.shape).float()
    classes = torch.tensor([0, 1, 7]) if file.teacher.num_classes else None
    value = file.model(x, torch.tensor([0.05, 0.4, 0.9]), classes).double().flatten(1)
    sums = value @ (torch.arange(size, dtype=torch.float64) * 0.317).cos()
    assert sums.tolist() == pytest.approx(BEFORE[name], abs=2e-5)


def config(preconditioning: str, **changes: Any) -> EDMConfig:
    return EDMConfig(**{"shape": (2,), "network": MLP, "preconditioning": preconditioning, **changes})


def test_grids_keep_to_what_the_preconditioning_knows() -> None:
    assert torch.equal(edm_sigmas(config("edm"), 18), karras_sigmas(18))
    assert torch.equal(edm_sigmas(config("vp"), 18), karras_sigmas(18))
    assert torch.equal(edm_sigmas(config("ve"), 18), karras_sigmas(18, 0.02, 80.0))
    wide = {"sigma_min": 1e-9, "sigma_max": 1e9}
    for name in ("vp", "ve", "iddpm"):
        known, grid = PRECONDITIONINGS[name], edm_sigmas(config(name, **wide), 7)
        assert (float(grid[0]), float(grid[-2])) == pytest.approx((known.sigma_max, known.sigma_min))
    narrow = edm_sigmas(config("ve", sigma_min=0.5, sigma_max=3.0), 4)
    assert (float(narrow[0]), float(narrow[-2])) == pytest.approx((3.0, 0.5))


@pytest.mark.parametrize("steps", [1, 18, 40, 256])
def test_improved_ddpm_s_grid_is_of_levels_it_knows(steps: int) -> None:
    grid = edm_sigmas(config("iddpm"), steps)
    assert grid.shape == (steps + 1,)
    assert bool(torch.isin(grid, iddpm_sigmas()).all())
    assert bool((grid.diff() < 0).all())
    if steps in (18, 40):  # as EDM's sampler rounds them
        wanted = karras_sigmas(steps, PRECONDITIONINGS["iddpm"].sigma_min, 80.0)[:-1]
        nearest = [min(iddpm_sigmas().tolist(), key=lambda level: abs(level - sigma)) for sigma in wanted.tolist()]
        assert grid[:-1].tolist() == nearest


def test_ranges_without_levels_are_named() -> None:
    with pytest.raises(UsageError, match="sigma_min < sigma_max"):
        edm_sigmas(config("ve", sigma_max=0.01), 5)
    with pytest.raises(UsageError, match="steps must be at most 992"):
        edm_sigmas(config("iddpm"), 1000)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("edm", math.log(80) / 4),
        ("vp", 999 * (math.sqrt(0.01 + 39.8 * math.log(6401)) - 0.1) / 19.9),
        ("ve", math.log(40)),
        ("iddpm", 991.0),
    ],
)
def test_the_noisiest_label(name: str, expected: float) -> None:
    assert noisiest_label(config(name)) == pytest.approx(expected, rel=1e-6)
    assert TEACHERS["edm"].noisiest_label is noisiest_label


FAMILY = {
    "vp-song": config("vp", shape=(3, 8, 8), network=UNET),
    "ve-song": config("ve", shape=(3, 8, 8), network=UNET, num_classes=3),
    "iddpm-adm": config("iddpm", shape=(3, 8, 8), network=ADM, num_classes=3),
    "edm-adm": config("edm", shape=(3, 8, 8), network=ADM, num_classes=3),
    "edm-song": config("edm", shape=(3, 8, 8), network=UNET),
    "iddpm-vector": config("iddpm"),
}


@pytest.mark.parametrize("name", FAMILY)
def test_paths_and_files(name: str, tmp_path: Any) -> None:
    member = FAMILY[name]
    torch.manual_seed(0)
    model = build_edm(member).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    seen: list[Tensor] = []
    model.model.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    teacher = edm_teacher(member, model, "a member", "")
    noise = torch.randn(2, *member.shape)
    classes = torch.tensor([0, 2]) if member.num_classes else None
    path = teacher.path(noise, classes, steps=3)
    assert path.shape == (4, 2, *member.shape)
    assert bool(torch.isfinite(path).all())
    torch.testing.assert_close(path[0], noise * float(edm_sigmas(member, 3)[0]))
    assert seen[0].tolist() == pytest.approx([noisiest_label(member)] * 2, rel=1e-5)
    save_teacher(tmp_path / "t.safetensors", TeacherHeader(config=member, name="a member"), model)
    again = read_teacher_file(tmp_path / "t.safetensors")
    assert again.header.config == member
    assert torch.equal(again.teacher.path(noise, classes, steps=3), path)


def test_improved_ddpm_s_network_also_has_a_variance() -> None:
    outputs = {
        name: build_edm(FAMILY[name]).state_dict()["model.out_conv.bias"].shape for name in ("edm-adm", "iddpm-adm")
    }
    assert outputs == {"edm-adm": (3,), "iddpm-adm": (6,)}


@pytest.mark.parametrize("name", FAMILY)
def test_every_weight_gets_a_gradient(name: str) -> None:
    member = FAMILY[name]
    torch.manual_seed(0)
    model = build_edm(member)
    data, draw = 0.5 * torch.randn(4, *member.shape), torch.randn(4, 1 + math.prod(member.shape))
    classes = torch.arange(4) % member.num_classes if member.num_classes else None
    channels = getattr(member.network, "augment_channels", 0)
    edm_loss(member, model, data, classes, draw, torch.randn(4, channels) if channels else None).backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters())


class Perfect(nn.Module):
    """Gives the data back, moved by a fixed amount; remembers the levels and what it was told."""

    def __init__(self, data: Tensor, miss: float) -> None:
        super().__init__()
        self.data, self.miss = data, miss
        self.seen: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> Tensor:
        self.seen = (x, sigma)
        return self.data + self.miss


@pytest.mark.parametrize("name", ["vp", "ve", "iddpm"])
def test_older_losses_are_the_error_of_the_noise(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(500, 2, generator=generator, dtype=torch.float64)
    draw = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    model: Any = Perfect(data, 0.3)
    value = float(edm_loss(config(name), model, data, None, draw))
    x, sigma = model.seen
    torch.testing.assert_close((x - data) / sigma[:, None], draw[:, 1:])
    assert value == pytest.approx(float((0.3 / sigma).square().mean()))


def test_older_losses_draw_levels_evenly() -> None:
    """Sorted levels, as shares of the range that each is to be even in, rise in a straight line."""
    even = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    normal = torch.special.ndtri(even)
    vp = TRAINING_LEVELS["vp"](normal, 0.5).flip(0)
    t = (((0.1**2 + 39.8 * (1 + vp**2).log()).sqrt() - 0.1) / 19.9 - 1e-5) / (1 - 1e-5)
    torch.testing.assert_close(t, even, rtol=0, atol=1e-6)
    ve = TRAINING_LEVELS["ve"](normal, 0.5)
    torch.testing.assert_close((ve / 0.02).log() / math.log(5000), even, rtol=0, atol=1e-9)
    assert torch.equal(TRAINING_LEVELS["iddpm"](normal, 0.5), iddpm_sigmas()[:-1])
    far = TRAINING_LEVELS["iddpm"](torch.tensor([-50.0, 50.0]).double(), 0.5)
    assert far.tolist() == iddpm_sigmas()[[0, 999]].tolist()


@pytest.mark.parametrize("kind", ["edm", "flow"])
def test_losses_tell_the_network_of_augmentation(kind: str) -> None:
    torch.manual_seed(0)
    member: Any = (
        EDMConfig(shape=(1, 8, 8), network=UNET) if kind == "edm" else FlowConfig(shape=(1, 8, 8), network=UNET)
    )
    model = TEACHERS[kind].build(member)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    loss: Any = TEACHERS[kind].loss
    data, draw, augment = torch.randn(3, 1, 8, 8), torch.randn(3, 65), torch.randn(3, 3)
    plain, told = loss(member, model, data, None, draw), loss(member, model, data, None, draw, augment_labels=augment)
    assert float(plain.detach()) == float(loss(member, model, data, None, draw, augment_labels=None).detach())
    zero = loss(member, model, data, None, draw, augment_labels=torch.zeros(3, 3))
    assert float(zero.detach()) == pytest.approx(float(plain.detach()), rel=1e-6)  # no label: not augmented
    assert abs(float(told.detach()) - float(plain.detach())) > 1e-4


def test_a_network_that_cannot_be_told_of_augmentation_is_named() -> None:
    data, draw, augment = torch.randn(3, 2), torch.randn(3, 3), torch.randn(3, 9)
    edm, flow = EDMConfig(shape=(2,), network=MLP), FlowConfig(shape=(2,), network=MLP)
    with pytest.raises(UsageError, match="set the network's augment_channels"):
        edm_loss(edm, build_edm(edm), data, None, draw, augment)
    with pytest.raises(UsageError, match="set the network's augment_channels"):
        flow_loss(flow, build_flow(flow), data, None, draw, augment)


def test_double_precision_goes_all_the_way() -> None:
    for member in (FAMILY["vp-song"], FAMILY["iddpm-adm"]):
        model: EDMDenoiser = build_edm(member).double()
        x = torch.randn(2, *member.shape, dtype=torch.float64)
        assert model(x, torch.tensor([0.5, 3.0])).dtype == torch.float64
    velocity: VelocityModel = build_flow(FlowConfig(shape=(3, 8, 8), network=UNET)).double()
    assert velocity(x, torch.tensor(0.5)).dtype == torch.float64


def test_a_header_of_an_unknown_preconditioning_is_named() -> None:
    plain = {"shape": [2], "network": {"kind": "mlp"}, "preconditioning": "dpm"}
    with pytest.raises(UsageError, match="preconditioning"):
        EDMConfig.parse(plain, "header")
