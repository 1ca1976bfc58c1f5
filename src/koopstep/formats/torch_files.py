"""State dicts from files that other programs saved, without running anything in them.

Read are torch's two formats (by the inert interpreter of `koopstep.formats.inert`), `.npz` and `.safetensors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_limited
from koopstep.core.tensors import is_tensor_file, tensors_from_bytes
from koopstep.formats.arrays import arrays_from_bytes
from koopstep.formats.inert.dialect import Limits
from koopstep.formats.inert.torch_dialect import STATE_DICT
from koopstep.formats.inert.torch_files import ZIP, read_torch_file
from koopstep.formats.inert.values import Instance, Storage, TensorRecord

_DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
    "int16": torch.int16,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
}
_SWELLING = 4  # state dicts may name a storage more than once (tied weights), but not without end
_SMALL = 16 << 20


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a file of another program; nothing in it is executed.

    Args:
        path: a `.pth`, `.pt`, `.th` or `.bin` of ``torch.save`` (both formats), a `.npz` or a `.safetensors`. The content
            decides, not the name. A state dict under the key ``state_dict`` is taken out; prefixes of keys stay.

    Returns:
        Name -> tensor on the CPU, in the file's order and dtype. Tensors that shared memory share it here too.

    Raises:
        UsageError: there is no such file, it is too large, it holds something else than tensors, or it asks for a name
            that is not on the list.
        DamagedError: it is broken.
    """
    data = read_limited(path, Limits().file_bytes)
    where = str(path)
    if _is_npz(path, data):
        return {name: _plain(array, name, where) for name, array in arrays_from_bytes(data, where).items()}
    if is_tensor_file(data):
        return tensors_from_bytes(data, where)[0]
    if data[:4] == ZIP or data[:1] == b"\x80":
        value = read_torch_file(memoryview(data), STATE_DICT, Limits(), where)
        return to_tensors(_state_dict(value, where), len(data), where)
    raise UsageError(f"{path} is no file of tensors that is read here (torch.save, .npz or .safetensors)")


def load_tensor(data: bytes, where: str) -> Tensor:
    """The one tensor that a ``torch.save`` wrote; nothing in it is executed.

    Raises:
        UsageError: it holds something else.
        DamagedError: it is broken.
    """
    value = read_torch_file(memoryview(data), STATE_DICT, Limits(), where)
    if not isinstance(value, TensorRecord):
        raise UsageError(f"{where} holds no single tensor")
    return to_tensors({"": value}, len(data), where)[""]


def to_tensors(records: Mapping[str, TensorRecord], file_bytes: int, where: str) -> dict[str, Tensor]:
    """Inert tensor records as tensors; each storage is copied once.

    Raises:
        DamagedError: they stand for far more numbers than the file has, or a truth value is neither 0 nor 1.
    """
    named = {id(record.storage): record.storage.nbytes for record in records.values()}
    if sum(named.values()) > file_bytes or (
        sum(record.nbytes for record in records.values()) > _SWELLING * file_bytes + _SMALL
    ):
        raise DamagedError(f"{where}: its tensors together are larger than the file")
    storages: dict[int, Tensor] = {}
    tensors: dict[str, Tensor] = {}
    for name, record in records.items():
        flat = storages.get(id(record.storage))
        if flat is None:
            flat = storages[id(record.storage)] = _numbers(record.storage, where)
        tensors[name] = flat.as_strided(record.size, record.stride, record.offset)
    return tensors


def _numbers(storage: Storage, where: str) -> Tensor:
    """A storage as a tensor (numel,) with its own memory."""
    dtype = _DTYPES[storage.dtype]
    if storage.data is None or not storage.numel:
        return torch.empty(0, dtype=dtype)
    raw = bytearray(storage.data)
    if dtype == torch.bool and max(raw) > 1:
        raise DamagedError(f"{where}: a truth value that is neither 0 nor 1")
    return torch.frombuffer(raw, dtype=dtype)


def _state_dict(value: Any, where: str) -> dict[str, TensorRecord]:
    if isinstance(value, Instance):
        raise UsageError(f"{where} holds a whole {value.name}, not a state dict; save its state_dict() instead")
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    if not isinstance(value, dict) or not value:
        raise UsageError(f"{where} holds no named tensors")
    if len(value) > Limits().entries:
        raise UsageError(f"{where} holds {len(value)} tensors, at most {Limits().entries} are read")
    for key, record in value.items():
        if not isinstance(key, str) or not isinstance(record, TensorRecord):
            kind = "a group of values" if isinstance(record, dict | list | tuple) else type(record).__name__
            raise UsageError(f"{where}: {key!r} is {kind}, not a tensor; wanted a state dict (name -> tensor)")
    return value


def _is_npz(path: Path, data: bytes) -> bool:
    """Both formats are zip archives; torch's first member is never a `.npy`."""
    if data[:4] != ZIP:
        return False
    name = data[30 : 30 + int.from_bytes(data[26:28], "little")]
    return name.endswith(b".npy") or path.suffix == ".npz"


def _plain(array: npt.NDArray[np.generic], name: str, where: str) -> Tensor:
    """An array as a tensor with its own memory."""
    if str(array.dtype) not in _DTYPES:
        raise UsageError(f"{where}: {name!r} has numbers of type {array.dtype}, which are not read here")
    return torch.from_numpy(np.array(array, order="C"))
