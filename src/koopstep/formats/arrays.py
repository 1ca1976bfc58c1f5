"""Reading strangers' `.npy` and `.npz` files: sizes are checked before memory is taken; no pickles."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import read_bytes

_LARGEST_MEMBER = 1 << 30  # bytes of one array in a .npz pair, against archives that unpack to terabytes


def map_npy(path: Path) -> npt.NDArray[np.floating]:
    """A read-only map of a `.npy` file of floats.

    Raises:
        UsageError: it holds something else than floats (object arrays among it).
        DamagedError: it is no `.npy` file, or is cut off.
    """
    try:
        with path.open("rb") as stream:
            shape, fortran, dtype = _header(stream, str(path))
            start, size = stream.tell(), math.prod(shape) * dtype.itemsize
        if start + size != path.stat().st_size:
            raise ValueError(f"{size} bytes of numbers expected")
        if dtype.kind != "f":
            raise UsageError(f"{path}: expected float32 or float64 numbers, got {dtype}")
        if size == 0:
            return np.zeros(shape, dtype)
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise DamagedError(f"{path} is damaged or is no .npy file") from error


def read_npz(path: Path) -> tuple[dict[str, npt.NDArray[np.generic]], str]:
    """All arrays of a small `.npz` file by name, and the file's SHA-256.

    Raises:
        UsageError: it cannot be read, or an array holds objects.
        DamagedError: it is no `.npz` file, is cut off, or unpacks to more than it says.
    """
    data = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            arrays = {info.filename[:-4]: _read_member(archive, info, path) for info in members}
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, NotImplementedError, RuntimeError) as error:
        raise DamagedError(f"{path} is damaged or is no .npz file") from error
    return arrays, hashlib.sha256(data).hexdigest()


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> npt.NDArray[np.generic]:
    where = f"{path} ({info.filename})"
    if info.file_size > _LARGEST_MEMBER:
        raise DamagedError(f"{where} unpacks to {info.file_size} bytes; one pair cannot be that large")
    with archive.open(info) as packed:
        stream = io.BytesIO(packed.read(info.file_size))
    shape, fortran, dtype = _header(stream, where)
    size = math.prod(shape) * dtype.itemsize
    content = stream.read()
    if len(content) != size:
        raise DamagedError(f"{where} holds {len(content)} bytes of numbers instead of {size}")
    return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def _header(stream: BinaryIO, where: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, order and type from the head of a `.npy` file.

    Raises:
        UsageError: it holds objects.
        ValueError: it is no `.npy` file.
    """
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the .npy format")
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise UsageError(f"{where} holds Python objects (a pickle), which can run code; save plain float arrays")
    if min(shape, default=0) < 0:
        raise ValueError("negative shape")
    return shape, fortran, dtype
