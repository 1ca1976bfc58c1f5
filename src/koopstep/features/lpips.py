"""LPIPS, the learned perceptual distance of images (Zhang et al., arXiv 1801.03924), version 0.1 of its linear heads.

Backbones: SqueezeNet 1.1, VGG16 and AlexNet, in the layout (and key names) torchvision gives their ``features``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import sha256_bytes, sha256_file
from koopstep.features.weights import find_file, has_file
from koopstep.formats.torch_files import load_state_dict

LPIPSName = Literal["squeeze", "vgg", "alex"]

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of images in [-1, 1]
_TINY = 1e-10


class Fire(nn.Module):
    """SqueezeNet's block: a 1x1 squeeze, then 1x1 and 3x3 expansions side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 2 * expanded, H, W)."""
        x = functional.relu(self.squeeze(x))
        return torch.cat([functional.relu(self.expand1x1(x)), functional.relu(self.expand3x3(x))], dim=1)


def _squeeze() -> tuple[nn.Sequential, tuple[int, ...]]:
    pool = [nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(3)]
    layers = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool[0], Fire(64, 16, 64), Fire(128, 16, 64), pool[1]]
    layers += [Fire(128, 32, 128), Fire(256, 32, 128), pool[2], Fire(256, 48, 192), Fire(384, 48, 192)]
    return nn.Sequential(*layers, Fire(384, 64, 256), Fire(512, 64, 256)), (1, 4, 7, 9, 10, 11, 12)


def _vgg() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers: list[nn.Module] = []
    channels, taps = 3, []
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        taps.append(len(layers) - 1)
    return nn.Sequential(*layers), tuple(taps)


def _alex() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers = [nn.Conv2d(3, 64, 11, 4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()), (1, 4, 7, 9, 11)


_BACKBONES: dict[str, Callable[[], tuple[nn.Sequential, tuple[int, ...]]]] = {
    "squeeze": _squeeze,
    "vgg": _vgg,
    "alex": _alex,
}
_FILES: dict[str, tuple[str, ...]] = {
    "squeeze": ("lpips_squeeze_backbone.pth", "squeezenet1_1-b8a52dc0.pth"),
    "vgg": ("lpips_vgg_backbone.pth", "vgg16-397923af.pth"),
    "alex": ("lpips_alex_backbone.pth", "alexnet-owt-7be5be79.pth"),
}


def _heads_file(net: str) -> str:
    return f"lpips_{net}_lin_v0.1.pth"


class LPIPS(nn.Module):
    """A frozen backbone, the taps LPIPS reads, and one non-negative weight a channel of each tap.

    Attributes:
        net: ``squeeze``, ``vgg`` or ``alex``.
        sha256: of the two weights files together; empty for random weights.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: LPIPSName) -> None:
        super().__init__()
        self.net, self.sha256 = net, ""
        self.backbone, self.taps = _BACKBONES[net]()
        self.heads = nn.ParameterList(torch.rand(width) for width in self._widths())
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> LPIPS:
        """Stay in eval mode: the network judges, it does not learn."""
        return super().train(False)

    def features(self, x: Tensor) -> list[Tensor]:
        """Maps (B, C_k, H_k, W_k) of unit length over the channels, from images (B, 1 or 3, H, W) in [-1, 1].

        Raises:
            UsageError: if the images have other channels or are too small for the backbone.
        """
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise UsageError(f"LPIPS looks at grey or RGB images (B, 1 or 3, H, W), got {tuple(x.shape)}")
        x = (x.expand(-1, 3, -1, -1) - self.shift) / self.scale
        maps: list[Tensor] = []
        for index, layer in enumerate(self.backbone):
            try:
                x = layer(x)
            except RuntimeError as error:
                raise UsageError(f"LPIPS ({self.net}) cannot look at images this small ({error})") from error
            if index in self.taps:
                maps.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + _TINY))
        return maps

    def compare(self, features_a: list[Tensor], features_b: list[Tensor]) -> Tensor:
        """Distance (B,) of two lists of :meth:`features`: weighted squared differences, mean over places, sum over taps."""
        parts = [
            ((a - b).square() * head.view(1, -1, 1, 1)).sum(dim=1).mean(dim=(1, 2))
            for a, b, head in zip(features_a, features_b, self.heads, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance (B,) of images (B, 1 or 3, H, W) in [-1, 1]; 0 for equal ones, symmetric."""
        return self.compare(self.features(a), self.features(b))

    def _widths(self) -> list[int]:
        with torch.no_grad():
            x, widths = torch.zeros(1, 3, 64, 64), []
            for index, layer in enumerate(self.backbone):
                x = layer(x)
                if index in self.taps:
                    widths.append(x.shape[1])
        return widths


def build_lpips(net: LPIPSName, backbone: Path, heads: Path) -> LPIPS:
    """LPIPS with weights from files: a backbone as torchvision saves it, and the heads of the authors' v0.1.

    Raises:
        UsageError: a file is missing or holds something else.
        DamagedError: a file is broken, or its weights do not fit.
    """
    model = LPIPS(net)
    weights = {key.removeprefix("features."): value for key, value in load_state_dict(backbone).items()}
    rows = list(load_state_dict(heads).values())
    wanted = model.backbone.state_dict()
    if not wanted.keys() <= weights.keys() or [row.numel() for row in rows] != [len(head) for head in model.heads]:
        raise DamagedError(f"{backbone} and {heads} do not hold the weights of LPIPS with the backbone {net!r}")
    try:
        model.backbone.load_state_dict({key: weights[key] for key in wanted})
    except RuntimeError as error:
        raise DamagedError(f"{backbone}: {' '.join(str(error).split())[:200]}") from error
    for head, row in zip(model.heads, rows, strict=True):
        head.copy_(row.reshape(-1).to(head))
    model.sha256 = sha256_bytes((sha256_file(backbone) + sha256_file(heads)).encode())
    return model


def has_lpips(net: LPIPSName, folder: Path | None = None) -> bool:
    """True when the weights folder holds what :func:`find_lpips` needs."""
    return has_file(*_FILES[net], folder=folder) and has_file(_heads_file(net), folder=folder)


def find_lpips(net: LPIPSName, folder: Path | None = None) -> LPIPS:
    """LPIPS from the weights folder: ``folder``, else the one of ``KOOPSTEP_WEIGHTS``.

    Raises:
        UsageError: if its two files are not there.
        DamagedError: if they are broken.
    """
    backbone = find_file(*_FILES[net], what=f"backbone of LPIPS ({net})", folder=folder)
    heads = find_file(_heads_file(net), what=f"linear heads of LPIPS ({net}, version 0.1)", folder=folder)
    return build_lpips(net, backbone, heads)
