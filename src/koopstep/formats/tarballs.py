"""Members of tar archives, read within bounds."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from koopstep.core.errors import DamagedError, UsageError

_LARGEST = 1 << 28  # bytes of the whole archive when unpacked
_LARGEST_MEMBER = 1 << 28


def read_members(path: Path, names: Sequence[str]) -> list[bytes]:
    """The regular files of these names, in whatever folder of the archive they lie.

    Raises:
        DamagedError: it is no such archive, is cut off, lacks one of them, or unpacks to more than 256 MiB.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            while len(found) < len(names) and (info := archive.next()) is not None:
                if info.offset_data + info.size > _LARGEST:
                    raise DamagedError(f"{path} unpacks to more than {_LARGEST} bytes")
                name = PurePosixPath(info.name).name
                stream = archive.extractfile(info) if info.isreg() and name in names else None
                if stream is not None:
                    found[name] = stream.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError) as error:
        raise DamagedError(f"{path} is cut off or is no gzipped tar archive ({error})") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise DamagedError(f"{path} holds no {missing[0]}")
    return [found[name] for name in names]


def read_samples(path: Path, suffixes: Sequence[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of a WebDataset tar, in its order: key -> suffix -> content, of the members ``KEY.SUFFIX`` of these suffixes.

    The key is a member's path up to the first dot of its name; members of a key lie side by side. Packed tars are not read.

    Raises:
        UsageError: a member is far larger than a sample.
        DamagedError: it is no such archive, or is cut off.
    """
    key, members = "", dict[str, bytes]()
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                place = PurePosixPath(info.name)
                name, _, suffix = place.name.partition(".")
                if not info.isreg() or info.issparse() or not name or not suffix:
                    continue
                if key != str(place.parent / name):
                    if members:
                        yield key, members
                    key, members = str(place.parent / name), {}
                if info.size > _LARGEST_MEMBER:
                    raise UsageError(
                        f"{path}: {info.name!r} has {info.size} bytes; no sample that is read here is that large"
                    )
                stream = archive.extractfile(info) if suffix in suffixes else None
                if stream is not None:
                    members[suffix] = stream.read()
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise DamagedError(f"{path} is cut off or is no tar archive ({error})") from error
    if members:
        yield key, members
