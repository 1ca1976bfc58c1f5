"""The residual block that EDM's two families of U-Nets share, and what the families set differently."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from koopstep.core.errors import UsageError
from koopstep.nets.layers import Conv, Start, fan_in, group_norm, linear, xavier


@dataclass(frozen=True)
class Family:
    """What the blocks of one family have in common.

    Attributes:
        eps: of the group norms.
        skip_scale: what a sum of a layer and its input is multiplied by.
        adaptive: whether the embedding scales and shifts after the second norm, or is added before it.
        head_channels: channels of one attention head; None for a single head. Narrower layers do not attend.
        project_resampled: whether the way around a block that resamples has a 1x1 convolution even where the channels
            stay the same.
        start: how layers begin; ``start_attention`` is of queries, keys and values, ``start_silent`` of the last layer
            of a branch.
    """

    eps: float
    skip_scale: float
    adaptive: bool
    head_channels: int | None
    project_resampled: bool
    start: Start
    start_attention: Start
    start_silent: Start

    def heads(self, channels: int) -> int:
        """Attention heads of a layer with so many channels; 0 where it is too narrow for one.

        Raises:
            UsageError: if so many heads cannot share the channels out evenly.
        """
        heads = 1 if self.head_channels is None else channels // self.head_channels
        if heads and channels % heads:
            raise UsageError(
                f"{heads} attention heads cannot share out {channels} channels evenly; change model_channels, "
                "channel_mult or channels_per_head"
            )
        return heads


SONG = Family(
    eps=1e-6,
    skip_scale=math.sqrt(0.5),
    adaptive=False,
    head_channels=None,
    project_resampled=True,
    start=xavier(),
    start_attention=xavier(math.sqrt(0.2)),
    start_silent=xavier(1e-5),
)
"""DDPM++ and NCSN++ as EDM sets them up (EDM App. F.4)."""


def adm_family(head_channels: int) -> Family:
    """ADM as EDM sets it up (EDM App. F.4)."""
    return Family(
        eps=1e-5,
        skip_scale=1.0,
        adaptive=True,
        head_channels=head_channels,
        project_resampled=False,
        start=fan_in(),
        start_attention=fan_in(),
        start_silent=fan_in(0.0),
    )


class Block(nn.Module):
    """Residual block: two 3x3 convolutions, the embedding between them, optional resampling and self-attention."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        *,
        family: Family = SONG,
        dropout: float = 0.0,
        up: bool = False,
        down: bool = False,
        taps: tuple[int, ...] = (1, 1),
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.dropout, self.family = inputs, outputs, dropout, family
        self.norm0 = group_norm(inputs, family.eps)
        self.conv0 = Conv(inputs, outputs, 3, up=up, down=down, taps=taps, start=family.start)
        self.affine = linear(embedding, outputs * (2 if family.adaptive else 1), start=family.start)
        self.norm1 = group_norm(outputs, family.eps)
        self.conv1 = Conv(outputs, outputs, 3, start=family.start_silent)
        resampled, project = up or down, family.project_resampled or inputs != outputs
        self.skip = None
        if inputs != outputs or resampled:
            self.skip = Conv(inputs, outputs, int(project), up=up, down=down, taps=taps, start=family.start)
        self.heads = family.heads(outputs) if attention else 0
        if self.heads:
            self.norm2 = group_norm(outputs, family.eps)
            self.qkv = Conv(outputs, outputs * 3, 1, start=family.start_attention)
            self.proj = Conv(outputs, outputs, 1, start=family.start_silent)

    @property
    def attention(self) -> bool:
        """Whether the pixels of this block attend to each other."""
        return self.heads > 0

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, inputs, H, W), (B, E) -> (B, outputs, H', W')."""
        residual = x if self.skip is None else self.skip(x)
        x = self._modulate(self.conv0(functional.silu(self.norm0(x))), embedding)
        x = self.conv1(functional.dropout(functional.silu(x), self.dropout, self.training))
        x = (x + residual) * self.family.skip_scale
        return self._attend(x) if self.heads else x

    def _modulate(self, x: Tensor, embedding: Tensor) -> Tensor:
        condition = self.affine(embedding)[:, :, None, None]
        if not self.family.adaptive:
            return self.norm1(x + condition)  # type: ignore[no-any-return]
        scale, shift = condition.chunk(2, dim=1)
        return torch.addcmul(shift, self.norm1(x), scale + 1)

    def _attend(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        # queries, keys and values are interleaved along each head's channels: (C, 3), not (3, C)
        qkv = self.qkv(self.norm2(x)).reshape(batch, self.heads, channels // self.heads, 3, height * width)
        # one copy that leaves the channels last: the fast kernels take nothing else
        query, key, value = qkv.permute(3, 0, 1, 4, 2).contiguous().unbind(0)
        attended = functional.scaled_dot_product_attention(query, key, value)
        attended = attended.transpose(2, 3).reshape(batch, channels, height, width)
        return torch.add(x, self.proj(attended)) * self.family.skip_scale
