"""The frame of EDM's U-Nets, cut at its skips: one half returns every skip, the other takes them.

Structure and parameter names follow the published networks (EDM, arXiv 2206.00364, App. F), so that their weights can be
loaded. The layer that is the last skip is also the bottleneck.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.nets.blocks import Block, Family
from koopstep.nets.layers import Conv


@dataclass(frozen=True)
class Plan:
    """What the two halves are made of.

    Attributes:
        family: of the blocks.
        channels: of every level of resolution, the finest first.
        first: channels after the first convolution.
        blocks: residual blocks a level in the encoder; the decoder has one more.
        attention_resolutions: sides of the maps whose pixels attend to each other.
        attend_last_only: whether of a level's decoder blocks only the last attends, or all.
        embedding: size of the embedding.
        dropout: inside the blocks.
        taps: of the filter that resamples.
        residual: whether the input runs beside the encoder and is added to the first skip of every coarser level.
    """

    family: Family
    channels: tuple[int, ...]
    first: int
    blocks: int
    attention_resolutions: tuple[int, ...]
    attend_last_only: bool
    embedding: int
    dropout: float
    taps: tuple[int, ...] = (1, 1)
    residual: bool = False

    def block(self, inputs: int, outputs: int, *, up: bool = False, down: bool = False, attend: bool = False) -> Block:
        """One block of this plan."""
        return Block(
            inputs,
            outputs,
            self.embedding,
            family=self.family,
            dropout=self.dropout,
            up=up,
            down=down,
            taps=self.taps,
            attention=attend,
        )


class SkipUNet(nn.Module):
    """``(x, noise_labels, class_labels, augment_labels) -> image``, or in halves.

    A subclass makes the embedding and the layers after the last block.

    Attributes:
        skip_shapes: (C, H, W) of every skip that :meth:`encode` returns.
        num_classes: 0 without classes.
        augment_channels: numbers of an augmentation label; 0 where the network is not conditioned on augmentation.
    """

    num_classes: int
    augment_channels: int

    def _build_halves(self, plan: Plan, resolution: int, inputs: int) -> None:
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        self.skip_shapes = tuple(self._build_encoder(plan, resolution, inputs))
        self._build_decoder(plan, resolution)

    def _build_encoder(self, plan: Plan, resolution: int, inputs: int) -> list[tuple[int, int, int]]:
        skips: list[tuple[int, int, int]] = []
        channels, beside = plan.first, inputs
        for level, outputs in enumerate(plan.channels):
            size = resolution >> level
            name = f"{size}x{size}"
            if level == 0:
                self.enc[f"{name}_conv"] = Conv(inputs, channels, 3, start=plan.family.start)
            else:
                self.enc[f"{name}_down"] = plan.block(channels, channels, down=True)
                if plan.residual:
                    self.enc[f"{name}_aux_residual"] = Conv(
                        beside, channels, 3, down=True, taps=plan.taps, filter_last=True, start=plan.family.start
                    )
                    beside = channels
            skips.append((channels, size, size))
            for index in range(plan.blocks):
                attend = size in plan.attention_resolutions
                self.enc[f"{name}_block{index}"] = plan.block(channels, outputs, attend=attend)
                channels = outputs
                skips.append((channels, size, size))
        return skips

    def _build_decoder(self, plan: Plan, resolution: int) -> None:
        waiting = [shape[0] for shape in self.skip_shapes]
        channels = waiting[-1]
        for level, outputs in reversed(list(enumerate(plan.channels))):
            size = resolution >> level
            name = f"{size}x{size}"
            if level == len(plan.channels) - 1:
                self.dec[f"{name}_in0"] = plan.block(channels, channels, attend=True)
                self.dec[f"{name}_in1"] = plan.block(channels, channels)
            else:
                self.dec[f"{name}_up"] = plan.block(channels, channels, up=True)
            for index in range(plan.blocks + 1):
                attend = size in plan.attention_resolutions and (index == plan.blocks or not plan.attend_last_only)
                self.dec[f"{name}_block{index}"] = plan.block(channels + waiting.pop(), outputs, attend=attend)
                channels = outputs

    def embed(
        self, noise_labels: Tensor, class_labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """Noise labels (B,), classes (B,) int64, augmentation labels (B, augment_channels) -> (B, E).

        Without classes a conditional network sees the vector of zeros, and so with augmentation labels: not augmented.

        Raises:
            UsageError: on augmentation labels for a network that has no place for them.
        """
        raise NotImplementedError

    def encode(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        """Return every skip, first to last; the last is the bottleneck. Shapes: :attr:`skip_shapes`."""
        skips: list[Tensor] = []
        beside = x
        for name, block in self.enc.items():
            if name.endswith("_aux_residual"):
                x = skips[-1] = beside = (x + block(beside)) * math.sqrt(0.5)
                continue
            x = block(x, embedding) if isinstance(block, Block) else block(x)
            skips.append(x)
        return skips

    def decode(self, skips: list[Tensor], embedding: Tensor) -> Tensor:
        """Return the image (B, outputs, H, W) from the skips of :meth:`encode` (or evolved ones)."""
        skips = list(skips)
        x = skips[-1]
        for block in self.dec.values():
            if not isinstance(block, Block):
                continue
            if block.inputs != x.shape[1]:
                x = torch.cat([x, skips.pop()], dim=1)
            x = block(x, embedding)
        return self._finish(x)

    def _finish(self, x: Tensor) -> Tensor:
        """The image from what the last block gives."""
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        noise_labels: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """(B, inputs, R, R), (B,), (B,) int64 or None, (B, augment_channels) or None -> (B, outputs, R, R)."""
        embedding = self.embed(noise_labels, class_labels, augment_labels)
        return self.decode(self.encode(x, embedding), embedding)

    def _check_augmentation(self, augment_labels: Tensor | None) -> None:
        if augment_labels is None:
            return
        if augment_labels.ndim != 2 or augment_labels.shape[1] != self.augment_channels or not self.augment_channels:
            raise UsageError(
                f"this network has a place for {self.augment_channels} numbers of augmentation a row "
                f"(augment_channels), got labels of shape {tuple(augment_labels.shape)}"
            )
