"""The Inception network of FID: the graph of 2015-12-05 with its own pooling habits (average pools leave padding out).

Two files are read: the stem to ``mixed_7`` with folded batch norms (768 features: never to be called FID), and the usual
state dict with batch norms and the classifier (2,048 features, 1,008 logits). Both become one network of plain
convolutions, in the names of the first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPS = 1e-3  # of the batch norms that are folded

Sizes = tuple[int, int, int, int, int]
# name -> (inputs, outputs, kernel height, kernel width, stride); paddings keep the size where the stride is 1
_STEM: dict[str, Sizes] = {
    "conv": (3, 32, 3, 3, 2),
    "conv_1": (32, 32, 3, 3, 1),
    "conv_2": (32, 64, 3, 3, 1),
    "conv_3": (64, 80, 1, 1, 1),
    "conv_4": (80, 192, 3, 3, 1),
}
_VALID = ("conv", "conv_1", "conv_4")  # of the stem, not padded


def _block_a(inputs: int, pool: int) -> dict[str, Sizes]:
    return {
        "conv": (inputs, 64, 1, 1, 1),
        "tower_conv": (inputs, 48, 1, 1, 1),
        "tower_conv_1": (48, 64, 5, 5, 1),
        "tower_1_conv": (inputs, 64, 1, 1, 1),
        "tower_1_conv_1": (64, 96, 3, 3, 1),
        "tower_1_conv_2": (96, 96, 3, 3, 1),
        "tower_2_conv": (inputs, pool, 1, 1, 1),
    }


def _block_c(width: int) -> dict[str, Sizes]:
    return {
        "conv": (768, 192, 1, 1, 1),
        "tower_conv": (768, width, 1, 1, 1),
        "tower_conv_1": (width, width, 1, 7, 1),
        "tower_conv_2": (width, 192, 7, 1, 1),
        "tower_1_conv": (768, width, 1, 1, 1),
        "tower_1_conv_1": (width, width, 7, 1, 1),
        "tower_1_conv_2": (width, width, 1, 7, 1),
        "tower_1_conv_3": (width, width, 7, 1, 1),
        "tower_1_conv_4": (width, 192, 1, 7, 1),
        "tower_2_conv": (768, 192, 1, 1, 1),
    }


def _block_e(inputs: int) -> dict[str, Sizes]:
    return {
        "conv": (inputs, 320, 1, 1, 1),
        "tower_conv": (inputs, 384, 1, 1, 1),
        "tower_mixed_conv": (384, 384, 1, 3, 1),
        "tower_mixed_conv_1": (384, 384, 3, 1, 1),
        "tower_1_conv": (inputs, 448, 1, 1, 1),
        "tower_1_conv_1": (448, 384, 3, 3, 1),
        "tower_1_mixed_conv": (384, 384, 1, 3, 1),
        "tower_1_mixed_conv_1": (384, 384, 3, 1, 1),
        "tower_2_conv": (inputs, 192, 1, 1, 1),
    }


_BLOCKS: dict[str, dict[str, Sizes]] = {
    "mixed": _block_a(192, 32),
    "mixed_1": _block_a(256, 64),
    "mixed_2": _block_a(288, 64),
    "mixed_3": {
        "conv": (288, 384, 3, 3, 2),
        "tower_conv": (288, 64, 1, 1, 1),
        "tower_conv_1": (64, 96, 3, 3, 1),
        "tower_conv_2": (96, 96, 3, 3, 2),
    },
    "mixed_4": _block_c(128),
    "mixed_5": _block_c(160),
    "mixed_6": _block_c(160),
    "mixed_7": _block_c(192),
}
_HEAD: dict[str, dict[str, Sizes]] = {
    "mixed_8": {
        "tower_conv": (768, 192, 1, 1, 1),
        "tower_conv_1": (192, 320, 3, 3, 2),
        "tower_1_conv": (768, 192, 1, 1, 1),
        "tower_1_conv_1": (192, 192, 1, 7, 1),
        "tower_1_conv_2": (192, 192, 7, 1, 1),
        "tower_1_conv_3": (192, 192, 3, 3, 2),
    },
    "mixed_9": _block_e(1280),
    "mixed_10": _block_e(2048),
}
FEATURES, HEAD_FEATURES, CLASSES = 768, 2048, 1008


class Inception(nn.Module):
    """Images (B, 3, 299, 299) in [-1, 1] -> features and, with ``head``, logits."""

    def __init__(self, head: bool = False) -> None:
        super().__init__()
        self.head = head
        plan = dict(_STEM)
        for block, layers in (_BLOCKS | (_HEAD if head else {})).items():
            plan |= {f"{block}_{name}": sizes for name, sizes in layers.items()}
        self.convolutions = nn.ModuleDict()
        for name, (inputs, outputs, height, width, stride) in plan.items():
            padding = (0, 0) if stride == 2 or name in _VALID else (height // 2, width // 2)
            self.convolutions[name] = nn.Conv2d(inputs, outputs, (height, width), stride, padding)
        self.classifier = nn.Linear(HEAD_FEATURES, CLASSES) if head else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features (B, 768) or (B, 2048), and logits (B, 1008) or None."""
        for name in ("conv", "conv_1", "conv_2"):
            x = self._run(name, x)
        x = self._run("conv_4", self._run("conv_3", functional.max_pool2d(x, 3, 2)))
        x = functional.max_pool2d(x, 3, 2)
        for name in ("mixed", "mixed_1", "mixed_2"):
            x = torch.cat([*self._towers(x, name, (0, 2, 3)), self._run(f"{name}_tower_2_conv", _mean_pool(x))], dim=1)
        x = torch.cat([*self._towers(x, "mixed_3", (0, 3)), functional.max_pool2d(x, 3, 2)], dim=1)
        for name in ("mixed_4", "mixed_5", "mixed_6", "mixed_7"):
            x = torch.cat([*self._towers(x, name, (0, 3, 5)), self._run(f"{name}_tower_2_conv", _mean_pool(x))], dim=1)
        if self.classifier is None:
            return x.mean(dim=(2, 3)), None
        x = torch.cat([*self._towers(x, "mixed_8", (None, 2, 4)), functional.max_pool2d(x, 3, 2)], dim=1)
        x = self._wide(self._wide(x, "mixed_9", _mean_pool), "mixed_10", _max_pool)
        features = x.mean(dim=(2, 3))
        # the published network scores without the bias of its last layer
        return features, functional.linear(features, self.classifier.weight)

    def _run(self, name: str, x: Tensor) -> Tensor:
        return functional.relu(self.convolutions[name](x))

    def _towers(self, x: Tensor, block: str, depths: tuple[int | None, ...]) -> list[Tensor]:
        """The branches of a block but the pooled one: one convolution, then towers of the given depths."""
        branches = [] if depths[0] is None else [self._run(f"{block}_conv", x)]
        for tower, depth in enumerate(depths[1:]):
            name, branch = f"{block}_tower{'' if tower == 0 else f'_{tower}'}_conv", x
            for index in range(depth or 0):
                branch = self._run(name if index == 0 else f"{name}_{index}", branch)
            branches.append(branch)
        return branches

    def _wide(self, x: Tensor, block: str, pool: Callable[[Tensor], Tensor]) -> Tensor:
        """A block whose towers end in a row and a column kernel side by side."""
        first = self._run(f"{block}_tower_conv", x)
        second = self._run(f"{block}_tower_1_conv_1", self._run(f"{block}_tower_1_conv", x))
        ends = [
            self._run(f"{block}_{name}", branch)
            for branch, tower in ((first, "tower"), (second, "tower_1"))
            for name in (f"{tower}_mixed_conv", f"{tower}_mixed_conv_1")
        ]
        pooled = self._run(f"{block}_tower_2_conv", pool(x))
        return torch.cat([self._run(f"{block}_conv", x), *ends, pooled], dim=1)


def _mean_pool(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _max_pool(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, 1, 1)


def folded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The usual FID state dict (``Mixed_5b.branch1x1.conv.weight``, ``.bn.*``, ``fc.*``) in this network's names.

    A batch norm is folded into its convolution: weight * g / s, bias b - mean * g / s with s = sqrt(variance + 1e-3).
    """
    result: dict[str, Tensor] = {}
    for theirs, ours in published_names().items():
        kernel = weights[f"{theirs}.conv.weight"]
        gain = weights[f"{theirs}.bn.weight"] / (weights[f"{theirs}.bn.running_var"] + _EPS).sqrt()
        result[f"convolutions.{ours}.weight"] = kernel * gain.view(-1, 1, 1, 1)
        result[f"convolutions.{ours}.bias"] = weights[f"{theirs}.bn.bias"] - weights[f"{theirs}.bn.running_mean"] * gain
    return result | {"classifier.weight": weights["fc.weight"], "classifier.bias": weights["fc.bias"]}


def published_names() -> dict[str, str]:
    """Their layer -> our convolution."""
    names = {"Conv2d_1a_3x3": "conv", "Conv2d_2a_3x3": "conv_1", "Conv2d_2b_3x3": "conv_2"}
    names |= {"Conv2d_3b_1x1": "conv_3", "Conv2d_4a_3x3": "conv_4"}
    a = ["branch1x1", "branch5x5_1", "branch5x5_2", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3", "branch_pool"]
    b = ["branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]
    c = ["branch1x1", "branch7x7_1", "branch7x7_2", "branch7x7_3"]
    c += [f"branch7x7dbl_{n}" for n in range(1, 6)] + ["branch_pool"]
    d = ["branch3x3_1", "branch3x3_2", "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"]
    e = ["branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_1", "branch3x3dbl_2"]
    e += ["branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"]
    layouts = [("5b", a), ("5c", a), ("5d", a), ("6a", b)] + [(f"6{x}", c) for x in "bcde"]
    layouts += [("7a", d), ("7b", e), ("7c", e)]
    for (place, branches), (block, layers) in zip(layouts, (_BLOCKS | _HEAD).items(), strict=True):
        names |= {f"Mixed_{place}.{branch}": f"{block}_{layer}" for branch, layer in zip(branches, layers, strict=True)}
    return names
