"""The table of networks. To add one: a file with its config and class, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from torch import nn

from koopstep.core.arguments import checked
from koopstep.core.config import Config
from koopstep.core.errors import UsageError
from koopstep.core.registry import ByKind, add, origin_of, settings_in, settings_of
from koopstep.nets.adm import ADM, ADMConfig
from koopstep.nets.linear import Linear, LinearConfig
from koopstep.nets.mlp import MLP, MLPConfig
from koopstep.nets.unet import UNet, UNetConfig


@dataclass(frozen=True)
class NetworkEntry:
    """A network of the user's: its settings, what makes it, and whether it takes images (C, H, W) or vectors (D,)."""

    config: type[Config]
    made: Callable[..., nn.Module]
    images: bool


OWN_NETWORKS: dict[str, NetworkEntry] = {}
_BUILT_IN: dict[str, type[Config]] = {"mlp": MLPConfig, "unet": UNetConfig, "adm": ADMConfig, "linear": LinearConfig}


def _config(kind: str) -> type[Config] | None:
    return OWN_NETWORKS[kind].config if kind in OWN_NETWORKS else None


NetworkConfig = Annotated[MLPConfig | UNetConfig | ADMConfig | LinearConfig, ByKind("network", _config)]
Made = TypeVar("Made", bound=Callable[..., nn.Module])


@checked
def register_network(name: str, *, images: bool = False) -> Callable[[Made], Made]:
    """Decorator: recipes know a class of networks as ``kind: name``, as observables (encoder, decoder) and in teachers.

    It is called as ``made(shape, outputs, num_classes, **settings)`` and gives ``f(x, noise_labels, class_labels)``: x is
    (B, *shape), noise_labels (B,), class_labels (B,) int64 or None; what comes out has ``outputs`` channels (or dimensions)
    in place of the first size. Its keyword-only arguments are its settings in recipes; each needs a type.

    Args:
        name: small letters, digits, ``-`` and ``_``.
        images: whether it takes (C, H, W); else vectors.

    Raises:
        UsageError: the name is taken, or a setting has no type.
    """

    def register(made: Made) -> Made:
        if name in _BUILT_IN:
            raise UsageError(f"koopstep has the network {name!r} already; choose another name")
        add("network", OWN_NETWORKS, name, NetworkEntry(settings_of(name, made), made, images), origin_of(made))
        return made

    return register


def takes_images(config: NetworkConfig) -> bool:
    """Whether a network takes images, (C, H, W); else it takes vectors."""
    own = OWN_NETWORKS.get(config.kind)
    return config.kind in ("unet", "adm") if own is None else own.images


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
    own = OWN_NETWORKS.get(config.kind)
    if own is not None:
        if own.images is not (len(shape) == 3):
            raise UsageError(
                f"the network {config.kind!r} takes {'images' if own.images else 'vectors'}, got shape {shape}"
            )
        return own.made(shape, outputs, num_classes, **settings_in(config))
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
