"""The U-Net: the published sizes, the cut at the skips, the order of the attention's channels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.nets.blocks import Block
from koopstep.nets.layers import Conv, group_norm, positional_embedding
from koopstep.nets.table import build_network
from koopstep.nets.unet import UNet, UNetConfig

TINY = UNetConfig(model_channels=8, channel_mult=(1, 2), channel_mult_emb=2, num_blocks=1, attention_resolutions=(4,))


def tiny(num_classes: int = 0, outputs: int = 2, config: UNetConfig = TINY) -> UNet:
    """A small network whose last layers are not nearly zero."""
    torch.manual_seed(1)
    network = UNet(config, 8, 3, outputs, num_classes).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("conv1.weight", "proj.weight", "aux_conv.weight", "map_label.bias")):
                parameter.normal_(std=0.2)
    return network


@pytest.mark.parametrize(
    ("mult", "resolution", "num_classes", "published"),
    [
        ((2, 2, 2), 32, 0, 55_733_891),  # EDM, CIFAR-10
        ((2, 2, 2), 32, 10, 55_735_299),  # the same, conditional
        ((1, 2, 2, 2), 64, 0, 61_805_571),  # FFHQ, AFHQv2
    ],
)
def test_published_sizes(mult: tuple[int, ...], resolution: int, num_classes: int, published: int) -> None:
    with torch.device("meta"):
        network = UNet(UNetConfig(channel_mult=mult, augment_channels=9), resolution, 3, 3, num_classes)
    assert sum(p.numel() for p in network.parameters()) == published


def test_published_attention_places_and_names() -> None:
    with torch.device("meta"):
        network = UNet(UNetConfig(), 32, 3, 3)
    attending = {name for name, module in network.named_modules() if isinstance(module, Block) and module.attention}
    encoder = {f"enc.16x16_block{index}" for index in range(4)}
    assert attending == encoder | {"dec.8x8_in0", "dec.16x16_block4"}
    names = set(dict(network.named_parameters()))
    assert {"map_layer0.weight", "enc.32x32_conv.weight", "enc.16x16_down.skip.weight"} <= names
    assert {"dec.8x8_in0.qkv.weight", "dec.32x32_up.conv0.weight", "dec.32x32_aux_norm.weight"} <= names


def test_the_cut_at_the_skips() -> None:
    network = tiny()
    x, labels = torch.randn(2, 3, 8, 8).double(), torch.tensor([0.1, -1.0]).double()
    embedding = network.embed(labels)
    skips = network.encode(x, embedding)
    assert tuple(tuple(skip.shape[1:]) for skip in skips) == network.skip_shapes
    assert network.skip_shapes == ((8, 8, 8), (8, 8, 8), (8, 4, 4), (16, 4, 4))
    whole = network(x, labels)
    assert whole.shape == (2, 2, 8, 8)
    assert torch.equal(network.decode(skips, embedding), whole)
    assert len(skips) == len(network.skip_shapes)  # decode leaves the list alone
    for place in range(len(skips)):  # every skip is used
        changed = [skip + (index == place) for index, skip in enumerate(skips)]
        assert bool((network.decode(changed, embedding) - whole).abs().max() > 1e-6)


def test_rows_do_not_depend_on_the_batch() -> None:
    network = tiny(num_classes=3)
    x, labels, classes = torch.randn(6, 3, 8, 8).double(), torch.randn(6).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    alone = torch.cat([network(x[[i]], labels[[i]], classes[[i]]) for i in range(6)])
    torch.testing.assert_close(network(x, labels, classes), alone, rtol=1e-9, atol=1e-10)
    differs = (network(x, labels, classes) - network(x, labels.flip(0), classes)).abs().amax(dim=(1, 2, 3))
    assert bool((differs > 1e-6).all())  # the level counts in every row


def test_no_class_is_a_vector_of_zeros() -> None:
    network = tiny(num_classes=3)
    assert network.map_label is not None
    labels = torch.randn(2).double()
    x = torch.randn(2, 3, 8, 8).double()
    without, with_class = network(x, labels), network(x, labels, torch.tensor([1, 2]))
    assert bool((without - with_class).abs().max() > 1e-6)
    with torch.no_grad():
        network.map_label.weight.zero_()
    assert torch.equal(network(x, labels, torch.tensor([1, 2])), without)


def test_a_class_is_a_scaled_one_hot() -> None:
    network = tiny(num_classes=3)
    assert network.map_label is not None
    seen: list[Tensor] = []
    network.map_layer0.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.embed(torch.zeros(1).double(), torch.tensor([2]))
    network.embed(torch.zeros(1).double())
    added = seen[0] - seen[1]
    torch.testing.assert_close(added[0], math.sqrt(3) * network.map_label.weight[:, 2])


def test_attention_interleaves_queries_keys_and_values() -> None:
    block = Block(8, 8, 4, attention=True).double()
    with torch.no_grad():
        block.proj.weight.normal_()
        block.proj.bias.normal_()
    x = torch.randn(2, 8, 3, 3).double()
    channels = block.qkv(block.norm2(x)).flatten(2)
    query, key, value = channels[:, 0::3], channels[:, 1::3], channels[:, 2::3]  # EDM: (C, 3), one head
    weight = torch.softmax(torch.einsum("bcq,bck->bqk", query, key) / math.sqrt(8), dim=2)
    attended = torch.einsum("bqk,bck->bcq", weight, value).view_as(x)
    torch.testing.assert_close(block._attend(x), (x + block.proj(attended)) * math.sqrt(0.5))


def test_box_resampling() -> None:
    x = torch.randn(1, 2, 4, 4)
    down, up = Conv(2, 2, 1, down=True), Conv(2, 2, 1, up=True)
    with torch.no_grad():
        for layer in (down, up):
            layer.weight.copy_(torch.eye(2)[:, :, None, None])
    torch.testing.assert_close(down(x), x.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean(dim=(3, 5)))
    torch.testing.assert_close(up(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(down(up(x)), x)


def test_dropout_is_off_when_sampling() -> None:
    network = tiny(config=TINY.model_copy(update={"dropout": 0.5}))
    x, labels = torch.randn(1, 3, 8, 8).double(), torch.zeros(1).double()
    assert not torch.equal(network(x, labels), network(x, labels))
    network.eval()
    assert torch.equal(network(x, labels), network(x, labels))


def test_a_fresh_network_starts_near_zero() -> None:
    network = UNet(TINY, 8, 3, 3)
    assert float(network(torch.randn(2, 3, 8, 8), torch.zeros(2)).detach().abs().max()) < 1e-3


def test_positional_embedding() -> None:
    embedding = positional_embedding(torch.tensor([0.0, 0.7]), 8)
    frequencies = torch.tensor([1.0, 10000 ** (-1 / 3), 10000 ** (-2 / 3), 1e-4])
    torch.testing.assert_close(embedding[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    torch.testing.assert_close(embedding[1], torch.cat([(0.7 * frequencies).sin(), (0.7 * frequencies).cos()]))


@pytest.mark.parametrize(("channels", "groups"), [(2, 1), (8, 2), (128, 32), (192, 32), (36, 9), (20, 5)])
def test_groups_divide_the_channels(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups


@pytest.mark.parametrize("shape", [(3, 7, 7), (3, 8, 4), (3, 2, 3), (2,), (), (0, 8, 8)])
def test_sizes_that_do_not_halve_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="shape"):
        build_network(TINY, shape)
    with pytest.raises(UsageError, match="4 levels"):
        build_network(UNetConfig(channel_mult=(1, 1, 1, 1)), (3, 12, 12))


@pytest.mark.parametrize(
    ("field", "value"),
    [("model_channels", 7), ("model_channels", 0), ("channel_mult", []), ("channel_mult", [1, 0]), ("dropout", 1.0)],
)
def test_settings_that_make_no_network_are_named(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"net: field '{field}"):
        UNetConfig.parse({field: value}, "net")
