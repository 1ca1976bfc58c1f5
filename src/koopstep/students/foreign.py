"""The published checkerboard student: a whole pickled module, read as data and run as a student of ours.

Its parts (azencot-group/KDM at fe1c515): two encoders and a decoder of plain layers with Swish between them, which get the
time as one number more (1 for noise, 0 for data), and an operator with a bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_limited
from koopstep.formats.inert.dialect import Limits
from koopstep.formats.inert.modules import children, own_tensors, walk
from koopstep.formats.inert.torch_dialect import modules
from koopstep.formats.inert.torch_files import ZIP, read_torch_file
from koopstep.formats.inert.values import Instance, TensorRecord
from koopstep.formats.torch_files import to_tensors
from koopstep.nets.mlp import MLPConfig
from koopstep.operators.dense import DenseConfig
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import DataFacts

_MODULE = "models.koopman_model_checkerboard"
_STUDENT = "KoopmanDistillModelCheckerBoard"
_LINEAR = "torch.nn.modules.linear.Linear"
_SWISH = f"{_MODULE}.Swish"
_DIALECT = modules(
    "a published checkerboard student",
    (
        _LINEAR,
        "torch.nn.modules.container.Sequential",
        *(f"{_MODULE}.{name}" for name in ("Encoder", "Decoder", "Swish", _STUDENT)),
    ),
)
_ROLES = {
    "noise_encoder": "xT_observables_encoder",
    "data_encoder": "x0_observables_encoder",
    "decoder": "x0_observables_decoder",
}
_SNIFFED_BYTES = 1 << 16


@dataclass(frozen=True)
class ForeignStudent:
    """A student of another program in our terms: what ``build_student`` needs, and its checked weights."""

    config: KDMConfig
    facts: DataFacts
    tensors: dict[str, Tensor]


def is_checkerboard_module(source: Path) -> bool:
    """Whether this looks like a file of ``torch.save`` that names the published class near its beginning."""
    if not source.is_file():
        return False
    with source.open("rb") as stream:
        head = stream.read(_SNIFFED_BYTES)
    return (head[:4] == ZIP or head[:1] == b"\x80") and f"{_MODULE}\n{_STUDENT}".encode() in head


def read_checkerboard_module(source: Path) -> ForeignStudent:
    """Read the module; nothing in it is run.

    Raises:
        UsageError: it asks for a name that such a file never has.
        DamagedError: it is broken, or built in another way.
    """
    where = str(source)
    data = read_limited(source, Limits().file_bytes)
    module = read_torch_file(memoryview(data), _DIALECT, Limits(), where)
    if not isinstance(module, Instance) or module.name != f"{_MODULE}.{_STUDENT}":
        raise UsageError(f"{where} holds no {_STUDENT}")
    parts = children(module, where)
    for name in (*_ROLES.values(), "koopman_operator"):
        if name not in parts:
            raise DamagedError(f"{where}: the student has no {name}")
    layers = {role: _layers(parts[name], role != "decoder", where) for role, name in _ROLES.items()}
    operator = _linear(parts["koopman_operator"], where)
    _check_shapes(layers, operator, where)
    tensors = to_tensors(_named(layers, operator), len(data), where)
    if not all(tensor.is_floating_point() and bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise DamagedError(f"{where}: the weights hold NaN or infinity")
    config, facts = _describe(layers, operator)
    return ForeignStudent(config, facts, tensors)


def _layers(part: Instance, ends_in_swish: bool, where: str) -> list[dict[str, TensorRecord]]:
    """The linear layers of a stack in their order; a Swish must follow each (the decoder's last excepted)."""
    kinds = [module for _, module in walk(part, where) if module.name in (_LINEAR, _SWISH)]
    linear = [module for module in kinds if module.name == _LINEAR]
    pattern = [_LINEAR, _SWISH] * len(linear)
    if [module.name for module in kinds] != (pattern if ends_in_swish else pattern[:-1]) or len(linear) < 2:
        raise DamagedError(f"{where}: a {part.name} that is not made of linear layers with a Swish after each")
    return [_linear(module, where) for module in linear]


def _linear(module: Instance, where: str) -> dict[str, TensorRecord]:
    tensors = own_tensors(module, where)
    shapes = {name: tensor.size for name, tensor in tensors.items()}
    if module.name != _LINEAR or set(shapes) != {"weight", "bias"} or len(shapes["weight"]) != 2:
        raise DamagedError(f"{where}: a {module.name} that is no linear layer with a bias")
    return tensors


def _describe(
    layers: dict[str, list[dict[str, TensorRecord]]], operator: dict[str, TensorRecord]
) -> tuple[KDMConfig, DataFacts]:
    """Our config, from the shapes."""
    latent = operator["weight"].size[0]
    dimension = layers["decoder"][-1]["weight"].size[0]
    networks = {role: _network(stack, role != "decoder") for role, stack in layers.items()}
    config = KDMConfig(
        encoder=networks["noise_encoder"],
        data_encoder=networks["data_encoder"],
        decoder=networks["decoder"],
        operator=DenseConfig(affine=True),
        latent=latent,
    )
    # The published networks take and give states as they are, so no scale may stand in between.
    return config, DataFacts(shape=(dimension,), noise_scale=1.0, data_scale=1.0)


def _network(stack: list[dict[str, TensorRecord]], encoder: bool) -> MLPConfig:
    width = stack[0]["weight"].size[0]
    return MLPConfig(width=width, depth=len(stack) - 1, fourier=0, residual=False, output_activation=encoder)


def _named(
    layers: dict[str, list[dict[str, TensorRecord]]], operator: dict[str, TensorRecord]
) -> dict[str, TensorRecord]:
    """The tensors by the names that our student has for them."""
    named = {"operators.0.weight": operator["weight"], "operators.0.offset": operator["bias"]}
    for role, stack in layers.items():
        places = ["first", *(f"hidden.{index}" for index in range(len(stack) - 2)), "last"]
        for place, layer in zip(places, stack, strict=True):
            named |= {f"codec.{role}.network.{place}.{name}": tensor for name, tensor in layer.items()}
    return named


def _check_shapes(
    layers: dict[str, list[dict[str, TensorRecord]]], operator: dict[str, TensorRecord], where: str
) -> None:
    """The parts must fit together and each stack be of one width: only then is anything of these sizes built."""
    latent, dimension = operator["weight"].size[0], layers["decoder"][-1]["weight"].size[0]
    ends = {
        "noise_encoder": (dimension + 1, latent),
        "data_encoder": (dimension + 1, latent),
        "decoder": (latent + 1, dimension),
    }
    wanted = [(operator, (latent, latent))]
    for role, stack in layers.items():
        width = stack[0]["weight"].size[0]
        sizes = [ends[role][0], *[width] * (len(stack) - 1), ends[role][1]]
        wanted += [(layer, (after, before)) for layer, (before, after) in zip(stack, pairwise(sizes), strict=True)]
    for layer, shape in wanted:
        found = layer["weight"].size, layer["bias"].size
        if found != (shape, shape[:1]) or 0 in shape:
            raise DamagedError(
                f"{where}: its layers do not fit together: {found[0]} and {found[1]} where {shape} belongs"
            )
