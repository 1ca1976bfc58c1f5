"""Networks for vectors, and the table that all networks come from."""

from __future__ import annotations

import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.nets.linear import LinearConfig
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.table import build_network
from koopstep.nets.unet import UNetConfig

SMALL = MLPConfig(width=16, depth=3, fourier=2, input_octaves=2)


def test_mlp_uses_the_state_the_level_and_the_class() -> None:
    network = build_network(SMALL, (3,), outputs=5, num_classes=4).double()
    x, level, classes = torch.randn(6, 3).double(), torch.randn(6).double(), torch.tensor([0, 1, 2, 3, 0, 1])
    value = network(x, level, classes)
    assert value.shape == (6, 5)
    for other in (network(x + 0.1, level, classes), network(x, level + 0.1, classes), network(x, level, 3 - classes)):
        assert bool(((other - value).abs().amax(dim=1) > 1e-6).all())
    alone = torch.cat([network(x[[i]], level[[i]], classes[[i]]) for i in range(6)])
    torch.testing.assert_close(alone, value)


def test_mlp_without_a_class_is_the_mean_of_none_of_them() -> None:
    network = build_network(SMALL, (3,), num_classes=4)
    x, level = torch.randn(2, 3), torch.randn(2)
    without = network(x, level)
    torch.nn.init.zeros_(network.label.weight)  # type: ignore[union-attr, arg-type]
    assert torch.equal(network(x, level, torch.tensor([1, 2])), without)


def test_mlp_may_start_silent() -> None:
    network = build_network(SMALL.model_copy(update={"output_scale": 0.0}), (3,), outputs=2)
    assert torch.equal(network(torch.randn(4, 3), torch.randn(4)), torch.zeros(4, 2))


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 3), (3, 5), (5, 3)])
def test_linear_starts_as_the_identity_and_is_linear(inputs: int, outputs: int) -> None:
    network = build_network(LinearConfig(), (inputs,), outputs=outputs, num_classes=3)
    x, y, level = torch.randn(4, inputs), torch.randn(4, inputs), torch.randn(4)
    both = min(inputs, outputs)
    value = network(x, level)
    assert value.shape == (4, outputs)
    torch.testing.assert_close(value[:, :both], x[:, :both])
    assert bool((value[:, both:] == 0).all())
    torch.nn.init.normal_(network.map.weight)  # type: ignore[union-attr, arg-type]
    torch.testing.assert_close(network(2 * x - y, level), 2 * network(x, level) - network(y, -level))
    assert torch.equal(network(x, level, torch.tensor([0, 1, 2, 0])), network(x, level))


def test_outputs_are_channels_for_images_and_dimensions_for_vectors() -> None:
    unet = UNetConfig(model_channels=4, channel_mult=(1,), channel_mult_emb=1, num_blocks=1)
    assert build_network(unet, (3, 4, 4), outputs=1)(torch.zeros(2, 3, 4, 4), torch.zeros(2)).shape == (2, 1, 4, 4)
    assert build_network(unet, (3, 4, 4))(torch.zeros(2, 3, 4, 4), torch.zeros(2)).shape == (2, 3, 4, 4)
    assert build_network(SMALL, (3,))(torch.zeros(2, 3), torch.zeros(2)).shape == (2, 3)


@pytest.mark.parametrize("config", [SMALL, LinearConfig()])
def test_vector_networks_refuse_images(config: MLPConfig | LinearConfig) -> None:
    with pytest.raises(UsageError, match=r"vectors, got shape \(1, 8, 8\); use 'unet' or 'adm'"):
        build_network(config, (1, 8, 8))


@pytest.mark.parametrize("field", ["width", "depth", "fourier", "input_octaves"])
def test_settings_that_make_no_network_are_named(field: str) -> None:
    with pytest.raises(UsageError, match=f"field '{field}' got -1"):
        MLPConfig.parse({field: -1}, "net")
