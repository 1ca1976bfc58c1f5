"""What files that mean harm cost: each is built, given to the reader it is meant for, and must be refused.

    python benchmarks/hostile_inputs.py            # a table: seconds and memory above the imports
    python benchmarks/hostile_inputs.py --json     # the same for programs

Each file is read in a process of its own (forked after the imports), whose peak memory is counted. Linux only.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "formats"))
import hostile_pickles as pickles

from koopstep.core.errors import KoopstepError
from koopstep.core.tensors import save_tensors
from koopstep.data.importers import import_source
from koopstep.editing.masks import read_mask, read_picture
from koopstep.formats import images
from koopstep.formats.arrays import read_npz
from koopstep.formats.torch_files import load_state_dict
from koopstep.students.files import load_student
from koopstep.students.foreign import read_checkerboard_module
from koopstep.teachers.edm import EDMConfig
from koopstep.teachers.files import read_teacher_file
from koopstep.teachers.foreign.edm import read_edm
from koopstep.teachers.foreign.state_dict import read_state_dict

Build = Callable[[Path], Path]
Read = Callable[[Path], Any]


def written(name: str, data: Callable[[], bytes]) -> Build:
    """A file of these bytes."""

    def build(folder: Path) -> Path:
        (folder / name).write_bytes(data())
        return folder / name

    return build


def zipped(name: str, members: Callable[[], dict[str, bytes]]) -> Build:
    """A packed zip archive of these members."""
    return written(name, lambda: pickles.zip_file(members(), zipfile.ZIP_DEFLATED))


def png(side: int) -> bytes:
    """A black picture of side x side pixels, one bit each."""
    packer, row = zlib.compressobj(9), b"\0" * (1 + (side + 7) // 8)
    rows = b"".join(packer.compress(row * 64) for _ in range(side // 64)) + packer.compress(row * (side % 64))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)),
        (b"IDAT", rows + packer.flush()),
        (b"IEND", b""),
    ]
    packed = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + packed


def pictures(count: int, side: int) -> dict[str, bytes]:
    """The same picture under many names."""
    one = png(side)
    return {f"{index:04d}.png": one for index in range(count)}


def listing() -> dict[str, bytes]:
    """One picture, and a list of classes that is 64 MiB of nothing."""
    return {"a.png": png(8), "dataset.json": b'{"labels": [' + b"[]," * (64 << 20) + b"[]]}"}


def swollen(members: int, member_bytes: int) -> bytes:
    """An .npz of zeros; no member is too large, all together are."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    body, entries, data = block * (member_bytes >> 20) + b"\x03\0", b"", b""
    for index in range(members):
        name = f"a{index}.npy".encode()
        facts = struct.pack("<3H3I", 0, 0, 0, 0, len(body), member_bytes)
        at = len(data)
        data += (
            b"PK\x03\x04" + struct.pack("<3H", 20, 0, 8) + facts[2:] + struct.pack("<2H", len(name), 0) + name + body
        )
        entries += b"PK\x01\x02" + struct.pack("<4H", 20, 20, 0, 8) + facts[2:]
        entries += struct.pack("<5H2I", len(name), 0, 0, 0, 0, 0, at) + name
    return data + entries + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, members, members, len(entries), len(data), 0)


def header(text: bytes) -> bytes:
    """A .npy file with such a head."""
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


def module(made: bytes, children: bytes = b"}", tensors: bytes = b"}", more: bytes = b"") -> bytes:
    """A pickled module of torch's: the object that ``made`` makes, and its state."""
    name = pickles.long
    return (
        made
        + b"}("
        + name("_modules")
        + children
        + name("_parameters")
        + tensors
        + name("_buffers")
        + b"}"
        + more
        + b"ub"
    )


def named(letter: str, first: bytes, again: bytes, count: int) -> bytes:
    """A dict of one value under many names."""
    return (
        b"}("
        + b"".join(pickles.long(f"{letter}{index}") + (again if index else first) for index in range(count))
        + b"u"
    )


def shared_module(places: int, tensors: int) -> bytes:
    """The published student, whose encoder names one child module many times."""
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x01\x85K\x01\x85\x89" + hooks + b"tR"
    of = b"cmodels.koopman_model_checkerboard\n"
    child = module(b"ctorch.nn.modules.linear\nLinear\n)\x81", tensors=named("p", tensor + b"q\x00", b"h\x00", tensors))
    encoder = module(of + b"Encoder\n)\x81", named("c", child + b"q\x01", b"h\x01", places))
    roles = ("x0_observables_decoder", "xT_observables_encoder", "x0_observables_encoder", "koopman_operator")
    parts = b"".join(
        pickles.long(role) + (b"h\x02" if index else encoder + b"q\x02") for index, role in enumerate(roles)
    )
    body = b"\x80\x02" + module(of + b"KoopmanDistillModelCheckerBoard\n)\x81", b"}(" + parts + b"u") + b"."
    return pickles.zip_file({"archive/data.pkl": body, "archive/data/0": b"\0" * 4})


def edm(tensors: bytes) -> bytes:
    """An EDM pickle of a small network with these parameters."""
    name = pickles.short

    def persistent(kind: str, children: bytes, parameters: bytes, more: bytes) -> bytes:
        state = module(b"", children, parameters, more).removesuffix(b"b")
        return pickles.persistent(pickles.meta("", kind, state))

    facts = name("img_resolution") + b"K\x08" + name("img_channels") + b"K\x01" + name("model_type") + name("SongUNet")
    made_with = name("_init_args") + b")" + name("_init_kwargs") + b"}(" + facts + b"u"
    inner = persistent("SongUNet", b"}", tensors, b"")
    return pickles.four(persistent("EDMPrecond", b"}(" + name("model") + inner + b"u", b"}", made_with))


def shared_bytes(tensors: int, numbers: int) -> bytes:
    """An EDM pickle in which one memoised bytes object is the storage of many tensors of one number."""
    data = pickles.legacy_storage(numbers)
    kept = b"B" + struct.pack("<I", len(data)) + data + b"\x94"
    load = pickles.symbol("torch.storage", "_load_from_bytes")
    first, again = (
        pickles.tensor(load + content + b"\x85R", b"K\x00", b"K\x01\x85", b"K\x01\x85") for content in (kept, b"h\x00")
    )
    return edm(named("w", first, again, tensors))


def teacher(**network: Any) -> Build:
    """A teacher file of one number whose header describes such a network."""
    shape = [2] if network["kind"] == "mlp" else [3, 32, 32]
    config = {"config": {"kind": "edm", "shape": shape, "network": network}, "name": "hostile"}

    def build(folder: Path) -> Path:
        path = folder / "t.safetensors"
        save_tensors(path, {"model.first.weight": torch.zeros(1)}, {"koopstep_teacher": json.dumps(config)})
        return path

    return build


def student(**network: Any) -> Build:
    """The same as a student folder."""

    def build(folder: Path) -> Path:
        digest = save_tensors(folder / "model.safetensors", {"a": torch.zeros(1)})
        spatial = network["kind"] == "unet"
        described = {
            "format": 1,
            "student": {"kind": "hkd", "network": network},
            "facts": {"shape": [3, 32, 32] if spatial else [2]},
            "sha256": digest,
            "provenance": {},
        }
        (folder / "config.json").write_text(json.dumps(described))
        return folder

    return build


def weights(folder: Path) -> Path:
    """A file of one number."""
    save_tensors(folder / "w.safetensors", {"a": torch.zeros(1)})
    return folder / "w.safetensors"


def described(**network: Any) -> EDMConfig:
    """A teacher's config as a user may be handed it beside weights."""
    return EDMConfig.parse({"shape": [2], "network": network}, "config")


def mask(path: Path) -> None:
    """Read as the mask of an edit."""
    read_mask(path, 8, 8)


def imported(path: Path) -> None:
    """Read as paths of another program."""
    import_source(path, path.parent / "store")


UNET: dict[str, Any] = {"kind": "unet"}
CASES: dict[str, tuple[Build, Read]] = {
    "list of 10,000 references to a list of 10,000, .pth": (
        written("a.pth", lambda: pickles.zip_file({"archive/data.pkl": pickles.wide(10_000, 10_000)})),
        load_state_dict,
    ),
    "the same as an EDM pickle": (
        written(
            "a.pkl", lambda: pickles.wide(10_000, 10_000).replace(b"q\x00", b"\x94").replace(b"\x80\x02", b"\x80\x04")
        ),
        read_edm,
    ),
    "one list copied 3,000 times": (
        written("a.pth", lambda: pickles.zip_file({"archive/data.pkl": pickles.copies(3_000, 1_000)})),
        load_state_dict,
    ),
    "20 MB of bytes as the storage of 200 tensors": (
        written("a.pkl", lambda: shared_bytes(200, 5_000_000)),
        read_edm,
    ),
    "a child module of 1,000 tensors in 1,000 places": (
        written("a.pt", lambda: shared_module(1_000, 1_000)),
        read_checkerboard_module,
    ),
    "PostScript called a.png": (
        written("a.png", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"),
        read_picture,
    ),
    "a picture of 13,300 x 13,300": (written("a.png", lambda: png(13_300)), read_picture),
    "the same as a mask": (written("a.png", lambda: png(13_300)), mask),
    "the same in a folder of images": (written("a.png", lambda: png(13_300)), lambda path: images.load(path.parent)),
    "zip of 30 pictures of 9,000 x 9,000": (zipped("a.zip", lambda: pictures(30, 9_000)), images.load),
    "zip of 300 pictures of 4,000 x 4,000": (zipped("a.zip", lambda: pictures(300, 4_000)), images.load),
    "zip with a dataset.json of 192 MB": (zipped("a.zip", listing), images.load),
    ".npz of 5 members of 1 GB, 5 MB in all": (written("a.npz", lambda: swollen(5, 1_000 << 20)), read_npz),
    "the same as weights": (written("a.npz", lambda: swollen(5, 1_000 << 20)), load_state_dict),
    "the same as images": (written("a.npz", lambda: swollen(5, 1_000 << 20)), images.load),
    ".npz of 30,000 members that overlap": (written("a.npz", lambda: pickles.overlapping(30_000)), read_npz),
    ".npy whose head is no dict": (written("a.npy", lambda: header(b"{'descr': (")), imported),
    ".npy whose head is 9,000 brackets": (written("a.npy", lambda: header(b"(" * 9_000)), imported),
    "safetensors with 100,000 tensors": (
        written("a.safetensors", lambda: _many(100_000)),
        load_state_dict,
    ),
    "teacher: model_channels 2048": (teacher(**UNET, model_channels=2048), read_teacher_file),
    "teacher: model_channels 10^9": (teacher(**UNET, model_channels=10**9), read_teacher_file),
    "teacher: num_blocks 100,000": (teacher(**UNET, num_blocks=100_000), read_teacher_file),
    "teacher: channel_mult 10^9": (teacher(**UNET, channel_mult=[10**9]), read_teacher_file),
    "teacher: filter of 50,000 taps": (teacher(**UNET, resample_filter=[1] * 50_000), read_teacher_file),
    "teacher: depth 1,000,000": (teacher(kind="mlp", depth=1_000_000), read_teacher_file),
    "teacher: width 100,000": (teacher(kind="mlp", width=100_000), read_teacher_file),
    "student: model_channels 2048": (student(**UNET, model_channels=2048), load_student),
    "student: num_blocks 100,000": (student(**UNET, num_blocks=100_000), load_student),
    "student: depth 1,000,000": (student(kind="mlp", depth=1_000_000), load_student),
    "weights with a config of depth 1,000,000": (
        weights,
        lambda path: read_state_dict(path, described(kind="mlp", depth=1_000_000)),
    ),
}
"""What it is -> how it is built, and the reader it is meant for."""


def _many(count: int) -> bytes:
    rows = (b'"%06d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % index for index in range(count))
    text = b"{" + b",".join(rows) + b"}"
    return struct.pack("<Q", len(text)) + text


def resident(field: str) -> float:
    """``VmRSS`` or ``VmHWM`` of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024 / 1e6


def measure(read: Read, path: Path) -> dict[str, Any]:
    """Read once, in this process."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    before, started, processor = resident("VmRSS"), time.perf_counter(), time.process_time()
    said = "accepted"
    try:
        read(path)
    except KoopstepError as error:
        said = f"{type(error).__name__}: {error}".replace(str(path.parent) + "/", "")
    except Exception as error:
        said = f"not ours: {type(error).__name__}: {error}"
    return {
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - processor,
        "megabytes": resident("VmHWM") - before,
        "said": said,
    }


def in_a_child(read: Read, path: Path) -> dict[str, Any]:
    """The same in a forked process, so that what is kept is not counted twice."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as stream:
            json.dump(measure(read, path), stream)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return (
        json.loads(text) if text else {"said": "the process died", "seconds": 0, "processor_seconds": 0, "megabytes": 0}
    )


def run() -> list[dict[str, Any]]:
    """Build and read every input: name, size, cost and what was said."""
    rows = []
    for name, (build, read) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            inner = Path(folder) / "input"
            inner.mkdir()
            path = build(inner)
            size = sum(file.stat().st_size for file in inner.iterdir())
            rows.append({"input": name, "bytes": size, **in_a_child(read, path)})
    return rows


def main() -> None:
    """Print a table, or JSON."""
    torch.set_num_threads(1)
    rows = run()
    if "--json" in sys.argv:
        print(json.dumps(rows))
        return
    print("| input | bytes | seconds | MB | refused as |\n|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['input']} | {row['bytes']:,} | {row['seconds']:.2f} | {row['megabytes']:.0f} | {row['said'][:120]} |"
        )


if __name__ == "__main__":
    main()
