"""EDM's network pickles: a preconditioned network, alone or as ``ema`` of a training snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_limited
from koopstep.core.levels import iddpm_sigmas
from koopstep.core.tensors import is_tensor_file
from koopstep.formats.inert.dialect import Limits
from koopstep.formats.inert.modules import children, named_tensors
from koopstep.formats.inert.values import Instance
from koopstep.formats.torch_files import to_tensors
from koopstep.nets.layers import resampling_kernel
from koopstep.teachers.edm import EDMConfig
from koopstep.teachers.foreign.base import ForeignTeacher, check_tensors, empty_model
from koopstep.teachers.foreign.edm_config import read_config
from koopstep.teachers.foreign.edm_dialect import read_edm_pickle

_HEAD = b"\x80\x04\x95"


def is_edm_pickle(source: Path) -> bool:
    """Whether this looks like a pickle of protocol 4, which torch's own files never are."""
    if not source.is_file():
        return False
    with source.open("rb") as stream:
        head = stream.read(16)
    return head.startswith(_HEAD) and not is_tensor_file(head)


def read_edm(source: Path) -> ForeignTeacher:
    """Read an EDM network pickle; its program text is hashed, nothing is run.

    Raises:
        UsageError: it holds another kind of network, or asks for a name that such pickles never have.
        DamagedError: it is broken, or its weights are not those of the network it describes.
    """
    where = str(source)
    data = read_limited(source, Limits().file_bytes)
    module = _network(read_edm_pickle(memoryview(data), where), where)
    config, outside = read_config(module.name, _arguments(module, where), where)
    _check_state(module, dict(outside), where)
    inner = children(module, where).get("model")
    if inner is None or inner.name != outside.model_type:
        raise DamagedError(f"{where}: the network inside is no {outside.model_type}, which its arguments say it is")
    tensors = to_tensors(named_tensors(module, where), len(data), where)
    kept, notes = _without_constants(tensors, config, where)
    check_tensors(config, kept, where)
    recorded = {"class_name": module.name, "module_src_sha256": module.source_sha256}
    return ForeignTeacher(config, kept, notes, recorded)


def _network(value: Any, where: str) -> Instance:
    """The module itself, or the ``ema`` of a snapshot."""
    module = value.get("ema") if isinstance(value, dict) else value
    if not isinstance(module, Instance):
        raise UsageError(f"{where}: an EDM pickle holds a network, or a dict with one under 'ema'")
    return module


def _arguments(module: Instance, where: str) -> Mapping[str, Any]:
    """What the network was made with."""
    state = module.state if isinstance(module.state, dict) else {}
    arguments = state.get("_init_kwargs")
    if not isinstance(arguments, dict) or state.get("_init_args") not in ((), []):
        raise DamagedError(f"{where}: {module.name} does not say what it was made with, so it cannot be made again")
    if any(type(key) is not str for key in arguments):
        raise DamagedError(f"{where}: the arguments of {module.name} have no names")
    return arguments


def _check_state(module: Instance, outside: Mapping[str, Any], where: str) -> None:
    """The numbers the module computes with must be those it was made with."""
    for name, value in outside.items():
        found = module.state.get(name, value)
        if name not in ("use_fp16", "model_type") and (not isinstance(found, int | float) or found != value):
            raise UsageError(f"{where}: {name} was {value} when the network was made and was changed afterwards")


def _without_constants(
    tensors: Mapping[str, Tensor], config: EDMConfig, where: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors without those that follow from the config and that our networks do not keep.

    Raises:
        DamagedError: such a constant has another value than follows.
    """
    wanted = empty_model(config, len(tensors), where).state_dict()
    constants = {name: value for name, value in tensors.items() if name not in wanted}
    resampling = [name for name in constants if name.endswith(".resample_filter")]
    kernel = resampling_kernel(getattr(config.network, "resample_filter", (1, 1))).double()
    for name in resampling:
        if constants[name].shape != kernel.shape or not torch.allclose(constants[name].double(), kernel, atol=1e-6):
            raise DamagedError(f"{where}: {name} is not the filter that the network was made with")
    dropped = set(resampling)
    if "u" in constants and config.preconditioning == "iddpm":
        _check_levels(constants["u"], where)
        dropped.add("u")
    kept = {name: value for name, value in tensors.items() if name not in dropped}
    notes = (f"{len(resampling)} resampling filters were checked and left out",) if resampling else ()
    return kept, notes


def _check_levels(levels: Tensor, where: str) -> None:
    """Those of the iDDPM preconditioning follow from its constants."""
    expected = iddpm_sigmas()
    if levels.shape != expected.shape or not torch.allclose(levels.double(), expected.double(), rtol=1e-3, atol=1e-5):
        raise DamagedError(f"{where}: its noise levels are not those of the iDDPM preconditioning")
