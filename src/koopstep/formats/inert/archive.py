"""Members of an uncompressed zip archive, as torch writes them; nothing is unpacked, so nothing can swell."""

from __future__ import annotations

import itertools
import struct
import zlib
from dataclasses import dataclass

from koopstep.core.errors import DamagedError, UsageError

_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"
_ENTRY = b"PK\x01\x02"
_LOCAL = b"PK\x03\x04"
_MOST_MEMBERS = 40_000
_LONGEST_NAME = 512
_FULL = 0xFFFFFFFF


@dataclass(frozen=True)
class _Member:
    start: int
    size: int
    crc: int


class StoredArchive:
    """The members of an archive by name; each is checked (CRC-32) when it is read.

    Args:
        data: the whole file.
        where: what messages call it.

    Raises:
        DamagedError: it is no zip archive, or its directory is broken.
        UsageError: a member is compressed or encrypted, or there are too many.
    """

    def __init__(self, data: memoryview, where: str) -> None:
        self._data, self._where = data, where
        try:
            self._members = self._directory()
        except (struct.error, UnicodeDecodeError) as error:
            raise DamagedError(f"{where}: the zip archive's directory is broken") from error

    @property
    def names(self) -> list[str]:
        """All names, in the directory's order."""
        return list(self._members)

    def read(self, name: str) -> memoryview:
        """A member's bytes, not copied.

        Raises:
            DamagedError: there is none of that name, or it is not what was written.
        """
        member = self._members.get(name)
        if member is None:
            raise DamagedError(f"{self._where}: no {name!r} in the archive")
        piece = self._data[member.start : member.start + member.size]
        if zlib.crc32(piece) != member.crc:
            raise DamagedError(f"{self._where}: {name!r} is damaged: its checksum differs from the one in the archive")
        return piece

    def _directory(self) -> dict[str, _Member]:
        position, size, count = self._end()
        if count > _MOST_MEMBERS:
            raise UsageError(f"{self._where}: an archive of {count} members, at most {_MOST_MEMBERS} are read")
        end = position + size
        if end > len(self._data):
            raise DamagedError(f"{self._where}: the zip archive's directory lies outside the file")
        members: dict[str, _Member] = {}
        for _ in range(count):
            name, member, position = self._entry(position, end)
            if name in members:
                raise DamagedError(f"{self._where}: two members of the name {name!r}")
            members[name] = member
        self._check_apart(list(members.values()))
        return members

    def _check_apart(self, members: list[_Member]) -> None:
        """No byte belongs to two members: a small file cannot stand for a large one."""
        ordered = sorted(members, key=lambda member: (member.start, member.size))
        for first, second in itertools.pairwise(ordered):
            if first.start + first.size > second.start:
                raise DamagedError(f"{self._where}: members of the archive overlap")

    def _end(self) -> tuple[int, int, int]:
        """Where the directory starts, its bytes and its entries."""
        tail = bytes(self._data[-(22 + 256) :])
        found = tail.rfind(_END)
        if found < 0 or len(tail) - found < 22:
            raise DamagedError(f"{self._where}: a zip archive that is cut off (no end of its directory)")
        count, size, start = struct.unpack("<10xHII", tail[found : found + 20])
        at = len(self._data) - len(tail) + found
        locator = bytes(self._data[at - 20 : at]) if at >= 20 else b""
        if locator[:4] == _LOCATOR_64:
            at = struct.unpack("<8xQ4x", locator)[0]
            record = bytes(self._data[at : at + 56])
            if record[:4] != _END_64:
                raise DamagedError(f"{self._where}: a zip archive whose second directory end is broken")
            count, size, start = struct.unpack("<32xQQQ", record)
        return start, size, count

    def _entry(self, position: int, end: int) -> tuple[str, _Member, int]:
        head = bytes(self._data[position : position + 46])
        if head[:4] != _ENTRY:
            raise DamagedError(f"{self._where}: byte {position}: no entry of the zip archive's directory")
        flags, method, crc, packed, size, name_length, extra_length, note_length, local = struct.unpack(
            "<8xHH4xIIIHHH8xI", head
        )
        following = position + 46 + name_length + extra_length + note_length
        if name_length > _LONGEST_NAME or following > end:
            raise DamagedError(f"{self._where}: byte {position}: a broken entry of the zip archive's directory")
        name = str(self._data[position + 46 : position + 46 + name_length], "utf-8")
        extra = bytes(self._data[position + 46 + name_length : following - note_length])
        size, packed, local = _sizes_64(extra, size, packed, local)
        if method != 0 or flags & 1 or packed != size:
            raise UsageError(f"{self._where}: {name!r} is compressed or encrypted, which torch's own files never are")
        return name, _Member(self._content(local, size, name), size, crc), following

    def _content(self, local: int, size: int, name: str) -> int:
        head = bytes(self._data[local : local + 30])
        if head[:4] != _LOCAL:
            raise DamagedError(f"{self._where}: {name!r} is not where the archive's directory says")
        name_length, extra_length = struct.unpack("<26xHH", head)
        start = local + 30 + int(name_length) + int(extra_length)
        if start + size > len(self._data):
            raise DamagedError(f"{self._where}: {name!r} reaches beyond the end of the file")
        return start


def _sizes_64(extra: bytes, size: int, packed: int, local: int) -> tuple[int, int, int]:
    """The three numbers, each from the zip64 field where it did not fit."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack("<HH", extra[position : position + 4])
        if kind == 1:
            field = extra[position + 4 : position + 4 + length]
            wide = [struct.unpack("<Q", field[i : i + 8])[0] for i in range(0, len(field) - 7, 8)]
            numbers = [wide.pop(0) if number == _FULL and wide else number for number in (size, packed, local)]
            return numbers[0], numbers[1], numbers[2]
        position += 4 + length
    return size, packed, local
