"""A residual network for vectors conditioned on a level and a class."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from koopstep.core.config import Config
from koopstep.nets.layers import linear


class MLPConfig(Config):
    """Size of an :class:`MLP`; ``output_scale`` multiplies the initial weights of the last layer (0 starts silent).

    Plain stacks of other programs are ``residual=False``, those that end in a SiLU ``output_activation=True``.
    """

    kind: Literal["mlp"] = "mlp"
    width: int = Field(default=256, ge=1)
    depth: int = Field(default=4, ge=1)
    fourier: int = Field(default=4, ge=0)
    input_cdf: bool = False
    input_octaves: int = Field(default=0, ge=0)
    output_scale: float = 1.0
    residual: bool = True
    output_activation: bool = False


class MLP(nn.Module):
    """``(x, noise_labels, class_labels) -> vector``: ``depth`` hidden layers, residual from the second on (if wanted).

    The level enters as sines and cosines of ``fourier`` octaves (and as itself), the class as a learned vector. With
    ``input_octaves`` the vector itself enters as sines and cosines too, which lets a small network draw sharp edges.
    ``input_cdf`` first sends each (unit-variance Gaussian) input through its distribution function, stretched to [-2, 2]:
    what lies in the tail, where training rows are few, then lies beside rows that are many.
    """

    def __init__(self, config: MLPConfig, inputs: int, outputs: int, num_classes: int = 0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.input_cdf = config.input_cdf
        self.residual, self.output_activation = config.residual, config.output_activation
        self.octaves, self.input_octaves = config.fourier, config.input_octaves
        self.first = linear(inputs * (1 + 2 * config.input_octaves) + 2 * config.fourier + 1, config.width)
        self.hidden = nn.ModuleList(linear(config.width, config.width) for _ in range(config.depth - 1))
        self.label = linear(num_classes, config.width, bias=False) if num_classes else None
        self.last = linear(config.width, outputs, scale=config.output_scale)

    def forward(self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """(B, inputs), (B,), (B,) int64 or None -> (B, outputs)."""
        level = noise_labels.to(x.dtype)[:, None]
        if self.input_cdf:
            x = 4 * torch.special.ndtr(x) - 2
        parts = [x, level, *_waves(level, self.octaves), *_waves(x, self.input_octaves)]
        hidden = self.first(torch.cat(parts, dim=1))
        if self.label is not None and class_labels is not None:
            hidden = hidden + self.label.weight.t()[class_labels]
        hidden = functional.silu(hidden)
        for layer in self.hidden:
            lifted = functional.silu(layer(hidden))
            hidden = hidden + lifted if self.residual else lifted
        output: Tensor = self.last(hidden)
        return functional.silu(output) if self.output_activation else output


def _waves(x: Tensor, octaves: int) -> list[Tensor]:
    """Sines and cosines of ``x`` (B, D) times 1, 2, 4, ...: ``2 * octaves`` tensors (B, D)."""
    return [wave for octave in range(octaves) for wave in ((x * 2**octave).sin(), (x * 2**octave).cos())]
