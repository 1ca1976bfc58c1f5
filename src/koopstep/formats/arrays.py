"""Reading strangers' `.npy`, `.npz` and IDX files: sizes are checked before memory is taken; no pickles."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import tokenize
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_limited
from koopstep.formats.archive import Archive, of_bytes

_LARGEST_FILE = 4 << 30  # bytes
_LARGEST_IDX = 1 << 28
# What numpy's own reader of a header raises: it parses a Python literal.
_NO_HEADER = (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError, OverflowError)

Arrays = dict[str, npt.NDArray[np.generic]]


def map_npy(path: Path, *, bytes_too: bool = False) -> npt.NDArray[Any]:
    """A read-only map of a `.npy` file of floats, or of bytes (uint8) where ``bytes_too``.

    Raises:
        UsageError: it holds something else (object arrays among it).
        DamagedError: it is no `.npy` file, or is cut off.
    """
    try:
        with path.open("rb") as stream:
            shape, fortran, dtype = _header(stream, str(path))
            start, size = stream.tell(), math.prod(shape) * dtype.itemsize
        if start + size != path.stat().st_size:
            raise DamagedError(f"{path} is damaged or is no .npy file: {size} bytes of numbers are not there")
        if dtype.kind != "f" and not (bytes_too and dtype == np.uint8):
            wanted = "float32 or float64 numbers, or bytes (uint8)" if bytes_too else "float32 or float64 numbers"
            raise UsageError(f"{path}: expected {wanted}, got {dtype}")
        if size == 0:
            return np.zeros(shape, dtype)
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    except (ValueError, OverflowError, MemoryError) as error:  # a shape that no array can have
        raise DamagedError(f"{path} is damaged or is no .npy file") from error


def read_npz(path: Path) -> tuple[Arrays, str]:
    """All arrays of a `.npz` file by name, and the file's SHA-256.

    Raises:
        UsageError: it cannot be read, or an array holds objects.
        DamagedError: it is no `.npz` file, is cut off, or would unpack to far more than its size.
    """
    data = read_limited(path, _LARGEST_FILE)
    return arrays_from_bytes(data, str(path)), hashlib.sha256(data).hexdigest()


def arrays_from_bytes(data: bytes, where: str) -> Arrays:
    """The arrays of a `.npz` file held in memory, read-only; members that are no `.npy` are passed over.

    Raises:
        UsageError: an array holds objects.
        DamagedError: it is no `.npz` file, is cut off, or would unpack to far more than its size.
    """
    archive = Archive(of_bytes(memoryview(data)), where, kind=".npz file", packed=True)
    members = [name for name in archive.names if name.endswith(".npy")]
    return {name[:-4]: _array(archive.read(name), f"{where} ({name})") for name in members}


def npz_bytes(arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """The content of a `.npz` file; equal arrays give equal bytes."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _array(content: memoryview, where: str) -> npt.NDArray[np.generic]:
    stream = io.BytesIO(content[: 1 << 17])  # a header is far shorter
    shape, fortran, dtype = _header(stream, where)
    numbers, size = content[stream.tell() :], math.prod(shape) * dtype.itemsize
    if len(numbers) != size:
        raise DamagedError(f"{where} holds {len(numbers)} bytes of numbers instead of {size}")
    try:
        return np.frombuffer(numbers, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    except (ValueError, OverflowError, MemoryError) as error:  # a shape or type that no array can have
        raise DamagedError(f"{where} is damaged or is no .npy file") from error


def _header(stream: BinaryIO, where: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, order and type from the head of a `.npy` file.

    Raises:
        UsageError: it holds objects.
        DamagedError: it is no `.npy` file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # headers of Python 2 are read as well
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, dtype = read(stream)
    except (*_NO_HEADER, KeyError) as error:
        raise DamagedError(f"{where} is damaged or is no .npy file") from error
    if dtype.hasobject:
        raise UsageError(f"{where} holds Python objects (a pickle), which can run code; save plain float arrays")
    if min(shape, default=0) < 0:
        raise DamagedError(f"{where} is damaged or is no .npy file: a negative shape")
    return shape, fortran, dtype


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """One IDX file of bytes, gzipped or not: two zeros, type 8, number of dimensions, their sizes (big-endian), numbers.

    Raises:
        UsageError: it is something else, or cannot be read.
        DamagedError: it is cut off.
    """
    length = 4 + 4 * dimensions
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            head = stream.read(length)
            if head[:4] != bytes((0, 0, 8, dimensions)) or len(head) < length:
                raise UsageError(f"{path} is no IDX file of bytes with {dimensions} dimensions")
            sizes = tuple(int(n) for n in np.frombuffer(head, ">u4", dimensions, 4))
            size = math.prod(sizes)
            if size > _LARGEST_IDX:
                raise UsageError(f"{path} announces {size} bytes, at most {_LARGEST_IDX} are read")
            numbers = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedError(f"{path} cannot be unpacked ({error})") from error
    if len(numbers) != size:
        raise DamagedError(f"{path} is cut off or too long: {len(numbers)} bytes of numbers for sizes {sizes}")
    return np.frombuffer(numbers, np.uint8).reshape(sizes)
