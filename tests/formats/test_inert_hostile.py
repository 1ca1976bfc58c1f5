"""Hostile pickles by hand: nothing runs, every refusal is one of ours and says where, none takes long or much memory."""

from __future__ import annotations

import io
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import hostile_pickles
import pytest

from koopstep.core.errors import DamagedError, UsageError
from koopstep.formats.inert.dialect import Limits
from koopstep.formats.inert.modules import named_tensors
from koopstep.formats.inert.torch_dialect import STATE_DICT
from koopstep.formats.inert.torch_files import read_torch_file
from koopstep.formats.inert.values import Instance, Storage, tensor_record
from koopstep.teachers.foreign.edm_dialect import read_edm_pickle

Read = Callable[[memoryview, str], object]


def read_torch(data: memoryview, where: str) -> object:
    return read_torch_file(data, STATE_DICT, Limits(), where)


# They are data and nothing else: they may be read, and the program text in them stays text.
HARMLESS = {"evil module source"}

CASES = [
    *[(f"edm: {name}", read_edm_pickle, data) for name, data in hostile_pickles.edm_files()],
    *[(f"edm: {name}", read_edm_pickle, data) for name, data in hostile_pickles.bombs()],
    *[(f"torch: {name}", read_torch, data) for name, data in hostile_pickles.torch_files()],
    *[
        (f"torch: zip: {name}", read_torch, hostile_pickles.zip_file({"archive/data.pkl": data}))
        for name, data in hostile_pickles.bombs()
    ],
]


def test_there_are_enough_of_them() -> None:
    assert len({data for _, _, data in CASES}) == len(CASES) >= 100


@pytest.mark.parametrize(("name", "read", "data"), CASES, ids=[name for name, _, _ in CASES])
def test_hostile_files_are_refused(
    name: str, read: Read, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    if name.removeprefix("edm: ") in HARMLESS:
        read(memoryview(data), "F")
    else:
        with pytest.raises((DamagedError, UsageError), match=r"^F") as refused:
            read(memoryview(data), "F")
        assert "\n" not in str(refused.value)
    assert time.process_time() - started < 1.0
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_list_referred_to_often_is_walked_once() -> None:
    data = hostile_pickles.zip_file({"archive/data.pkl": hostile_pickles.wide(10_000, 10_000)})
    started = time.process_time()
    value = read_torch(memoryview(data), "F")
    assert time.process_time() - started < 1.0
    assert isinstance(value, list) and len(value) == len(value[0]) == 10_000
    assert all(inner is value[0] for inner in value)


def test_a_list_copied_often_is_counted_each_time() -> None:
    data = hostile_pickles.zip_file({"archive/data.pkl": hostile_pickles.copies(3_000, 1_000)})
    with pytest.raises(DamagedError, match="more objects than any real file has"):
        read_torch(memoryview(data), "F")


def test_depth_counts_along_the_longest_way() -> None:
    """A value met first near the root and again at the bottom of a long chain lies as deep as the chain."""
    chain = b"\x85" * 40
    long = b"N" + chain + b"q\x00" + chain
    for pair in (long + b"h\x00\x86", b"N" + chain + b"q\x00h\x00" + chain + b"\x86"):
        data = hostile_pickles.zip_file({"archive/data.pkl": b"\x80\x02" + pair + b"."})
        with pytest.raises(DamagedError, match="nested deeper than 64"):
            read_torch(memoryview(data), "F")


def module(parts: dict[str, object]) -> Instance:
    return Instance("Module", state={"_modules": {}, "_parameters": {}, "_buffers": {}, **parts})


def test_a_module_in_many_places_counts_in_each() -> None:
    record = tensor_record(Storage("float32", 1), 0, (1,), (1,))
    shared = module({"_parameters": {f"p{index}": record for index in range(1_000)}})
    few = module({"_modules": {f"m{index}": shared for index in range(10)}})
    assert len(named_tensors(few, "F")) == 10_000
    empty = module({"_buffers": {f"b{index}": None for index in range(1_000)}})
    for inner in (shared, empty):
        with pytest.raises(DamagedError, match="more than 20000 modules and tensors"):
            named_tensors(module({"_modules": {f"m{index}": inner for index in range(1_000)}}), "F")


def test_names_along_a_tree_stay_short() -> None:
    with pytest.raises(DamagedError, match="so it is no module"):
        named_tensors(module({"_modules": {"m" * 1_000: module({})}}), "F")


def test_bytes_used_often_are_one_storage() -> None:
    *_, tensors = read_edm_pickle(memoryview(hostile_pickles.shared_storage(50, 1_000)), "F")
    assert len({id(record.storage) for record in tensors.values()}) == 1 and len(tensors) == 50


@pytest.mark.parametrize(
    ("read", "data", "wanted"),
    [
        (read_edm_pickle, hostile_pickles.call("torch.foo", "bar"), r"byte 18: the file wants torch\.foo\.bar"),
        (
            read_torch,
            hostile_pickles.zip_file({"archive/data.pkl": b"\x80\x02cos\nsystem\n."}),
            r"byte 2: .* os\.system",
        ),
    ],
)
def test_a_refusal_names_the_symbol_and_the_place(read: Read, data: bytes, wanted: str) -> None:
    with pytest.raises(UsageError, match=wanted + r".*not on the list.*refused; nothing was run$"):
        read(memoryview(data), "F")


def test_the_same_files_do_act_when_python_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attacks are real: Python's own unpickler makes the marker file."""
    monkeypatch.chdir(tmp_path)
    cases = dict(hostile_pickles.edm_files())
    for name in ("builtins.exec", "builtins.eval", "really pickled shell", "really pickled open", "builtins.open"):
        value = pickle.loads(cases[name])
        if isinstance(value, io.IOBase):
            value.close()
        marker = tmp_path / hostile_pickles.MARKER
        assert marker.exists(), name
        marker.rmdir() if marker.is_dir() else marker.unlink()
