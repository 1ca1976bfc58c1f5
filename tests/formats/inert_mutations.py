"""Mutated foreign files under an audit hook: `python tests/formats/inert_mutations.py COUNT [SEED]` prints what happened.

Five good files (EDM pickles, torch's two formats, a pickled module) are changed in ways that know their structure and read
by the functions that users call. The hook sees every import, program, process, socket and file that Python touches.
"""

from __future__ import annotations

import functools
import io
import json
import pickletools
import random
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS.parent / "src"), str(TESTS / "teachers"), str(TESTS / "students"), str(TESTS / "core")]

import checkerboard_modules  # noqa: E402
import edm_pickles  # noqa: E402
import hostile_pickles  # noqa: E402
import torch  # noqa: E402

from koopstep.core.errors import DamagedError, UsageError  # noqa: E402
from koopstep.formats.torch_files import load_state_dict  # noqa: E402
from koopstep.students.foreign import read_checkerboard_module  # noqa: E402
from koopstep.teachers.edm import EDMConfig, build_edm  # noqa: E402
from koopstep.teachers.foreign.edm import read_edm  # noqa: E402

Read = Callable[[Path], object]
DANGEROUS = (
    ("os", "system"),
    ("posix", "system"),
    ("builtins", "exec"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("subprocess", "Popen"),
    ("socket", "socket"),
    ("torch", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("torch_utils.persistence", "_reconstruct_persistent_obj"),
    ("numpy", "load"),
    ("collections", "OrderedDict.__init__.__globals__"),
)
NUMBERS = (0, 1, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, -1, -(2**31))
OPCODES = bytes(sorted(ord(opcode.code) for opcode in pickletools.opcodes))


def edm_seed(how: edm_pickles.Written) -> bytes:
    network = {"kind": "unet", "model_channels": 8, "channel_mult": [1, 1], "channel_mult_emb": 1, "num_blocks": 1}
    config = EDMConfig.parse({"shape": [1, 4, 4], "network": network, "num_classes": 2}, "seed")
    weights = edm_pickles.with_filters(build_edm(config).state_dict())
    arguments = {"img_resolution": 4, "img_channels": 1, "label_dim": 2, "model_channels": 8, "channel_mult": [1, 1]}
    arguments |= {"channel_mult_emb": 1, "num_blocks": 1}
    return edm_pickles.pickle_network("EDMPrecond", "SongUNet", arguments, weights, how)


def saved(zipped: bool) -> bytes:
    buffer = io.BytesIO()
    weights = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict()
    torch.save({"epoch": 3, "state_dict": weights}, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def seeds() -> list[tuple[bytes, Read]]:
    torch.manual_seed(0)
    return [
        (edm_seed(edm_pickles.Written()), read_edm),
        (edm_seed(edm_pickles.Written(old_numpy=True, snapshot=True)), read_edm),
        (saved(zipped=True), load_state_dict),
        (saved(zipped=False), load_state_dict),
        (checkerboard_modules.saved(checkerboard_modules.KoopmanDistillModelCheckerBoard(3)), read_checkerboard_module),
    ]


class Mutator:
    """Changes a pickle at its opcodes' bounds, a zip in its pickle (with right checksums) or anywhere."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ways = (
            *(self.flip, self.byte, self.opcode, self.cut_out, self.twice, self.swap),
            *(self.call, self.name, self.number, self.length, self.end, self.inside),
        )

    def change(self, data: bytes) -> bytes:
        if data[:4] == b"PK\x03\x04" and self.random.random() < 0.7:
            members = {info.filename: body for info, body in _members(data)}
            name = next(name for name in members if name.endswith("data.pkl"))
            return hostile_pickles.zip_file({**members, name: self.change(members[name])})
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            data = self.random.choice(self.ways)(data)
        return data

    def place(self, data: bytes) -> int:
        return self.random.randrange(max(len(data), 1))

    def bound(self, data: bytes) -> int:
        """A random opcode's place (of the first pickle in the data)."""
        places = _bounds(data)
        return self.random.choice(places) if places else self.place(data)

    def flip(self, data: bytes) -> bytes:
        return self.put(data, self.place(data), 1, bytes([data[self.place(data)] ^ (1 << self.random.randrange(8))]))

    def byte(self, data: bytes) -> bytes:
        return self.put(data, self.place(data), 1, bytes([self.random.randrange(256)]))

    def opcode(self, data: bytes) -> bytes:
        return self.put(data, self.bound(data), 1, bytes([self.random.choice(OPCODES)]))

    def cut_out(self, data: bytes) -> bytes:
        first, second = sorted((self.bound(data), self.bound(data)))
        return self.put(data, first, min(second - first, self.random.choice((2, 10, 1000))), b"")

    def twice(self, data: bytes) -> bytes:
        first, second = sorted((self.bound(data), self.bound(data)))
        return self.put(data, first, 0, data[first:second][:5000])

    def swap(self, data: bytes) -> bytes:
        first, second = sorted((self.bound(data), self.bound(data)))
        middle = first + (second - first) // 2
        return data[:first] + data[middle:second] + data[first:middle] + data[second:]

    def call(self, data: bytes) -> bytes:
        module, name = self.random.choice(DANGEROUS)
        build = self.random.choice((hostile_pickles.call, hostile_pickles.call_2))
        body = build(module, name, f"touch {hostile_pickles.MARKER}")
        return self.put(data, self.bound(data), 0, body[2 : -1 if self.random.random() < 0.8 else None])

    def name(self, data: bytes) -> bytes:
        """One of the names in it becomes a dangerous one."""
        names = [
            (place, text)
            for text in (
                b"_reconstruct_persistent_obj",
                b"_rebuild_tensor_v2",
                b"_load_from_bytes",
                b"OrderedDict",
                b"scalar",
            )
            for place in _all(data, b"\x8c" + bytes([len(text)]) + text)
        ]
        if not names:
            line = b"collections\nOrderedDict\n"
            module, name = self.random.choice(DANGEROUS)
            return data.replace(line, f"{module}\n{name}\n".encode(), self.random.randrange(1, 4))
        place, text = self.random.choice(names)
        return self.put(data, place, len(text) + 2, hostile_pickles.short(self.random.choice(DANGEROUS)[1]))

    def number(self, data: bytes) -> bytes:
        value = self.random.choice(NUMBERS)
        return self.put(data, self.bound(data), self.random.choice((0, 2)), hostile_pickles.number(value))

    def length(self, data: bytes) -> bytes:
        form = self.random.choice(("<I", "<Q", "<q"))
        value = self.random.choice([number for number in NUMBERS if 0 <= number < 2**32])
        return self.put(data, self.place(data), struct.calcsize(form), struct.pack(form, value))

    def end(self, data: bytes) -> bytes:
        return data[: self.place(data)] if self.random.random() < 0.5 else data + self.random.randbytes(20)

    def inside(self, data: bytes) -> bytes:
        """Something in one of the storages' own pickles."""
        places = _all(data, b"storage")
        if not places:
            return self.byte(data)
        place = self.random.choice(places) + self.random.randrange(-120, 120)
        return self.put(data, max(place, 0), self.random.choice((0, 1)), bytes([self.random.choice(OPCODES)]))

    @staticmethod
    def put(data: bytes, place: int, length: int, new: bytes) -> bytes:
        return data[:place] + new + data[place + length :]


def _members(data: bytes) -> list[tuple[zipfile.ZipInfo, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info, archive.read(info)) for info in archive.infolist()]


def _all(data: bytes, text: bytes) -> list[int]:
    places, start = [], data.find(text)
    while start >= 0:
        places.append(start)
        start = data.find(text, start + 1)
    return places


@functools.lru_cache(maxsize=8)
def _bounds(data: bytes) -> list[int]:
    """Where opcodes begin, as far as the pickles (up to five in a row) can be read."""
    places: list[int] = []
    stream = io.BytesIO(data)
    try:
        for _ in range(5):
            places += [place for _, _, place in pickletools.genops(stream) if place is not None]
    except Exception:
        return places
    return places


def peak_mebibytes() -> int:
    """The largest memory so far (Linux). getrusage would count that of the process that started this one."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def main(count: int, seed: int) -> dict[str, object]:
    good, mutator, outcomes = seeds(), Mutator(seed), Counter[str]()
    events: Counter[str] = Counter()
    foreign: Counter[str] = Counter()
    armed, slowest, base = False, 0.0, 0

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            harmless = event == "builtins.id" or (
                event == "open" and str(arguments[0]) == str(path) and arguments[1] in ("r", "rb")
            )
            if armed and not harmless:
                events[f"{event} {str(arguments[:1])[:80]}"] += 1

        sys.addaudithook(hook)
        for data, read in good:
            path.write_bytes(data)
            read(path)  # a good file is read, and what libraries import on first use is there
        started = time.process_time()
        base = peak_mebibytes()
        for index in range(count):
            data, read = good[index % len(good)]
            changed = mutator.change(data)
            path.write_bytes(changed)
            before, armed = time.process_time(), True
            try:
                read(path)
                outcomes["loaded"] += 1
            except (DamagedError, UsageError) as error:
                outcomes[type(error).__name__] += 1
            except BaseException as error:
                foreign[f"{type(error).__name__}: {error!s:.100}"] += 1
            armed = False
            slowest = max(slowest, time.process_time() - before)
        seconds = time.process_time() - started
        left = sorted(entry.name for entry in Path(folder).iterdir() if entry != path)
    return {
        "count": count,
        "outcomes": dict(outcomes),
        "events": dict(events),
        "other_exceptions": dict(foreign),
        "files_made": left + [hostile_pickles.MARKER] * Path(hostile_pickles.MARKER).exists(),
        "slowest_seconds": round(slowest, 3),
        "mebibytes": peak_mebibytes(),
        "mebibytes_before": base,
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))
