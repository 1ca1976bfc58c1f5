"""Tensors on disk: safetensors files with deterministic bytes, written atomically and checked by SHA-256."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_bytes, sha256_bytes, write_atomic

_LONGEST_HEADER = 8 << 20  # bytes; the header is text that takes far more memory when it is read
_MOST_TENSORS = 20_000


def tensors_to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file as bytes: equal tensors and metadata give equal bytes.

    The safetensors library keeps metadata in a hash map whose order changes from run to run; the header is
    therefore written again with sorted metadata.
    """
    plain = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    raw = safetensors.torch.save(plain)
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    if metadata:
        header = {"__metadata__": dict(sorted(metadata.items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + raw[8 + length :]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Write tensors (any dtype safetensors knows, any device) atomically as a safetensors file.

    Returns:
        The SHA-256 of the file.

    Raises:
        StorageError: it cannot be written.
    """
    data = tensors_to_bytes(tensors, metadata)
    write_atomic(path, data)
    return sha256_bytes(data)


def load_tensors(path: Path, sha256: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file; the bytes that were hashed are the bytes that are used.

    Args:
        path: the file.
        sha256: the digest it must have; None checks the format only.

    Returns:
        The tensors on the CPU, and the metadata.

    Raises:
        UsageError: there is no such file.
        DamagedError: the digest differs, or the file is no safetensors file.
    """
    data = read_bytes(path)
    if sha256 is not None and sha256_bytes(data) != sha256:
        raise DamagedError(f"{path} is damaged: its SHA-256 is not the one recorded when it was written")
    return tensors_from_bytes(data, str(path))


def is_tensor_file(head: bytes) -> bool:
    """Whether a file that begins with these bytes, 9 at least, is a safetensors file.

    After the 8 bytes of a length, which may be any, comes the brace of a JSON object; neither a pickle of torch's (its
    magic number or the high byte of a frame's length stand there) nor a zip archive (a method of packing) has one.
    """
    return head[8:9] == b"{"


def tensors_from_bytes(data: bytes, where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata of a safetensors file held in memory; `where` names it in errors.

    Raises:
        DamagedError: it is no safetensors file, or has a longer header or more tensors than any real one.
    """
    length = int.from_bytes(data[:8], "little")
    if is_tensor_file(data) and (length > _LONGEST_HEADER or data.count(b'"dtype"', 8, 8 + length) > _MOST_TENSORS):
        raise DamagedError(
            f"{where}: a header of {length} bytes or more than {_MOST_TENSORS} tensors; no real file has"
        )
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DamagedError(f"{where} is damaged or is no safetensors file") from error
    return {name: torch.as_tensor(tensors[name]) for name in sorted(tensors)}, dict(metadata)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; its tensors are neither read nor checked.

    Raises:
        UsageError: there is no such file, or it may not be read.
        DamagedError: it is no safetensors file, or has a longer header than any real one.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            text = stream.read(min(length, _LONGEST_HEADER))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    try:
        return dict(json.loads(text).get("__metadata__", {}))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged or is no safetensors file") from error


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and values of tensors, whatever file they are in."""
    return sha256_bytes(tensors_to_bytes(tensors))


def fill_weights(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put tensors from a file into a model, each in the model's own type.

    Raises:
        DamagedError: names or shapes are not the model's, whole numbers stand where weights belong (or the other way
            round), or there is NaN or infinity.
    """
    own = model.state_dict()
    for name, tensor in tensors.items():
        if name in own and tensor.is_floating_point() != own[name].is_floating_point():
            raise DamagedError(f"{where}: {name!r} holds {tensor.dtype}, which is no type of its values")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DamagedError(f"{where}: the weights hold NaN or infinity in {name!r}")
    try:
        model.load_state_dict({name: t.to(own[name].dtype if name in own else t.dtype) for name, t in tensors.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise DamagedError(f"{where}: the weights do not fit its network: {reason}") from error
    broken = [name for name, value in model.state_dict().items() if not bool(torch.isfinite(value).all())]
    if broken:  # finite in float64, but not in the model's type
        raise DamagedError(f"{where}: the weights hold NaN or infinity in {broken[0]!r}")
