"""The CIFAR-10 ResNet of He et al. (arXiv 1512.03385, Sec. 4.2): a second view beside Inception."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; where the size changes, the shortcut drops every other pixel and pads with zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        hidden = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        before = self.extra // 2
        shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.extra - before))
        return functional.relu(hidden + shortcut)


class CifarResNet(nn.Module):
    """ResNet-(6n+2) for 32 x 32 RGB, 10 classes; n = 9 gives the 56 layers of the published weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, n: int = 9) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        channels = 16
        for stage, width in enumerate((16, 32, 64), start=1):
            blocks: OrderedDict[str, nn.Module] = OrderedDict()
            for index in range(n):
                blocks[str(index)] = BasicBlock(channels, width, 2 if stage > 1 and index == 0 else 1)
                channels = width
            self.add_module(f"layer{stage}", nn.Sequential(blocks))
        self.linear = nn.Linear(64, 10)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, 32, 32) in [0, 1] -> features (B, 64) and logits (B, 10)."""
        x = functional.relu(self.bn1(self.conv1((images - self.mean) / self.std)))
        for stage in (1, 2, 3):
            x = self.get_submodule(f"layer{stage}")(x)
        features = x.mean(dim=(2, 3))
        return features, self.linear(features)
