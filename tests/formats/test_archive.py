"""Zip archives: those of Python's writer are read alike, whatever lies or is cut is refused before it is unpacked."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from koopstep.core.errors import DamagedError, UsageError
from koopstep.formats.archive import PACKING, SMALL, Archive, of_bytes, of_stream

MEMBERS = {"a.txt": b"alpha" * 100, "b/Ä.txt": bytes(5_000), "empty": b""}


def written(method: int = zipfile.ZIP_DEFLATED, before: bytes = b"", comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    buffer.write(before)
    with zipfile.ZipFile(buffer, "a" if before else "w", method) as archive:
        archive.comment = comment
        for name, data in MEMBERS.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def opened(data: bytes) -> Archive:
    return Archive(of_bytes(memoryview(data)), "F", packed=True)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(("before", "comment"), [(b"", b""), (b"#!/bin/sh\n", b""), (b"", b"PK? " * 2_000)])
def test_members_come_back(tmp_path: Path, method: int, before: bytes, comment: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(written(method, before, comment))
    with path.open("rb") as stream:
        for archive in (opened(path.read_bytes()), Archive(of_stream(stream), "F", packed=True)):
            assert {name: bytes(archive.read(name)) for name in archive.names} == MEMBERS
            assert [archive.size(name) for name in archive.names] == [len(data) for data in MEMBERS.values()]


def test_large_archives_and_streamed_ones(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    streamed = Pipe()
    with zipfile.ZipFile(streamed, "w", zipfile.ZIP_DEFLATED) as archive:  # sizes follow the data
        with archive.open("wide", "w", force_zip64=True) as member:
            member.write(b"x" * 1_000)
        archive.writestr("plain", b"y")
    found = opened(streamed.getvalue())
    assert (bytes(found.read("wide")), bytes(found.read("plain"))) == (b"x" * 1_000, b"y")


def test_what_is_not_read() -> None:
    with pytest.raises(UsageError, match=r"compressed \(method 12\)"):
        opened(written(zipfile.ZIP_BZIP2))
    with pytest.raises(UsageError, match="torch's own files never are"):
        Archive(of_bytes(memoryview(written())), "F")
    with pytest.raises(UsageError, match="at most 2 are read"):
        Archive(of_bytes(memoryview(written())), "F", packed=True, most_members=2)
    with pytest.raises(DamagedError, match="no 'c' in it"):
        opened(written()).read("c")


def test_sizes_that_lie() -> None:
    data = written()
    place = data.rindex(b"PK\x01\x02", 0, data.rindex(b"b/"))
    announced = SMALL + PACKING * len(data) + 1
    swollen = data[: place + 24] + struct.pack("<I", announced) + data[place + 28 :]
    with pytest.raises(DamagedError, match=f"unpack to {announced + 500} bytes"):
        opened(swollen)
    for size in (4_999, 5_001):
        changed = opened(data[: place + 24] + struct.pack("<I", size) + data[place + 28 :])
        with pytest.raises(DamagedError, match="checksum"):
            changed.read("b/Ä.txt")


def test_members_share_no_byte() -> None:
    data = written(zipfile.ZIP_STORED)
    place = data.rindex(b"PK\x01\x02", 0, data.rindex(b"b/"))
    with pytest.raises(DamagedError, match="overlap"):
        opened(data[: place + 42] + struct.pack("<I", 0) + data[place + 46 :])
    longer = data[:28] + struct.pack("<H", 600) + data[30:]  # the first member's own head announces 600 bytes more
    with pytest.raises(DamagedError, match="reaches into what follows"):
        opened(longer).read("a.txt")


def test_every_cut_is_refused() -> None:
    data = written()
    for end in range(0, len(data), 7):
        with pytest.raises((DamagedError, UsageError), match=r"^F"):
            opened(data[:end])
