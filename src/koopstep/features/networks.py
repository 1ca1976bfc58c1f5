"""The feature networks of metrics, by name. To add one: its file, and a line in :data:`NETWORKS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import sha256_file
from koopstep.core.pixels import byte_values
from koopstep.features.inception import Inception, folded
from koopstep.features.resnet import CifarResNet
from koopstep.features.weights import find_file, has_file
from koopstep.formats.torch_files import load_state_dict


class Features(NamedTuple):
    """What a network sees: vectors float32 (B, d), and logits (B, classes) where it classifies."""

    vectors: Tensor
    logits: Tensor | None


@dataclass(frozen=True)
class Entry:
    """A line of :data:`NETWORKS`.

    Attributes:
        files: names its weights go by.
        what: the weights in words, for errors.
        preparation: what is done to images before they are looked at, for protocols.
        load: state dict -> network of images already prepared.
        prepare: images (B, 3, H, W), bytes as float 0..255 -> what the network takes.
    """

    files: tuple[str, ...]
    what: str
    preparation: str
    load: Callable[[dict[str, Tensor]], nn.Module]
    prepare: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FeatureNetwork:
    """A frozen network ready to look at images.

    Attributes:
        name: a name in :data:`NETWORKS`.
        sha256: of its weights file.
        preparation: what is done to images first, in words.
        module: the network.
        prepare: bytes as float -> its input.
    """

    name: str
    sha256: str
    preparation: str
    module: nn.Module
    prepare: Callable[[Tensor], Tensor]

    def __call__(self, images: Tensor) -> Features:
        """Look at images (B, 1 or 3, H, W) in [-1, 1]: clipped and rounded to bytes first, as files of pictures are.

        Raises:
            UsageError: if they are no grey or RGB images.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise UsageError(f"{self.name} looks at grey or RGB images (N, 1 or 3, H, W), got {tuple(images.shape)}")
        rounded = byte_values(images).expand(-1, 3, -1, -1)
        with torch.no_grad():
            vectors, logits = self.module(self.prepare(rounded))
        return Features(vectors.float(), None if logits is None else logits.float())


def _for_inception(images: Tensor) -> Tensor:
    larger = functional.interpolate(images / 255, (299, 299), mode="bilinear", align_corners=False)
    return 2 * larger - 1


def _for_resnet(images: Tensor) -> Tensor:
    if images.shape[2:] != (32, 32):
        raise UsageError(f"resnet56 looks at images of 32 x 32 pixels, got {images.shape[2]} x {images.shape[3]}")
    return images / 255


def _truncated(weights: dict[str, Tensor]) -> nn.Module:
    network = Inception()
    network.load_state_dict({f"convolutions.{key}": value for key, value in weights.items()})
    return network


def _whole(weights: dict[str, Tensor]) -> nn.Module:
    network = Inception(head=True)
    network.load_state_dict(folded(weights))
    return network


def _resnet56(weights: dict[str, Tensor]) -> nn.Module:
    network = CifarResNet()
    network.load_state_dict({key.removeprefix("module."): value for key, value in weights.items()})
    return network


_INCEPTION = "clipped to bytes, grey repeated, bilinear to 299 x 299 (corners not aligned), 2x - 1"
NETWORKS: dict[str, Entry] = {
    "inception-768": Entry(
        ("inception2015_to_mixed7_768d.npz",),
        "FID Inception of 2015-12-05 up to mixed_7 (768 features)",
        _INCEPTION,
        _truncated,
        _for_inception,
    ),
    "inception": Entry(
        ("pt_inception-2015-12-05-6726825d.pth", "inception-2015-12-05.safetensors"),
        "FID Inception of 2015-12-05 (2,048 features)",
        _INCEPTION,
        _whole,
        _for_inception,
    ),
    "resnet56": Entry(
        ("resnet56-4bfd9763.th", "resnet56.safetensors"),
        "CIFAR-10 ResNet-56",
        "clipped to bytes, ImageNet mean and deviation",
        _resnet56,
        _for_resnet,
    ),
}


def has_weights(name: str, folder: Path | None = None) -> bool:
    """True when the weights folder (``folder``, else ``KOOPSTEP_WEIGHTS``) holds the file of a network."""
    return has_file(*NETWORKS[name].files, folder=folder)


def load_network(name: str, device: torch.device | None = None, folder: Path | None = None) -> FeatureNetwork:
    """A network of :data:`NETWORKS` with its weights from the weights folder (``folder``, else ``KOOPSTEP_WEIGHTS``).

    Raises:
        UsageError: if there is no such network, or no file of it in the folder (see ``KOOPSTEP_WEIGHTS``).
        DamagedError: if the file is broken or holds another network.
    """
    if name not in NETWORKS:
        raise UsageError(f"unknown feature network {name!r}; known: {', '.join(NETWORKS)}")
    entry = NETWORKS[name]
    path: Path = find_file(*entry.files, what=entry.what, folder=folder)
    try:
        module = entry.load(load_state_dict(path))
    except (RuntimeError, KeyError) as error:
        raise DamagedError(f"{path} does not hold the {entry.what}: {' '.join(str(error).split())[:200]}") from error
    module.eval().requires_grad_(False).to(device or torch.device("cpu"))
    return FeatureNetwork(name, sha256_file(path), entry.preparation, module, entry.prepare)
