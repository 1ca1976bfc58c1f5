"""DDPM++, NCSN++ and ADM against plain functions of the same state dict, and the names and sizes of the published files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from reference_adm import adm
from reference_song import Weights, song
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.nets.adm import ADMConfig
from koopstep.nets.blocks import Block
from koopstep.nets.layers import resampling_kernel
from koopstep.nets.skips import SkipUNet
from koopstep.nets.table import build_network
from koopstep.nets.unet import UNetConfig

NCSN: dict[str, Any] = {
    "embedding": "fourier",
    "encoder": "residual",
    "channel_mult_noise": 2,
    "resample_filter": (1, 3, 3, 1),
}


def song_config(**changes: Any) -> UNetConfig:
    tiny = {"model_channels": 8, "channel_mult": (1, 2), "channel_mult_emb": 2, "num_blocks": 1}
    return UNetConfig(**{**tiny, "attention_resolutions": (4,), **changes})


def adm_config(**changes: Any) -> ADMConfig:
    tiny = {"model_channels": 16, "channel_mult": (1, 2), "channel_mult_emb": 2, "num_blocks": 1, "dropout": 0.0}
    return ADMConfig(**{**tiny, "attention_resolutions": (4,), "channels_per_head": 8, **changes})


MEMBERS: dict[str, tuple[UNetConfig | ADMConfig, int]] = {
    "ddpmpp": (song_config(), 0),
    "ddpmpp-augment-classes": (song_config(augment_channels=9), 3),
    "ddpmpp-two-blocks": (song_config(num_blocks=2, attention_resolutions=(8, 4)), 0),
    "ddpmpp-three-levels": (song_config(channel_mult=(2, 1, 3), attention_resolutions=(2,)), 1),
    "ddpmpp-one-level": (song_config(channel_mult=(2,), attention_resolutions=()), 0),
    "ddpmpp-filter": (song_config(resample_filter=(1, 3, 3, 1)), 0),
    "ddpmpp-lopsided-filter": (song_config(resample_filter=(1, 2, 5, 1)), 0),
    "ddpmpp-fourier": (song_config(embedding="fourier", attention_resolutions=()), 2),
    "ncsnpp": (song_config(**NCSN), 0),
    "ncsnpp-three-levels": (song_config(**NCSN, channel_mult=(1, 2, 1), num_blocks=2, augment_channels=4), 3),
    "ncsnpp-box": (song_config(**{**NCSN, "resample_filter": (1, 1)}), 0),
    "ncsnpp-positional": (song_config(encoder="residual", resample_filter=(1, 2, 3, 3, 2, 1)), 0),
    "adm": (adm_config(), 0),
    "adm-classes": (adm_config(attention_resolutions=(8, 4)), 5),
    "adm-augment": (adm_config(augment_channels=9, num_blocks=2), 2),
    "adm-wide-heads": (adm_config(channels_per_head=32), 0),  # the finer level is too narrow for one
    "adm-no-heads": (adm_config(channels_per_head=64, channel_mult=(1, 2, 1)), 0),
    "adm-uneven-heads": (adm_config(channels_per_head=12), 0),  # 16 // 12 and 32 // 12 heads
}


def perturbed(config: UNetConfig | ADMConfig, num_classes: int, dtype: torch.dtype = torch.float64) -> SkipUNet:
    """A network in which no layer is silent."""
    torch.manual_seed(3)
    network: Any = build_network(config, (3, 8, 8), outputs=2, num_classes=num_classes).to(dtype).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
            else:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    assert isinstance(network, SkipUNet)
    return network


def inputs(
    network: SkipUNet, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(3, 3, 8, 8, generator=generator, dtype=torch.float64).to(dtype)
    levels = torch.tensor([-1.3, 0.4, 700.0], dtype=dtype)
    classes = torch.arange(3) % network.num_classes if network.num_classes else None
    augment = torch.randn(3, network.augment_channels, generator=generator, dtype=torch.float64).to(dtype)
    return x, levels, classes, augment if network.augment_channels else None


@pytest.mark.parametrize("name", MEMBERS)
def test_the_network_is_the_published_one(name: str) -> None:
    config, num_classes = MEMBERS[name]
    network = perturbed(config, num_classes)
    reference: Callable[..., Tensor] = song if isinstance(config, UNetConfig) else adm
    weights, given = Weights(network.state_dict()), inputs(network)
    with torch.no_grad():
        expected = reference(weights, config.model_dump(), *given)
        found = network(*given)
        bare = reference(weights, config.model_dump(), *given[:2])
        torch.testing.assert_close(network(*given[:2]), bare, rtol=1e-5, atol=1e-5)
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert weights.unused == set()
    if given[2] is not None or given[3] is not None:
        assert not torch.allclose(bare, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", MEMBERS)
def test_the_two_halves_are_the_whole(name: str) -> None:
    config, num_classes = MEMBERS[name]
    network = perturbed(config, num_classes)
    x, levels, classes, augment = inputs(network)
    with torch.no_grad():
        embedding = network.embed(levels, classes, augment)
        skips = network.encode(x, embedding)
        whole = network(x, levels, classes, augment)
        assert torch.equal(network.decode(skips, embedding), whole)
        assert tuple(tuple(skip.shape[1:]) for skip in skips) == network.skip_shapes
        for place in range(len(skips)):
            changed = [skip + (index == place) for index, skip in enumerate(skips)]
            assert bool((network.decode(changed, embedding) - whole).abs().max() > 1e-3)


@pytest.mark.parametrize("name", ["ddpmpp-augment-classes", "ncsnpp-three-levels", "adm-augment"])
def test_every_weight_learns_from_a_fresh_start(name: str) -> None:
    config, num_classes = MEMBERS[name]
    torch.manual_seed(0)
    network: Any = build_network(config, (3, 8, 8), num_classes=num_classes)
    x, levels, classes, augment = inputs(network, torch.float32)
    for _ in range(8):  # silent layers wake one after another, the last ones first
        network.zero_grad()
        (network(x, levels, classes, augment) - x).square().mean().backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 0.02 * parameter.grad
    for key, parameter in network.named_parameters():
        assert bool(torch.isfinite(parameter.grad).all()), key
        assert float(parameter.grad.abs().max()) > 0, key


@pytest.mark.parametrize("name", ["ddpmpp-two-blocks", "ncsnpp", "adm-classes"])
def test_channels_last_gives_the_same(name: str) -> None:
    config, num_classes = MEMBERS[name]
    network = perturbed(config, num_classes, torch.float32)
    x, *rest = inputs(network, torch.float32)
    with torch.no_grad():
        expected = network(x, *rest)
        last = network.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), *rest)
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-4)


def test_layers_begin_as_published() -> None:
    """Bounds of the uniform numbers: EDM App. F.4's Xavier for DDPM++, the inputs' count for ADM."""
    torch.manual_seed(0)
    wide = {"model_channels": 64, "attention_resolutions": (8,)}
    begun = build_network(song_config(**wide, augment_channels=9), (3, 8, 8), num_classes=10).state_dict()
    xavier = {
        "map_augment.weight": (6 / (9 + 64)) ** 0.5,
        "map_label.weight": (6 / (10 + 64)) ** 0.5,
        "enc.8x8_block0.conv0.weight": (6 / (9 * 128)) ** 0.5,
        "enc.8x8_block0.conv1.weight": (6 / (9 * 128)) ** 0.5 * 1e-5,
        "enc.8x8_block0.qkv.weight": (0.2 * 6 / (64 + 192)) ** 0.5,
        "enc.8x8_block0.proj.weight": (6 / 128) ** 0.5 * 1e-5,
        "dec.8x8_aux_conv.weight": (6 / (9 * 66)) ** 0.5 * 1e-5,
    }
    found = {name: float(begun[name].abs().max()) for name in xavier}
    assert found == pytest.approx(xavier, rel=0.02)
    assert all(not bool(begun[name.replace("weight", "bias")].any()) for name in xavier if "augment" not in name)
    begun = build_network(adm_config(**wide, augment_channels=9), (3, 8, 8), outputs=2, num_classes=500).state_dict()
    by_inputs = {
        "map_augment.weight": 0.0,
        "enc.8x8_block0.conv0.weight": (9 * 64) ** -0.5,
        "enc.8x8_block0.conv0.bias": (9 * 64) ** -0.5,
        "enc.8x8_block0.conv1.weight": 0.0,
        "enc.8x8_block0.conv1.bias": 0.0,
        "enc.8x8_block0.qkv.weight": 64**-0.5,
        "enc.8x8_block0.proj.weight": 0.0,
        "out_conv.weight": 0.0,
    }
    assert {name: float(begun[name].abs().max()) for name in by_inputs} == pytest.approx(by_inputs, rel=0.05)
    assert float(begun["map_label.weight"].std()) == pytest.approx(1, rel=0.02)


NCSN_KEYS = """
map_augment.weight map_layer0.bias map_layer0.weight map_layer1.bias map_layer1.weight map_noise.freqs
enc.8x8_conv.bias enc.8x8_conv.weight enc.4x4_aux_residual.bias enc.4x4_aux_residual.weight
dec.8x8_aux_conv.bias dec.8x8_aux_conv.weight dec.8x8_aux_norm.bias dec.8x8_aux_norm.weight
"""
BLOCK_KEYS = {
    "enc.8x8_block0": "",
    "enc.4x4_down": "skip",
    "enc.4x4_block0": "skip norm2 qkv proj",
    "dec.4x4_in0": "norm2 qkv proj",
    "dec.4x4_in1": "",
    "dec.4x4_block0": "skip",
    "dec.4x4_block1": "skip norm2 qkv proj",
    "dec.8x8_up": "skip",
    "dec.8x8_block0": "skip",
    "dec.8x8_block1": "skip",
}


def block_keys(members: dict[str, str]) -> set[str]:
    usual = "norm0 conv0 affine norm1 conv1"
    layers = {f"{block}.{layer}" for block, more in members.items() for layer in f"{usual} {more}".split()}
    return {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


def test_names_of_ncsnpp_are_the_published_ones() -> None:
    network = build_network(song_config(**NCSN, augment_channels=9), (3, 8, 8))
    assert set(network.state_dict()) == set(NCSN_KEYS.split()) | block_keys(BLOCK_KEYS)


ADM_KEYS = """
map_augment.weight map_label.weight map_layer0.bias map_layer0.weight map_layer1.bias map_layer1.weight
enc.8x8_conv.bias enc.8x8_conv.weight out_norm.bias out_norm.weight out_conv.bias out_conv.weight
"""


def test_names_of_adm_are_the_published_ones() -> None:
    network = build_network(adm_config(augment_channels=9), (3, 8, 8), num_classes=4)
    # the same frame, but a way around without weights where the channels stay the same, and attention in every block
    blocks = BLOCK_KEYS | {"enc.4x4_down": "", "dec.8x8_up": "", "dec.4x4_block0": "skip norm2 qkv proj"}
    assert set(network.state_dict()) == set(ADM_KEYS.split()) | block_keys(blocks)


@pytest.mark.parametrize(
    ("config", "side", "outputs", "num_classes", "count"),
    [
        # DDPM++ and: 128 waves more into the embedding and from the augmentation, two convolutions beside the encoder
        (
            UNetConfig(augment_channels=9, **NCSN),
            32,
            3,
            0,
            55_733_891 + 128 * (512 + 9) + (3 * 9 + 1) * 256 + (256 * 9 + 1) * 256,
        ),
        (ADMConfig(), 64, 3, 1000, 295_899_267),  # published: 295.9 million
    ],
)
def test_sizes(config: UNetConfig | ADMConfig, side: int, outputs: int, num_classes: int, count: int) -> None:
    with torch.device("meta"):
        network = build_network(config, (3, side, side), outputs=outputs, num_classes=num_classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_published_attention_of_adm() -> None:
    with torch.device("meta"):
        network = build_network(ADMConfig(), (3, 64, 64), num_classes=1000)
    found = {
        name: module.heads for name, module in network.named_modules() if isinstance(module, Block) and module.heads
    }
    expected = {"dec.8x8_in0": 12}
    for side, width in ((32, 384), (16, 576), (8, 768)):
        expected |= {f"enc.{side}x{side}_block{index}": width // 64 for index in range(3)}
        expected |= {f"dec.{side}x{side}_block{index}": width // 64 for index in range(4)}
    assert found == expected


def test_constant_filters_are_not_part_of_the_weights() -> None:
    kernel = resampling_kernel((1, 3, 3, 1))
    assert kernel.shape == (1, 1, 4, 4)
    assert float(kernel.sum()) == pytest.approx(1)
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    torch.testing.assert_close(kernel[0, 0], torch.outer(line, line))
    assert torch.equal(resampling_kernel((1, 1)), torch.full((1, 1, 2, 2), 0.25))


def test_random_frequencies_are_part_of_the_weights() -> None:
    one, other = (perturbed(song_config(**NCSN), 0) for _ in range(2))
    assert one.state_dict()["map_noise.freqs"].shape == (8,)
    other.map_noise.freqs += 0.1  # type: ignore[operator, union-attr]
    given = inputs(one)
    assert not torch.allclose(one(*given), other(*given))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(*given), other(*given))
    wide = build_network(UNetConfig(**NCSN, channel_mult=(1,), num_blocks=1), (1, 4, 4))
    assert float(wide.map_noise.freqs.std()) == pytest.approx(16, rel=0.25)  # type: ignore[union-attr]


@pytest.mark.parametrize("config", [song_config(), adm_config(), song_config(augment_channels=4)])
def test_augmentation_that_cannot_be_told_is_refused(config: UNetConfig | ADMConfig) -> None:
    network = perturbed(config, 0)
    x, levels, *_ = inputs(network)
    with pytest.raises(UsageError, match=rf"a place for {config.augment_channels} numbers .* shape \(3, 9\)"):
        network(x, levels, None, torch.zeros(3, 9).double())


def test_half_precision_keeps_the_level_apart() -> None:
    network = perturbed(song_config(), 0, torch.float32).bfloat16()
    with torch.no_grad():
        near = [network.embed(torch.tensor([level], dtype=torch.bfloat16)) for level in (700.0, 704.0)]
        assert bool((near[0] - near[1]).abs().max() > 1e-2)


@pytest.mark.parametrize("taps", [(1,), (1, 2, 1), (1, -1)])
def test_filters_that_do_not_halve_are_named(taps: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"net: .*resample_filter"):
        UNetConfig.parse({"resample_filter": taps}, "net")


def test_heads_that_do_not_share_are_named() -> None:
    with pytest.raises(UsageError, match="3 attention heads cannot share out 32 channels"):
        build_network(adm_config(channels_per_head=10), (3, 8, 8))
