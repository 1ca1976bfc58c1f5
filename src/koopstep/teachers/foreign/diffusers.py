"""Pipelines that diffusers wrote: a folder of ``model_index.json``, a ``UNet2DModel`` and a DDPM or DDIM scheduler.

Everything is read as data. Class names in the files are compared with the ones we know, never looked up; code that lies
beside them is not touched; nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_json, sha256_file
from koopstep.core.tensors import load_tensors
from koopstep.formats.torch_files import load_state_dict
from koopstep.teachers.diffusers.config import DiffusersConfig, read_network, read_schedule, refuse_stochastic
from koopstep.teachers.diffusers.teacher import timesteps_of
from koopstep.teachers.foreign.base import ForeignTeacher, check_tensors

NETWORK = "UNet2DModel"
SCHEDULERS = ("DDPMScheduler", "DDIMScheduler")
SUPPORTED = (
    f"supported are pixel-space pipelines of a {NETWORK} with a {' or '.join(SCHEDULERS)}, as DDPMPipeline writes"
)

_WEIGHTS = "diffusion_pytorch_model"
# Attention layers were renamed in 2023; the weights of 2022 still carry the old names.
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def is_pipeline(source: Path) -> bool:
    """Whether this looks like a folder that diffusers wrote (a pipeline, or one model of it)."""
    return source.is_dir() and any((source / name).is_file() for name in ("model_index.json", "config.json"))


def read_pipeline(source: Path) -> ForeignTeacher:
    """Read a pipeline's folder.

    The network may lie in ``unet/`` and the scheduler in ``scheduler/``, or both beside the index as in 2022.

    Raises:
        UsageError: it is another kind of pipeline, or diffusers is not installed.
        DamagedError: a file is broken, or the weights are not those of the network it describes.
    """
    if (source / "model_index.json").is_file():
        _check_components(_read_object(source / "model_index.json"), source)
    folder = _part(source, "unet")
    network = read_network(_read_described(folder / "config.json", (NETWORK,)), str(folder / "config.json"))
    scheduler = _part(source, "scheduler") / "scheduler_config.json"
    if not scheduler.is_file():
        raise UsageError(f"{source} has no scheduler_config.json, which says how the network was trained; "
                         "give the pipeline's folder, the one with model_index.json")  # fmt: skip
    schedule, notes = read_schedule(_read_described(scheduler, SCHEDULERS), str(scheduler))
    config = DiffusersConfig.parse(
        {"network": network.model_dump(), "schedule": schedule.model_dump()}, f"the pipeline {source}"
    )
    path = _find_weights(folder)
    digest = sha256_file(path)
    tensors = _by_our_names(load_tensors(path, digest)[0] if path.suffix == ".safetensors" else load_state_dict(path))
    check_tensors(config, tensors, str(path))
    note = timesteps_of(config).note()
    notes += [note] if note else []
    return ForeignTeacher(config, tensors, tuple(notes), {"weights_file": path.name, "weights_sha256": digest})


def _part(source: Path, name: str) -> Path:
    return source / name if (source / name).is_dir() else source


def _check_components(index: Mapping[str, Any], source: Path) -> None:
    """Only a network and a scheduler, both diffusers' own."""
    known = {"unet": (NETWORK,), "scheduler": SCHEDULERS}
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue  # bookkeeping, settings such as `requires_safety_checker`, parts that were left away
        if name not in known:
            raise UsageError(
                f"{source} has a {name!r} ({_said(value)}): a latent or otherwise guided pipeline; {SUPPORTED}"
            )
        if name == "scheduler":
            refuse_stochastic(_said(value[1:]), str(source))
        if value[:1] != ["diffusers"] or value[1:] not in [[allowed] for allowed in known[name]]:
            raise UsageError(f"the {name!r} of {source} is {_said(value)}; {SUPPORTED}")
    if "unet" not in index:
        raise UsageError(f"{source} names no 'unet'; {SUPPORTED}")


def _said(value: list[Any]) -> str:
    return " ".join(".".join(str(part) for part in value).split())[:80]


def _read_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise DamagedError(f"{path} is no JSON object")
    return value


def _read_described(path: Path, allowed: tuple[str, ...]) -> dict[str, Any]:
    """A config file whose ``_class_name`` is one of ``allowed``."""
    value = _read_object(path)
    name = value.get("_class_name")
    if name not in allowed:
        refuse_stochastic(str(name), str(path))
        raise UsageError(f"{path} describes a {str(name)[:80]!r}; {SUPPORTED}")
    return value


def _find_weights(folder: Path) -> Path:
    for ending in (".safetensors", ".bin"):
        path = folder / f"{_WEIGHTS}{ending}"
        if path.is_file():
            return path
    raise UsageError(f"{folder} has neither {_WEIGHTS}.safetensors nor {_WEIGHTS}.bin")


def _by_our_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under ``model``, attention layers by today's names."""
    renamed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        *above, layer, last = ("model." + name).split(".")
        renamed[".".join([*above, _OLD_NAMES.get(layer, layer), last])] = value
    return renamed
