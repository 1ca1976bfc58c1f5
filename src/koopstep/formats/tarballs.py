"""Named members of a gzipped tar archive, unpacked within bounds."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from koopstep.core.errors import DamagedError

_LARGEST = 1 << 28  # bytes of the whole archive when unpacked


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
