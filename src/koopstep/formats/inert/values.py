"""What a foreign file turns into: plain Python data and the inert records below, nothing that can act."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

STORAGES: dict[str, tuple[str, int]] = {
    "torch.FloatStorage": ("float32", 4),
    "torch.DoubleStorage": ("float64", 8),
    "torch.HalfStorage": ("float16", 2),
    "torch.BFloat16Storage": ("bfloat16", 2),
    "torch.LongStorage": ("int64", 8),
    "torch.IntStorage": ("int32", 4),
    "torch.ShortStorage": ("int16", 2),
    "torch.CharStorage": ("int8", 1),
    "torch.ByteStorage": ("uint8", 1),
    "torch.BoolStorage": ("bool", 1),
}
"""Name of a storage class -> (dtype, bytes of one number)."""

ITEM_BYTES = dict(STORAGES.values())

_LARGEST_EXTENT = 1 << 40  # of one axis or stride, far above any real one and far below an overflow
_MOST_AXES = 16


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name the file asks for, such as ``collections.OrderedDict``: text, never looked up."""

    name: str


@dataclass(slots=True, eq=False)
class Instance:
    """An object the file describes: its class by name, the arguments, the state. It was never made.

    Attributes:
        name: the class, with its module.
        args: what it would have been called with.
        state: what it would have been set to; None until then.
        source_sha256: of the program text that came with it (EDM pickles), empty without one.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    source_sha256: str = ""


@dataclass(slots=True, eq=False)
class Storage:
    """Numbers of one dtype, little-endian; ``data`` has ``numel`` times the item's bytes (None until it was reached)."""

    dtype: str
    numel: int
    data: memoryview | None = None

    @property
    def nbytes(self) -> int:
        """Size of the data in bytes."""
        return self.numel * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True, eq=False)
class TensorRecord:
    """A strided view of a storage that was checked to lie within it."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the numbers in bytes, without gaps."""
        return math.prod(self.size) * ITEM_BYTES[self.storage.dtype]


@dataclass(slots=True, eq=False)
class Scalar:
    """The dtype of one numpy number: its code, such as ``f8``; ``complete`` gets the byte order."""

    code: str

    def complete(self, state: Any) -> None:
        """Check the state that numpy gives its dtypes.

        Raises:
            ValueError: another byte order than little-endian, or fields.
        """
        if not isinstance(state, tuple) or len(state) < 3 or state[1] not in ("<", "|") or state[2] is not None:
            raise ValueError("a number type that is not plain and little-endian")


def tensor_record(storage: Any, offset: Any, size: Any, stride: Any) -> TensorRecord:
    """Check a view and record it.

    Raises:
        ValueError: it is no view of a storage, reaches beyond it, or counts numbers twice.
    """
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride):
        raise ValueError("a tensor whose size and stride do not match")
    if len(size) > _MOST_AXES:
        raise ValueError(f"a tensor of {len(size)} axes, at most {_MOST_AXES} are read")
    for number in (offset, *size, *stride):
        if type(number) is not int or not 0 <= number <= _LARGEST_EXTENT:
            raise ValueError("a tensor whose offset, size or stride is no number from 0 to 2^40")
    numel = math.prod(size)
    last = offset + sum((axis - 1) * step for axis, step in zip(size, stride, strict=True))
    if numel and (last >= storage.numel or numel > storage.numel):
        raise ValueError(f"a tensor of shape {size} that its storage of {storage.numel} numbers does not hold")
    if not numel and offset > storage.numel:
        raise ValueError("an empty tensor outside its storage")
    return TensorRecord(storage, offset, size, stride)
