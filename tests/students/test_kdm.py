"""KDM's codec: scales at the two ends, planes and linear modules, what pins the observables."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from koopstep.core.errors import UsageError
from koopstep.nets.adm import ADMConfig
from koopstep.nets.linear import LinearConfig
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.operators.dense import DenseConfig
from koopstep.operators.identity import IdentityConfig
from koopstep.students.kdm import FlatCodec, KDMConfig, build_kdm
from koopstep.students.student import DataFacts, KoopmanStudent

MLP = MLPConfig(width=8, depth=2, fourier=1)
UNET = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
FACTS = DataFacts(shape=(3,), noise_scale=10.0, data_scale=0.5)
IMAGE = DataFacts(shape=(2, 4, 4), noise_scale=80.0, data_scale=0.5)
LINEAR = KDMConfig(encoder=LinearConfig(), decoder=LinearConfig(), operator=IdentityConfig(), latent=3)


def codec(config: KDMConfig, facts: DataFacts) -> FlatCodec:
    student = build_kdm(config, facts)
    assert isinstance(student.codec, FlatCodec)
    return student.codec


def test_networks_see_unit_sizes_and_give_the_data_s() -> None:
    x = torch.randn(4, 3)
    parts = codec(LINEAR, FACTS)  # linear networks start as the identity
    torch.testing.assert_close(parts.encode(x, 0.0, None)[0], x / 10.0)
    torch.testing.assert_close(parts.encode(x, 1.0, None)[0], x / 0.5)
    torch.testing.assert_close(parts.decode((x,), 1.0, None), x * 0.5)
    torch.testing.assert_close(parts.decode(parts.encode(x, 1.0, None), 1.0, None), x)


def test_tied_linear_observables_are_those_of_the_raw_state() -> None:
    x = torch.randn(4, 3)
    parts = codec(LINEAR.model_copy(update={"tied": True}), FACTS)
    for u in (0.0, 1.0):
        assert torch.equal(parts.encode(x, u, None)[0], x)
    assert torch.equal(parts.decode((x,), 1.0, None), x)


@pytest.mark.parametrize(
    ("change", "pinned"),
    [
        ({"tied": True}, True),
        ({"tied": True, "latent": 2}, True),
        ({"tied": True, "latent": 4}, False),  # one dimension that no state reaches: its eigenvalue is anything
        ({"tied": True, "encoder": MLP}, False),  # a flexible encoder reads the time off its input
        ({"tied": True, "decoder": MLP}, True),
        ({"tied": False}, False),
    ],
)
def test_what_pins_the_observables(change: dict[str, object], pinned: bool) -> None:
    (spectrum,) = build_kdm(LINEAR.model_copy(update=change), FACTS).spectrum()
    assert spectrum.gauge == ("fixed" if pinned else "free")
    assert ("linear observables" in spectrum.pinned_by) == pinned


def test_separate_encoders_leave_the_eigenvalues_free() -> None:
    """The same samples and the same losses with other eigenvalues: C becomes A C B^-1 (design, section 5)."""
    torch.manual_seed(0)
    config = LINEAR.model_copy(update={"operator": DenseConfig()})
    student, x = build_kdm(config, FACTS).double(), torch.randn(5, 3).double()
    before, (spectrum,) = student.generate(x), student.spectrum()
    with torch.no_grad():
        student.codec.noise_encoder.network.map.weight.mul_(4.0)  # type: ignore[union-attr, operator]
        student.operators[0].weight.div_(4.0)  # type: ignore[operator]
    torch.testing.assert_close(student.generate(x), before)
    torch.testing.assert_close(student.spectrum()[0].eigenvalues, spectrum.eigenvalues / 4)
    assert spectrum.gauge == "free"


@pytest.mark.parametrize(
    ("latent", "planes", "has_module"),
    [(16, 1, False), (32, 2, False), (12, 1, True), (16, 2, True)],
)
def test_the_linear_module_is_there_where_planes_and_latent_differ(latent: int, planes: int, has_module: bool) -> None:
    config = KDMConfig(encoder=UNET, decoder=UNET, operator=DenseConfig(), latent=latent, latent_channels=planes)
    parts = codec(config, IMAGE)
    assert parts.data_encoder is not None
    for side in (parts.noise_encoder, parts.data_encoder, parts.decoder):
        assert isinstance(side.linear, nn.Linear if has_module else nn.Identity)
    x = torch.randn(2, 2, 4, 4)
    encoded = parts.encode(x, 0.0, None)[0]
    assert encoded.shape == (2, latent)
    assert parts.decode((encoded,), 1.0, None).shape == x.shape


@pytest.mark.parametrize(("latent", "operator"), [(16, DenseConfig()), (6, DenseConfig(affine=True, init="default"))])
def test_classes_reach_all_networks_and_the_latent_at_any_resolution(latent: int, operator: DenseConfig) -> None:
    """The published class control is tied to 32 x 32 and to latents without a linear module."""
    torch.manual_seed(0)
    facts = IMAGE.model_copy(update={"num_classes": 3})
    student = build_kdm(KDMConfig(encoder=UNET, decoder=UNET, operator=operator, latent=latent), facts).double()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    x, one, two = torch.randn(2, 2, 4, 4).double(), torch.tensor([0, 0]), torch.tensor([2, 2])
    for u in (0.0, 1.0):
        assert not torch.allclose(student.encode(x, u, one)[0], student.encode(x, u, two)[0])
    (z,) = student.encode(x, 0.0, one)
    control = student.controls[0].weight[[0, 2]]  # type: ignore[index]
    (first,), (second,), (none,) = (student.evolve((z,), 1.0, labels) for labels in (one, two, None))
    torch.testing.assert_close(first - none, control[[0, 0]])
    torch.testing.assert_close(second - none, control[[1, 1]])
    assert not torch.allclose(student.decode((z,), 1.0, one), student.decode((z,), 1.0, two))
    assert student.generate(x, two).shape == x.shape


def test_any_network_of_images_serves() -> None:
    adm = ADMConfig(model_channels=32, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
    student = build_kdm(KDMConfig(encoder=adm, decoder=UNET, operator=DenseConfig(), latent=16), IMAGE)
    assert student.generate(torch.randn(2, 2, 4, 4)).shape == (2, 2, 4, 4)


def test_vector_networks_flatten_images() -> None:
    config = KDMConfig(encoder=MLP, data_encoder=UNET, decoder=MLP, operator=DenseConfig(), latent=16)
    student = build_kdm(config, IMAGE)
    assert student.generate(torch.randn(2, 2, 4, 4)).shape == (2, 2, 4, 4)
    assert student.encode(torch.randn(2, 2, 4, 4), 1.0)[0].shape == (2, 16)


def test_a_silent_encoder_carries_the_state() -> None:
    silent = MLP.model_copy(update={"output_scale": 0.0})
    config = KDMConfig(encoder=silent, data_encoder=silent, decoder=MLP, operator=DenseConfig(), latent=5, carry=0.5)
    student, x = build_kdm(config, FACTS), torch.randn(4, 3)
    padded = nn.functional.pad(x, (0, 2))
    torch.testing.assert_close(student.encode(x, 0.0)[0], 0.5 * padded / FACTS.noise_scale)
    torch.testing.assert_close(student.encode(x, 1.0)[0], 0.5 * padded / FACTS.data_scale)


def test_the_decoder_is_called_with_its_label() -> None:
    for label in (0.0, 1.5):
        config = KDMConfig(encoder=MLP, decoder=MLP, operator=DenseConfig(), latent=5, decoder_label=label)
        parts, seen = codec(config, FACTS), []
        parts.decoder.network.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[1]))
        parts.decode((torch.zeros(2, 5),), 1.0, None)
        assert seen[0].tolist() == [label, label]


def test_noise_and_data_have_different_labels_only_where_there_is_one_encoder_each() -> None:
    for tied in (False, True):
        config = KDMConfig(encoder=MLP, decoder=MLP, operator=DenseConfig(), latent=5, tied=tied)
        parts, seen = codec(config, FACTS), []
        for encoder in (parts.noise_encoder, parts.data_encoder or parts.noise_encoder):
            encoder.network.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(float(inputs[1][0])))
        parts.encode(torch.zeros(1, 3), 0.0, None)
        parts.encode(torch.zeros(1, 3), 1.0, None)
        assert set(seen) == ({0.0} if tied else {0.0, 1.0})  # a tied encoder is not told the time


def test_the_data_encoder_is_not_needed_for_sampling() -> None:
    big = KDMConfig(encoder=MLP, data_encoder=MLPConfig(width=64), decoder=MLP, operator=DenseConfig(), latent=5)
    small = big.model_copy(update={"data_encoder": None})
    counts = [build_kdm(config, FACTS).parameter_counts() for config in (big, small)]
    assert counts[0][1] == counts[1][1]
    assert counts[0][0] > counts[1][0] > counts[1][1]


def test_impossible_students_are_named() -> None:
    with pytest.raises(UsageError, match="field 'latent' got 0"):
        KDMConfig.parse(LINEAR.model_dump() | {"latent": 0}, "student")
    short = LINEAR.model_copy(update={"latent": 1, "carry": 1.0})
    with pytest.raises(UsageError, match=r"student.latent 1 cannot hold the 3 numbers .* set student.latent=3 or more"):
        build_kdm(short, FACTS)
    assert build_kdm(short.model_copy(update={"carry": 0.0}), FACTS).facts == FACTS
    for scales in ({"data_scale": 0.0}, {"noise_scale": -1.0}, {"data_scale": float("nan")}):
        with pytest.raises(UsageError, match="standard deviation above 0"):
            build_kdm(LINEAR, FACTS.model_copy(update=scales))
    with pytest.raises(UsageError, match="U-Net of 2 levels"):
        build_kdm(LINEAR.model_copy(update={"decoder": UNET}), IMAGE.model_copy(update={"shape": (1, 5, 5)}))
    with pytest.raises(UsageError, match="latent_channels"):
        KDMConfig.parse(LINEAR.model_dump() | {"latent_channels": 0}, "student")


def test_the_operator_s_start_depends_on_the_seed_alone() -> None:
    config = LINEAR.model_copy(update={"operator": DenseConfig(init="default")})
    first, again, other = (build_kdm(config, FACTS, seed) for seed in (1, 1, 2))
    weights: list[torch.Tensor] = [student.operators[0].weight for student in (first, again, other)]  # type: ignore[misc]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_levels_are_named() -> None:
    facts = FACTS
    student = build_kdm(LINEAR, facts)
    renamed = KoopmanStudent(facts, student.codec, list(student.operators), level_names=("bottom",))  # type: ignore[arg-type]
    assert [spectrum.level for spectrum in renamed.spectrum()] == ["bottom"]
