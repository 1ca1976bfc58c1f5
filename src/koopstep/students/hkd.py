"""HKD students (arXiv 2510.12220): a U-Net cut at its skips; every skip and the bottleneck evolves under its own operator.

For vectors the same idea has one level. Without rates (``sharing: none``) the networks are the control that knows no
Koopman theory.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from koopstep.core.config import Config
from koopstep.core.errors import UsageError
from koopstep.core.schedule import Schedule
from koopstep.nets.linear import LinearConfig
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.skips import SkipUNet
from koopstep.nets.table import NetworkConfig, build_network
from koopstep.operators.block import BlockConfig
from koopstep.operators.table import OperatorConfig, build_operator
from koopstep.students.codec import Codec, Latent
from koopstep.students.student import DataFacts, KoopmanStudent


class HKDConfig(Config):
    """An HKD student.

    Attributes:
        network: a U-Net, cut at its skips (images); or the encoder's and the decoder's network (vectors). A recipe without
            it takes the teacher's.
        operator: of every level; ``kind: block`` where no kind is named (the paper). Those that mix all numbers of a
            level (dense, factorised, spectral) fit small levels only.
        lift: a network over all numbers of an image at once, whose result is added to the image before the U-Net sees it
            (not in the paper): few convolutions on few pixels see the whole of a picture late, and its one-step outcome
            depends on the whole from the start. With ``output_scale: 0`` it starts silent.
        latent: dimension of the latent; for vectors only.
        levels: which levels evolve: ``all`` (the paper), or the ``bottleneck`` alone, the skips staying as they are.
        maps: a 1 x 1 convolution before and after each operator, starting at the identity. The paper's Prop. C.1 needs
            linear maps beside the operator, and a U-Net's skips have none.
        decoder_condition: the level whose label the decoder is called with: the ``final`` one (the paper); the ``noisiest``,
            whose teacher's network is a one-step guess and so the better start; or the ``target``'s, so that it can read
            states within the path (label of 1 - u: the end has the noisiest).
        observables: ``free`` (the paper), or pinned: ``linear`` encoder of the raw state that is not conditioned on the level
            (vectors), ``carried``: the raw state takes the first places of the latent, ``normalised``: unit mean square
            of each level and sample.
    """

    kind: Literal["hkd"] = "hkd"
    network: NetworkConfig | None = None
    operator: OperatorConfig = BlockConfig()
    lift: MLPConfig | None = None
    latent: int = Field(default=256, ge=2)
    levels: Literal["all", "bottleneck"] = "all"
    maps: bool = False
    decoder_condition: Literal["noisiest", "final", "target"] = "noisiest"
    observables: Literal["free", "linear", "carried", "normalised"] = "free"

    @field_validator("operator", mode="before")
    @classmethod
    def _block_unless_named(cls, value: Any) -> Any:
        return {"kind": "block", **value} if isinstance(value, Mapping) else value

    def network_of_teacher(self) -> tuple[str, NetworkConfig | None]:
        """The setting that a teacher's network can start, and its value."""
        return "network", self.network

    def started_from(self, shape: tuple[int, ...], preconditioning: str, noisiest_label: float) -> Self:
        """The student that starts from such a teacher.

        Raises:
            UsageError: if the teacher is of vectors, or its network has other labels than EDM's.
        """
        if len(shape) != 3:
            raise UsageError("a network for vectors cannot be cut in two halves; set -o initialise=fresh")
        if preconditioning != "edm":
            raise UsageError(
                f"an HKD student's network is conditioned on levels as EDM's is, this teacher's as {preconditioning!r} has "
                "it; set -o initialise=fresh"
            )
        return self


_PINNED = {
    "free": "",
    "linear": "linear observables of the raw state, the same at every level",
    "carried": "the raw state, carried in the latent (for the pairs that hold it)",
    "normalised": "unit mean square of each level's observables (moduli only; angles stay free)",
}


class PathCodec(Codec):
    """What the codecs of whole paths share: labels and sizes along the path."""

    def __init__(self, config: HKDConfig, facts: DataFacts) -> None:
        super().__init__()
        self.config, self.facts, self.path = config, facts, facts.schedule()
        self._carried_size = math.sqrt(facts.noise_scale * facts.data_scale)

    @abstractmethod
    def level_shapes(self) -> Sequence[tuple[int, ...]]:
        """The shapes of the latent's levels, without the batch."""

    def schedule(self) -> Schedule:
        return self.path

    @property
    def reads_path(self) -> bool:
        return self.config.decoder_condition == "target"

    def sampling_modules(self) -> list[nn.Module]:
        return [self]

    @property
    def pinned_by(self) -> str:
        return _PINNED[self.config.observables]

    def _size(self, x: Tensor, u: float | Tensor) -> float | Tensor:
        """The states' standard deviation at ``u``: a number, or (B, 1, ...) to go with states."""
        if not isinstance(u, Tensor):
            return self.path.at(u)[0]
        return self.path.size(_rows(x, u)).view(-1, *[1] * len(self.facts.shape))

    def _label(self, x: Tensor, u: float | Tensor) -> Tensor:
        """What a network is conditioned on at ``u``, (B,)."""
        if isinstance(u, Tensor):
            return self.path.label(_rows(x, u))
        return torch.full((len(x),), self.path.at(u)[1], dtype=_full(x.dtype), device=x.device)

    def _decoder_label(self, x: Tensor, u: float | Tensor) -> Tensor:
        """What the decoder is conditioned on for a target at ``u``, (B,)."""
        labels: dict[str, float | Tensor] = {"noisiest": 0.0, "final": 1.0, "target": 1 - u}
        return self._label(x, labels[self.config.decoder_condition])

    def _normalised(self, latent: Sequence[Tensor]) -> Latent:
        if self.config.observables != "normalised":
            return tuple(latent)
        return tuple(_unit_mean_square(level) for level in latent)


class SkipCodec(PathCodec):
    """One U-Net for both halves (HKD Sec. 3.1): the encoder has the state's level as condition, the decoder one of its own."""

    def __init__(self, config: HKDConfig, facts: DataFacts) -> None:
        super().__init__(config, facts)
        network = build_network(_network(config), facts.shape, num_classes=facts.num_classes)
        if not isinstance(network, SkipUNet):
            raise UsageError(
                f"images of shape {facts.shape} need a U-Net as student.network, got {_network(config).kind!r}"
            )
        if config.observables == "linear":
            raise UsageError(
                "linear observables are for vectors; images have student.observables carried or normalised"
            )
        self.network = network
        size = math.prod(facts.shape)
        self.lift = None if config.lift is None else build_network(config.lift, (size,), num_classes=facts.num_classes)
        widths = [shape[0] for shape in network.skip_shapes]
        self.before = nn.ModuleList(_identity(width) for width in widths) if config.maps else None
        self.after = nn.ModuleList(_identity(width) for width in widths) if config.maps else None

    def encode(self, x: Tensor, u: float | Tensor, class_labels: Tensor | None) -> Latent:
        label, seen = self._label(x, u), x / self._size(x, u)
        if self.lift is not None:
            seen = seen + self.lift(seen.flatten(1), label, class_labels).view_as(seen)
        latent = self.network.encode(seen, self.network.embed(label, class_labels))
        if self.before is not None:
            latent = [map_(level) for map_, level in zip(self.before, latent, strict=True)]
        if self.config.observables == "carried":
            latent[0] = self._carry(x, latent[0])
        return self._normalised(latent)

    def decode(self, latent: Latent, u: float | Tensor, class_labels: Tensor | None) -> Tensor:
        embedding = self.network.embed(self._decoder_label(latent[0], u), class_labels)
        if self.after is not None:
            latent = tuple(map_(level) for map_, level in zip(self.after, latent, strict=True))
        return self.network.decode(list(latent), embedding) * self._size(latent[0], u)

    def decoder_network(self) -> nn.Module:
        return self.network

    def level_shapes(self) -> Sequence[tuple[int, ...]]:
        return self.network.skip_shapes

    def _carry(self, x: Tensor, level: Tensor) -> Tensor:
        """``level`` with the raw state, its pixels folded into channels, in place of the first channels."""
        fold = x.shape[-1] // level.shape[-1]
        state = nn.functional.pixel_unshuffle(x, fold) / self._carried_size
        return torch.cat([state.to(level.dtype), level[:, state.shape[1] :]], dim=1)


class VectorCodec(PathCodec):
    """An encoder and a decoder around one flat level."""

    def __init__(self, config: HKDConfig, facts: DataFacts) -> None:
        super().__init__(config, facts)
        size, network = math.prod(facts.shape), _network(config)
        linear = config.observables == "linear"
        if config.lift is not None:
            raise UsageError("student.lift is for images: a vector's network sees all of it anyway")
        if config.observables == "carried" and config.latent < size:
            raise UsageError(f"to carry the state the latent needs {size} dimensions at least, got {config.latent}")
        reader = LinearConfig() if linear else network
        self.encoder = build_network(reader, (size,), outputs=config.latent, num_classes=facts.num_classes)
        self.decoder = build_network(
            reader if linear else network, (config.latent,), outputs=size, num_classes=facts.num_classes
        )

    @property
    def pinned_by(self) -> str:
        wider = self.config.observables == "linear" and self.config.latent > math.prod(self.facts.shape)
        return "" if wider else super().pinned_by

    def encode(self, x: Tensor, u: float | Tensor, class_labels: Tensor | None) -> Latent:
        flat, label = x.flatten(1), self._label(x, u)
        if self.config.observables == "linear":
            return (self.encoder(flat, label, class_labels),)
        latent = self.encoder((x / self._size(x, u)).flatten(1), label, class_labels)
        if self.config.observables == "carried":
            latent = torch.cat([(flat / self._carried_size).to(latent.dtype), latent[:, flat.shape[1] :]], dim=1)
        return self._normalised([latent])

    def decode(self, latent: Latent, u: float | Tensor, class_labels: Tensor | None) -> Tensor:
        label = self._decoder_label(latent[0], u)
        state: Tensor = self.decoder(latent[0], label, class_labels).view(-1, *self.facts.shape)
        return state if self.config.observables == "linear" else state * self._size(latent[0], u)

    def decoder_network(self) -> nn.Module:
        return self.decoder

    def level_shapes(self) -> Sequence[tuple[int, ...]]:
        return [(self.config.latent,)]


def build_hkd(config: HKDConfig, facts: DataFacts, seed: int = 0) -> KoopmanStudent:
    """A fresh HKD student for data of ``facts``; ``seed`` is of the operators' start (networks use the global generator).

    Block operators start as the identity under any seed; on linear observables, which hold the state at its own size, they
    start at the path's contraction unless ``initial_rate`` says where, as otherwise the first samples are as large as the
    noise.
    """
    codec: PathCodec = SkipCodec(config, facts) if len(facts.shape) == 3 else VectorCodec(config, facts)
    shapes, generator = codec.level_shapes(), torch.Generator().manual_seed(seed)
    still: OperatorConfig = BlockConfig(sharing="none")
    last, moving = len(shapes) - 1, config.operator
    undecided = moving.kind == "block" and moving.sharing in ("position", "channel") and not moving.initial_rate
    if config.observables == "linear" and undecided:
        moving = moving.model_copy(update={"initial_rate": math.log(facts.data_scale / facts.noise_scale)})
    operators = [
        build_operator(moving if config.levels == "all" or index == last else still, shape, generator)
        for index, shape in enumerate(shapes)
    ]
    return KoopmanStudent(facts, codec, operators, level_names=_names(shapes), controlled=False)


def _network(config: HKDConfig) -> NetworkConfig:
    if config.network is None:
        raise UsageError("student.network is missing: name a network, as the preset's teacher has")
    return config.network


def _names(shapes: Sequence[tuple[int, ...]]) -> list[str]:
    """``32x32 skip 0``, ... and ``bottleneck`` for the last; ``latent`` where there is one level only."""
    if len(shapes) == 1:
        return ["latent"]
    names, seen = [], dict[str, int]()
    for _, height, width in shapes[:-1]:
        size = f"{height}x{width}"
        names.append(f"{size} skip {seen.get(size, 0)}")
        seen[size] = seen.get(size, 0) + 1
    return [*names, f"{shapes[-1][1]}x{shapes[-1][2]} bottleneck"]


def _identity(channels: int) -> nn.Conv2d:
    """A 1 x 1 convolution that changes nothing yet."""
    layer = nn.Conv2d(channels, channels, 1, bias=False)
    nn.init.dirac_(layer.weight)
    return layer


def _unit_mean_square(level: Tensor) -> Tensor:
    """Each sample's level, rescaled."""
    size = level.float().flatten(1).square().mean(dim=1).add(1e-8).sqrt()
    return level / size.to(level.dtype).view(-1, *[1] * (level.ndim - 1))


def _full(dtype: torch.dtype) -> torch.dtype:
    """At least float32: levels have no meaning in fewer digits."""
    return torch.promote_types(dtype, torch.float32)


def _rows(x: Tensor, u: Tensor) -> Tensor:
    """``u`` as (B,), beside ``x``."""
    return u.to(x.device, _full(x.dtype)).expand(len(x))
