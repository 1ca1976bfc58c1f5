"""Every reader of foreign bytes, given good files with changes in them: they are read, or refused by an error of ours."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from koopstep.core.errors import KoopstepError
from koopstep.core.tensors import load_tensors, save_tensors
from koopstep.data.importers import import_source
from koopstep.formats import images
from koopstep.formats.arrays import map_npy, read_idx, read_npz
from koopstep.formats.pictures import read_picture
from koopstep.formats.tarballs import read_members
from koopstep.formats.torch_files import load_state_dict
from koopstep.teachers.files import TeacherHeader, read_teacher_file, save_teacher
from koopstep.teachers.table import TEACHERS

COUNT = 25
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
WORDS = (
    b"\xff" * 8,
    b"\0" * 8,
    b"9" * 12,
    b"-1",
    b"(" * 40,
    b"[" * 40,
    b"1e999",
    b"PK\x01\x02",
    b"\x80\x04",
    b"|O",
    b"\n",
)


def bytes_of(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def picture(form: str) -> bytes:
    return bytes_of(lambda stream: Image.fromarray(PIXELS[0]).save(stream, format=form))


def pictures(stream: io.BytesIO) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(3):
            archive.writestr(f"{index}.png", picture("PNG"))
        archive.writestr("dataset.json", json.dumps({"labels": [[f"{index}.png", index] for index in range(3)]}))


def tarball(stream: io.BytesIO) -> None:
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        info = tarfile.TarInfo("batches/test_batch.bin")
        info.size = 3_073
        archive.addfile(info, io.BytesIO(bytes(3_073)))


def teacher(stream: io.BytesIO, folder: Path) -> None:
    header = {"config": {"kind": "edm", "shape": [2], "network": {"kind": "mlp", "width": 4, "depth": 2}}, "name": "t"}
    parsed = TeacherHeader.parse(header, "t")
    save_teacher(folder / "seed.safetensors", parsed, TEACHERS["edm"].build(parsed.config))
    stream.write((folder / "seed.safetensors").read_bytes())


def tensors(stream: io.BytesIO, folder: Path) -> None:
    save_tensors(folder / "seed.safetensors", {"a": torch.ones(3), "b": torch.arange(4)}, {"note": "x"})
    stream.write((folder / "seed.safetensors").read_bytes())


def idx(stream: io.BytesIO) -> None:
    stream.write(b"\0\0\x08\x03" + np.array([6, 8, 8], ">u4").tobytes() + PIXELS[..., 0].tobytes())


def imported(path: Path) -> None:
    import_source(path, path.parent / "store")


Write = Callable[[io.BytesIO, Path], Any]
READERS: dict[str, tuple[str, Write, Callable[[Path], Any]]] = {
    "npy": ("a.npy", lambda s, _: np.save(s, RNG.normal(size=(2, 4, 3)).astype(np.float32)), map_npy),
    "npy to import": ("a.npy", lambda s, _: np.save(s, RNG.normal(size=(2, 40, 3)).astype(np.float32)), imported),
    "npz": ("a.npz", lambda s, _: np.savez(s, images=PIXELS, labels=np.arange(6)), read_npz),
    "packed npz": ("a.npz", lambda s, _: np.savez_compressed(s, images=PIXELS, labels=np.arange(6)), images.load),
    "npz of weights": ("a.npz", lambda s, _: np.savez(s, a=np.ones(3), b=np.float32(2)), load_state_dict),
    "pth": ("a.pth", lambda s, _: torch.save({"a": torch.ones(3)}, s), load_state_dict),
    "safetensors": ("a.safetensors", tensors, load_tensors),
    "teacher": ("a.safetensors", teacher, read_teacher_file),
    "png": ("a.png", lambda s, _: s.write(picture("PNG")), read_picture),
    "jpeg": ("a.jpg", lambda s, _: s.write(picture("JPEG")), read_picture),
    "folder of images": ("a.png", lambda s, _: s.write(picture("PNG")), lambda path: images.load(path.parent)),
    "zip of images": ("a.zip", lambda s, _: pictures(s), images.load),
    "idx": ("a", lambda s, _: idx(s), lambda path: read_idx(path, 3)),
    "packed idx": ("a.gz", lambda s, _: s.write(gzip.compress(bytes_of(idx))), lambda path: read_idx(path, 3)),
    "tar": ("a.tar.gz", lambda s, _: tarball(s), lambda path: read_members(path, ["test_batch.bin"])),
}


def changed(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes: a cut, a flipped bit, a byte, a piece taken out or doubled, a hostile word."""
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(0, max(1, len(data) if rng.random() < 0.4 else min(len(data), 160))))
        length = int(rng.integers(1, 24))
        match int(rng.integers(6)):
            case 0:
                data = data[:place]
            case 1:
                data = (
                    data[:place]
                    + bytes([data[place] ^ (1 << int(rng.integers(8)))] if data else [])
                    + data[place + 1 :]
                )
            case 2:
                data = data[:place] + bytes([int(rng.integers(256))]) + data[place + 1 :]
            case 3:
                data = data[:place] + data[place + length :]
            case 4:
                data = data[:place] + data[place : place + length] + data[place:]
            case _:
                word = WORDS[int(rng.integers(len(WORDS)))]
                data = data[:place] + word + data[place + len(word) * int(rng.integers(2)) :]
    return data


def mutate(name: str, folder: Path, count: int) -> int:
    """Reads so many changed files; how many were refused."""
    file, write, read = READERS[name]
    good = bytes_of(lambda stream: write(stream, folder))
    rng, refused = np.random.default_rng([len(name), *name.encode()]), 0
    for index in range(count):
        place = folder / str(index)
        place.mkdir()
        data = changed(good, rng)
        (place / file).write_bytes(data)
        try:
            read(place / file)
        except KoopstepError as error:
            refused += 1
            assert "\n" not in str(error)
        except Exception as error:
            raise AssertionError(f"{name}, change {index}: {data[:200]!r}") from error
    return refused


@pytest.mark.parametrize("name", READERS)
def test_changed_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    file, write, read = READERS[name]
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / file).write_bytes(bytes_of(lambda stream: write(stream, tmp_path)))
    read(tmp_path / "good" / file)
    assert mutate(name, tmp_path, COUNT) > COUNT // 4


HEADS = (
    b"{'descr': (",  # the tokens end too early
    b"  {'descr': '<f4'}\n   {",  # an indentation nobody expects
    b"(" * 9_000,  # too many brackets for the parser
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 1: 2}",  # keys that cannot be sorted
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (9" + b"9" * 400 + b",)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1, " * 100 + b")}",
    b"{'descr': '<U0', 'fortran_order': False, 'shape': (3,)}",
    b"{'descr': [('a', '<f4', (9999999999,))], 'fortran_order': False, 'shape': (3,)}",
    b"{'descr': {}, 'fortran_order': False, 'shape': (3,)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775807, 9223372036854775807)}",
    b"\xff\xfe",
    b"",
)


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_heads_that_are_none(head: bytes, tmp_path: Path) -> None:
    data = b"\x93NUMPY\x01\0" + len(head).to_bytes(2, "little") + head
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", data)
    for read, name in ((map_npy, "a.npy"), (read_npz, "a.npz"), (load_state_dict, "a.npz"), (images.load, "a.npz")):
        with pytest.raises(KoopstepError, match=name):
            read(tmp_path / name)


if __name__ == "__main__":  # python tests/formats/test_mutations.py 2000
    import tempfile

    for reader in READERS:
        with tempfile.TemporaryDirectory() as scratch:
            print(reader, mutate(reader, Path(scratch), int(sys.argv[1])))
