"""Members of a zip archive: what it says of their sizes is compared with the file before anything is unpacked."""

from __future__ import annotations

import itertools
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from koopstep.core.errors import DamagedError, UsageError

_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"
_ENTRY = b"PK\x01\x02"
_LOCAL = b"PK\x03\x04"
_LONGEST_NAME = 1024
_LONGEST_COMMENT = 65_535
_FULL = 0xFFFFFFFF
_ENCRYPTED, _UTF_8 = 1, 1 << 11
_STORED, _DEFLATED = 0, 8
PACKING = 32
"""An archive may unpack to this many times its size (weights: 1.1, bytes of pictures in an array: 2 to 10, zeros: 1000) ..."""
SMALL = 64 << 20
"""... and to so many bytes more."""

Piece = Callable[[int, int], memoryview]
"""(start, stop) -> these bytes of a file; fewer where it ends."""


def of_bytes(data: memoryview) -> tuple[Piece, int]:
    """A file held in memory, and its size; its pieces are not copied."""
    return (lambda start, stop: data[start:stop]), len(data)


def of_stream(stream: BinaryIO) -> tuple[Piece, int]:
    """An open file, and its size."""

    def piece(start: int, stop: int) -> memoryview:
        stream.seek(start)
        return memoryview(stream.read(max(stop - start, 0)))

    return piece, os.fstat(stream.fileno()).st_size


@dataclass
class _Member:
    local: int  # where its own head begins
    name_bytes: int
    packed: int
    size: int
    crc: int
    method: int
    end: int = 0  # where the next member, or the directory, begins


class Archive:
    """The members of an archive by name; each is checked (CRC-32) when it is read.

    No two members share a byte, and together they unpack to no more than :data:`PACKING` times the file and
    :data:`SMALL`, so a small file cannot stand for a large one.

    Args:
        source: the file, of :func:`of_bytes` or :func:`of_stream`.
        where: what messages call it.
        kind: what it should be, for messages.
        packed: whether members may be compressed (deflate); torch's own never are.
        most_members: how many there may be.

    Raises:
        DamagedError: it is no zip archive, its directory is broken, or it would unpack to too much.
        UsageError: a member is encrypted or packed in a way that is not read, or there are too many.
    """

    def __init__(
        self,
        source: tuple[Piece, int],
        where: str,
        *,
        kind: str = "zip archive",
        packed: bool = False,
        most_members: int = 40_000,
    ) -> None:
        self._piece, self._size = source
        self._where, self._kind, self._packed, self._most_members = where, kind, packed, most_members
        try:
            self._members = self._directory()
        except (struct.error, UnicodeDecodeError) as error:
            raise self._damaged("its directory is broken") from error

    @property
    def names(self) -> list[str]:
        """All names, in the directory's order."""
        return list(self._members)

    def size(self, name: str) -> int:
        """Bytes of a member when unpacked."""
        return self._members[name].size

    def read(self, name: str) -> memoryview:
        """A member's bytes; of a file in memory not copied where they are stored as they are.

        Raises:
            DamagedError: there is none of that name, or it is not what was written.
        """
        member = self._members.get(name)
        if member is None:
            raise self._damaged(f"there is no {name!r} in it")
        start = self._content(member, name)
        content = self._piece(start, start + member.packed)
        if member.method == _DEFLATED:
            content = self._unpacked(content, member.size, name)
        if len(content) != member.size or zlib.crc32(content) != member.crc:
            raise self._damaged(f"the checksum of {name!r} is not the one in its directory")
        return content

    def _unpacked(self, content: memoryview, size: int, name: str) -> memoryview:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            return memoryview(unpacker.decompress(content, size + 1))
        except zlib.error as error:
            raise self._damaged(f"{name!r} cannot be unpacked") from error

    def _damaged(self, reason: str) -> DamagedError:
        return DamagedError(f"{self._where} is damaged or is no {self._kind}: {reason}")

    def _directory(self) -> dict[str, _Member]:
        start, size, count, shift = self._end()
        if count > self._most_members:
            raise UsageError(f"{self._where}: an archive of {count} members, at most {self._most_members} are read")
        directory, position = bytes(self._piece(start, start + size)), 0
        members: dict[str, _Member] = {}
        for _ in range(count):
            name, member, position = self._entry(directory, position)
            if name in members:
                raise self._damaged(f"two members of the name {name!r}")
            member.local += shift
            members[name] = member
        self._check_apart(list(members.values()), start)
        total = sum(member.size for member in members.values())
        if total > PACKING * self._size + SMALL:
            raise self._damaged(
                f"it would unpack to {total} bytes, more than {PACKING} times its own; nothing was unpacked"
            )
        return members

    def _check_apart(self, members: Sequence[_Member], directory: int) -> None:
        """No byte belongs to two members, and each knows where the next one begins."""
        ordered = sorted(members, key=lambda member: member.local)
        for first, second in itertools.pairwise(ordered):
            first.end = second.local
        if ordered:
            ordered[-1].end = directory
        if any(member.local + 30 + member.name_bytes + member.packed > member.end for member in ordered):
            raise self._damaged("its members overlap or reach beyond its end")

    def _end(self) -> tuple[int, int, int, int]:
        """Where the directory starts, its bytes, its entries, and how many bytes stand before the archive."""
        first = max(0, self._size - 22 - _LONGEST_COMMENT)
        tail = bytes(self._piece(first, self._size))
        found = tail.rfind(_END)
        if found < 0 or len(tail) - found < 22:
            raise self._damaged("the end of its directory is not there")
        count, size, start = struct.unpack("<10xHII", tail[found : found + 20])
        at = first + found
        if bytes(self._piece(max(0, at - 20), at))[:4] == _LOCATOR_64:
            at -= 20 + 56
            record = bytes(self._piece(max(0, at), at + 56))
            if record[:4] != _END_64:
                raise self._damaged("the second end of its directory is broken")
            count, size, start = struct.unpack("<32xQQQ", record)
        if at - size < start:
            raise self._damaged("its directory lies outside the file")
        return at - size, size, count, at - size - start

    def _entry(self, directory: bytes, position: int) -> tuple[str, _Member, int]:
        head = directory[position : position + 46]
        if head[:4] != _ENTRY:
            raise self._damaged(f"no entry at byte {position} of its directory")
        flags, method, crc, packed, size, name_length, extra_length, note_length, local = struct.unpack(
            "<8xHH4xIIIHHH8xI", head
        )
        following = position + 46 + name_length + extra_length + note_length
        if name_length > _LONGEST_NAME or following > len(directory):
            raise self._damaged(f"a broken entry at byte {position} of its directory")
        name = directory[position + 46 : position + 46 + name_length].decode(
            "utf-8" if flags & _UTF_8 or not self._packed else "cp437"
        )
        extra = directory[position + 46 + name_length : following - note_length]
        size, packed, local = _sizes_64(extra, size, packed, local)
        if flags & _ENCRYPTED or method not in ((_STORED, _DEFLATED) if self._packed else (_STORED,)):
            known = "stored or deflated members are read" if self._packed else "torch's own files never are"
            raise UsageError(f"{self._where}: {name!r} is compressed (method {method}) or encrypted; {known}")
        if method == _STORED and packed != size:
            raise self._damaged(f"{name!r} is stored as it is, in another number of bytes")
        return name, _Member(local, name_length, packed, size, crc, method), following

    def _content(self, member: _Member, name: str) -> int:
        head = bytes(self._piece(member.local, member.local + 30))
        if head[:4] != _LOCAL or len(head) < 30:
            raise self._damaged(f"{name!r} is not where its directory says")
        name_length, extra_length = struct.unpack("<26xHH", head)
        start = member.local + 30 + int(name_length) + int(extra_length)
        if start + member.packed > member.end:
            raise self._damaged(f"{name!r} reaches into what follows it")
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
