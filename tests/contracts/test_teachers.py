"""What every teacher promises, over every member of the table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from koopstep.core.config import Config, dump
from koopstep.core.errors import UsageError
from koopstep.core.tensors import load_tensors, tensors_sha256
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.teachers.analytic import GaussianConfig, MixtureConfig
from koopstep.teachers.base import Teacher, TeacherIdentity
from koopstep.teachers.diffusers.config import DiffusersConfig, UNet2DConfig
from koopstep.teachers.edm import EDMConfig
from koopstep.teachers.files import TeacherHeader, read_teacher_file, save_teacher
from koopstep.teachers.flow import FlowConfig
from koopstep.teachers.table import TEACHERS

MLP = MLPConfig(width=16, depth=2)
UNET = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=(2,))
UNET2D = UNet2DConfig(
    sample_size=4,
    in_channels=2,
    out_channels=2,
    block_out_channels=(8, 8),
    layers_per_block=1,
    norm_num_groups=4,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
)
MEMBERS: dict[str, Config] = {
    "diffusers": DiffusersConfig(network=UNET2D),
    "diffusers-ddim": DiffusersConfig(network=UNET2D, solver="ddim"),
    "edm": EDMConfig(shape=(2,), network=MLP),
    "edm-image-classes": EDMConfig(shape=(2, 4, 4), num_classes=3, network=UNET, solver="euler", sigma_max=20.0),
    "flow": FlowConfig(shape=(2,), num_classes=3, network=MLP),
    "flow-heun": FlowConfig(shape=(2,), network=MLP, solver="heun"),
    "flow-midpoint-image": FlowConfig(shape=(2, 4, 4), network=UNET, solver="midpoint"),
    "gaussian": GaussianConfig(dimension=3, sigma_max=5.0),
    "mixture": MixtureConfig(dimension=2, components=4),
}


@dataclass(frozen=True)
class Made:
    """A member with weights that are not those of a fresh network (which is nearly silent)."""

    config: Any
    model: nn.Module
    teacher: Teacher

    def noise(self, count: int, seed: int = 0) -> Tensor:
        return torch.randn(count, *self.teacher.shape, generator=torch.Generator().manual_seed(seed))

    def labels(self, count: int) -> Tensor | None:
        return torch.arange(count) % self.teacher.num_classes if self.teacher.num_classes else None


@pytest.fixture(params=sorted(MEMBERS))
def made(request: pytest.FixtureRequest) -> Made:
    config: Any = MEMBERS[request.param]
    kind = TEACHERS[config.kind]
    torch.manual_seed(0)
    model = kind.build(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    if config.kind == "mixture":
        model.means.copy_(torch.randn(4, 2))  # type: ignore[union-attr, operator]
    return Made(config, model, kind.teacher(config, model, "a member", "digest"))


def test_every_kind_is_a_member() -> None:
    assert {config.model_dump()["kind"] for config in MEMBERS.values()} == set(TEACHERS)


def test_levels_go_one_way_from_noise_to_data(made: Made) -> None:
    for steps in (1, 2, 9):
        levels = torch.tensor(made.teacher.levels(steps), dtype=torch.float64)
        assert levels.shape == (steps + 1,)
        assert bool((levels.diff() < 0).all()) or bool((levels.diff() > 0).all())
        assert float(levels[-1]) in (0.0, 1.0)
        if float(levels[-1]) == 0.0:
            unit_noise = float(1 + levels[0] ** 2) ** 0.5  # DDPM's start, in sigma
            assert made.teacher.noise_scale in (pytest.approx(float(levels[0])), pytest.approx(unit_noise))


def test_the_path_goes_from_scaled_noise_to_data(made: Made) -> None:
    noise = made.noise(3)
    path = made.teacher.path(noise, made.labels(3), steps=4)
    assert (path.shape, path.dtype) == ((5, *noise.shape), torch.float32)
    torch.testing.assert_close(path[0], noise * made.teacher.noise_scale)
    assert bool(torch.isfinite(path).all())
    assert not path.requires_grad
    assert torch.equal(made.teacher.path(noise, made.labels(3), steps=4), path)  # deterministic
    assert bool(((path[-1] - path[0]).flatten(1).abs().amax(dim=1) > 1e-3).all())


def test_states_are_the_path(made: Made) -> None:
    with torch.no_grad():
        states = list(made.teacher.states(made.noise(2), made.labels(2), 3))
    assert all(state.dtype == torch.float64 for state in states)
    path = made.teacher.path(made.noise(2), made.labels(2), steps=3)
    assert torch.equal(torch.stack(states).float(), path)


def test_rows_do_not_depend_on_the_batch(made: Made) -> None:
    noise, labels = made.noise(5), made.labels(5)
    together = made.teacher.path(noise, labels, steps=3)
    for row in range(5):
        own = None if labels is None else labels[[row]]
        torch.testing.assert_close(
            made.teacher.path(noise[[row]], own, steps=3)[:, 0], together[:, row], rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_calls_are_counted_right(made: Made, steps: int) -> None:
    calls: list[int] = []
    made.model.register_forward_pre_hook(lambda *_: calls.append(1))
    made.teacher.path(made.noise(2), made.labels(2), steps=steps)
    assert len(calls) == made.teacher.evaluations(steps)


def test_the_identity_says_who_made_a_path(made: Made) -> None:
    identity, teacher = made.teacher.identity(6), made.teacher
    assert (identity.name, identity.sha256, identity.kind) == ("a member", "digest", made.config.kind)
    assert (identity.shape, identity.num_classes, identity.solver) == (
        teacher.shape,
        teacher.num_classes,
        teacher.solver,
    )
    assert identity.num_function_evaluations == teacher.evaluations(6)
    assert (identity.noise_scale, identity.data_scale) == (teacher.noise_scale, teacher.data_scale)
    assert identity.data_scale > 0
    assert TeacherIdentity.parse(dump(identity), "again") == identity


def test_class_labels(made: Made) -> None:
    noise = made.noise(4)
    if not made.teacher.num_classes:
        with pytest.raises(UsageError, match="knows no classes"):
            made.teacher.path(noise, torch.zeros(4, dtype=torch.int64), steps=2)
        return
    one, two = (made.teacher.path(noise, torch.full((4,), label), steps=2)[-1] for label in (0, 1))
    assert bool(((one - two).flatten(1).abs().amax(dim=1) > 1e-6).all())
    assert bool(torch.isfinite(made.teacher.path(noise, steps=2)).all())  # no class: as the network was built for
    for wrong in (torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, -1])):
        with pytest.raises(UsageError, match="from 0 to 2"):
            made.teacher.path(noise, wrong, steps=2)
    with pytest.raises(UsageError, match="one row of 4 numbers"):
        made.teacher.path(noise, torch.zeros(3, dtype=torch.int64), steps=2)


def test_wrong_calls_are_named(made: Made) -> None:
    with pytest.raises(UsageError, match="makes samples of shape"):
        made.teacher.path(torch.randn(2, 7), steps=2)
    for steps in (0, -1):
        with pytest.raises(UsageError, match="steps must be at least 1"):
            made.teacher.path(made.noise(2), made.labels(2), steps=steps)


def test_saved_and_loaded(made: Made, tmp_path: Path) -> None:
    header = TeacherHeader(config=made.config, name="a member", weights_dtype="float64")
    digest = save_teacher(tmp_path / "t.safetensors", header, made.model)
    file = read_teacher_file(tmp_path / "t.safetensors")
    assert file.sha256 == digest
    weights = load_tensors(tmp_path / "t.safetensors")[0]
    assert file.header == header.model_copy(update={"tensors_sha256": tensors_sha256(weights)})
    noise, labels = made.noise(3), made.labels(3)
    assert torch.equal(file.teacher.path(noise, labels, steps=4), made.teacher.path(noise, labels, steps=4))
    assert file.teacher.identity(4) == made.teacher.identity(4).model_copy(update={"sha256": digest})


def test_what_can_be_trained_learns(made: Made) -> None:
    loss = TEACHERS[made.config.kind].loss
    assert (loss is None) == (made.config.kind in ("diffusers", "gaussian", "mixture"))
    if loss is None:
        return
    data = 0.5 * made.noise(64, seed=1)
    draw = torch.randn(64, 1 + data[0].numel(), generator=torch.Generator().manual_seed(2))
    before = loss(made.config, made.model, data, made.labels(64), draw)
    before.backward()
    gradients = [parameter.grad for parameter in made.model.parameters()]
    assert all(gradient is not None and bool(torch.isfinite(gradient).all()) for gradient in gradients)
    size = sum(float(gradient.square().sum()) for gradient in gradients if gradient is not None)
    with torch.no_grad():
        for parameter, gradient in zip(made.model.parameters(), gradients, strict=True):
            parameter -= 1e-4 / size**0.5 * gradient  # type: ignore[operator]
    assert float(loss(made.config, made.model, data, made.labels(64), draw).detach()) < float(before.detach())


def test_a_network_s_noisiest_label_is_what_it_sees_first(made: Made) -> None:
    label = TEACHERS[made.config.kind].noisiest_label
    if label is None:
        return
    seen: list[Tensor] = []
    made.model.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))  # type: ignore[union-attr, operator]
    made.teacher.path(made.noise(2), made.labels(2), steps=2)
    assert seen[0].tolist() == pytest.approx([label(made.config)] * 2, abs=1e-6)
