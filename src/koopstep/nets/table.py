"""The table of networks. To add one: a file with its config and class, and a line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from koopstep.core.errors import UsageError
from koopstep.nets.adm import ADM, ADMConfig
from koopstep.nets.linear import Linear, LinearConfig
from koopstep.nets.mlp import MLP, MLPConfig
from koopstep.nets.unet import UNet, UNetConfig

NetworkConfig = Annotated[MLPConfig | UNetConfig | ADMConfig | LinearConfig, Field(discriminator="kind")]


def build_network(
    config: NetworkConfig,
    shape: tuple[int, ...],
    *,
    outputs: int | None = None,
    num_classes: int = 0,
) -> nn.Module:
    """Build ``f(x, noise_labels, class_labels)`` for states of ``shape`` ((D,) or (C, H, W)).

    A network with ``augment_channels`` also takes ``augment_labels``.

    ``outputs`` is the number of channels (images) or dimensions (vectors) that come out; by default as many as go in.

    Raises:
        UsageError: if the network does not fit the shape.
    """
    if not shape or min(shape) < 1:
        raise UsageError(f"a sample's shape is one or more numbers above 0, got {shape}")
    outputs = shape[0] if outputs is None else outputs
    if isinstance(config, UNetConfig | ADMConfig):
        patch = config.patch if isinstance(config, UNetConfig) else 1
        levels = len(config.channel_mult)
        step = patch * 2 ** (levels - 1)
        if len(shape) != 3 or shape[1] != shape[2] or shape[1] % step:
            raise UsageError(
                f"this U-Net of {levels} levels needs square images with a side that {step} divides, got shape {shape}"
            )
        if isinstance(config, ADMConfig):
            return ADM(config, shape[1], shape[0], outputs, num_classes)
        return UNet(config, shape[1], shape[0], outputs, num_classes)
    if len(shape) != 1:
        raise UsageError(
            f"the network {config.kind!r} takes vectors, got shape {shape}; use 'unet' or 'adm' for images"
        )
    if isinstance(config, LinearConfig):
        return Linear(shape[0], outputs)
    return MLP(config, shape[0], outputs, num_classes)
