"""KDM students (arXiv 2505.13358): one flat latent, separate encoders for noise and data, any operator between.

With the operator ``identity`` the same networks are the control that knows no Koopman theory.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from koopstep.core.config import Config
from koopstep.core.errors import UsageError
from koopstep.nets.layers import linear
from koopstep.nets.table import NetworkConfig, build_network, takes_images
from koopstep.operators.table import OperatorConfig, build_operator
from koopstep.students.codec import Codec, Latent
from koopstep.students.student import DataFacts, KoopmanStudent


class KDMConfig(Config):
    """A KDM student.

    Attributes:
        encoder: E_T, which lifts the noise.
        data_encoder: E_0, which lifts the data; the encoder's size when absent. Only training uses it.
        decoder: D.
        operator: C.
        latent: dimension d of the latent. Networks that give images hold it as ``latent_channels`` planes and, where the
            planes have another size than d, a linear layer (the paper's linear module).
        latent_channels: planes of the latent (images only; 1 in the paper).
        tied: one encoder for both ends, fed with raw states. With the network ``linear`` and no more latent dimensions
            than the state has this pins the observables (of a wider latent, some eigenvalues act on nothing).
        carry: how much of the (rescaled) state itself is added to the front of the latent. 0 as in the paper; 1 makes
            the fresh student start from the state instead of from nothing.
        decoder_label: the constant noise label the decoder is called with (0 in the paper). A decoder that starts from
            a teacher's weights is called with the teacher's noisiest level.
    """

    kind: Literal["kdm"] = "kdm"
    encoder: NetworkConfig
    data_encoder: NetworkConfig | None = None
    decoder: NetworkConfig
    operator: OperatorConfig
    latent: int = Field(ge=1)
    latent_channels: int = Field(default=1, ge=1)
    tied: bool = False
    carry: float = 0.0
    decoder_label: float = 0.0

    def network_of_teacher(self) -> tuple[str, NetworkConfig | None]:
        """The setting that a teacher's network can start, and its value."""
        return "decoder", self.decoder

    def started_from(self, shape: tuple[int, ...], preconditioning: str, noisiest_label: float) -> Self:
        """The student that starts from such a teacher: its decoder is called with the noisiest label."""
        return self.model_copy(update={"decoder_label": noisiest_label})


class _Reader(nn.Module):
    """A network between states and flat latents, whatever the shapes on its two sides."""

    def __init__(self, config: NetworkConfig, shape: tuple[int, ...], latent: int, planes: int, classes: int) -> None:
        super().__init__()
        self.shape, self.flat = shape, not takes_images(config)
        if self.flat:
            self.network = build_network(config, (math.prod(shape),), outputs=latent, num_classes=classes)
            self.linear: nn.Module = nn.Identity()
            return
        self.network = build_network(config, shape, outputs=planes, num_classes=classes)
        size = planes * math.prod(shape[1:])
        self.linear = nn.Identity() if size == latent else linear(size, latent)

    def forward(self, x: Tensor, label: float, class_labels: Tensor | None) -> Tensor:
        """(B, *shape) -> (B, d)."""
        labels = torch.full((len(x),), label, dtype=x.dtype, device=x.device)
        hidden = self.network(x.flatten(1) if self.flat else x, labels, class_labels)
        return self.linear(hidden.flatten(1))  # type: ignore[no-any-return]


class _Writer(nn.Module):
    """The decoder: flat latents to states."""

    def __init__(self, config: NetworkConfig, shape: tuple[int, ...], latent: int, planes: int, classes: int) -> None:
        super().__init__()
        self.shape, self.flat = shape, not takes_images(config)
        if self.flat:
            self.network = build_network(config, (latent,), outputs=math.prod(shape), num_classes=classes)
            return
        self.planes = (planes, *shape[1:])
        size = math.prod(self.planes)
        self.linear: nn.Module = nn.Identity() if size == latent else linear(latent, size)
        self.network = build_network(config, self.planes, outputs=shape[0], num_classes=classes)

    def forward(self, latent: Tensor, label: float, class_labels: Tensor | None) -> Tensor:
        """(B, d) -> (B, *shape)."""
        labels = torch.full((len(latent),), label, dtype=latent.dtype, device=latent.device)
        if not self.flat:
            latent = self.linear(latent).view(-1, *self.planes)
        return self.network(latent, labels, class_labels).view(-1, *self.shape)  # type: ignore[no-any-return]


class FlatCodec(Codec):
    """E_T, E_0 and D around one flat latent.

    Both encoders get unit-sized states (the paper feeds noise of standard deviation 80 as it is; see
    ``docs/lab/deviations.md``), and the decoder's output is scaled by the data's standard deviation. A tied encoder gets raw
    states: two scales would be two different sets of observables.
    """

    def __init__(self, config: KDMConfig, facts: DataFacts) -> None:
        super().__init__()
        size = math.prod(facts.shape)
        if config.carry and config.latent < size:
            raise UsageError(
                f"student.latent {config.latent} cannot hold the {size} numbers of a state of shape {facts.shape}, which "
                f"student.carry {config.carry} adds to it; set student.latent={size} or more, or student.carry=0"
            )
        if not (facts.noise_scale > 0 and facts.data_scale > 0):
            raise UsageError(
                f"noise and data must have a standard deviation above 0, got {facts.noise_scale} and {facts.data_scale}"
            )
        sizes = (facts.shape, config.latent, config.latent_channels, facts.num_classes)
        self.noise_encoder = _Reader(config.encoder, *sizes)
        self.data_encoder = None if config.tied else _Reader(config.data_encoder or config.encoder, *sizes)
        self.decoder = _Writer(config.decoder, *sizes)
        self.facts, self.carry, self.decoder_label = facts, config.carry, config.decoder_label
        linear_observables = config.tied and config.encoder.kind == "linear"
        self._pinned = linear_observables and config.latent <= math.prod(facts.shape)
        self._output_scale = 1.0 if linear_observables else facts.data_scale

    def encode(self, x: Tensor, u: float | Tensor, class_labels: Tensor | None) -> Latent:
        """Lift an end of the path: ``u`` is 0 (noise) or 1 (data)."""
        if isinstance(u, Tensor) or u not in (0.0, 1.0):
            raise UsageError(f"a KDM student knows the two ends of the path only (u = 0 or 1), got u = {u}")
        if self.data_encoder is None:
            return (self._lift(self.noise_encoder, x, 0.0, class_labels),)
        if u == 0.0:
            return (self._lift(self.noise_encoder, x / self.facts.noise_scale, 1.0, class_labels),)
        return (self._lift(self.data_encoder, x / self.facts.data_scale, 0.0, class_labels),)

    def _lift(self, encoder: nn.Module, x: Tensor, label: float, class_labels: Tensor | None) -> Tensor:
        latent: Tensor = encoder(x, label, class_labels)
        if self.carry:
            state = x.flatten(1)
            room = latent.shape[1] - state.shape[1]
            latent = latent + self.carry * nn.functional.pad(state, (0, room))
        return latent

    def decode(self, latent: Latent, u: float | Tensor, class_labels: Tensor | None) -> Tensor:
        """Read out the data; ``u`` must be 1."""
        if isinstance(u, Tensor) or u != 1.0:
            raise UsageError(f"a KDM student decodes at the end of the path only (u = 1), got u = {u}")
        return self.decoder(latent[0], self.decoder_label, class_labels) * self._output_scale  # type: ignore[no-any-return]

    def sampling_modules(self) -> list[nn.Module]:
        return [self.noise_encoder, self.decoder]

    def decoder_network(self) -> nn.Module:
        return self.decoder.network

    @property
    def pinned_by(self) -> str:
        return "linear observables of the raw state, the same at both ends" if self._pinned else ""


def build_kdm(config: KDMConfig, facts: DataFacts, seed: int = 0) -> KoopmanStudent:
    """A fresh KDM student for data of ``facts``; ``seed`` is of the operator's start (networks use the global generator)."""
    return KoopmanStudent(facts, FlatCodec(config, facts), [build_operator(config.operator, (config.latent,), seed)])
