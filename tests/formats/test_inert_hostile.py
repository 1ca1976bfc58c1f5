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
from koopstep.formats.inert.torch_dialect import STATE_DICT
from koopstep.formats.inert.torch_files import read_torch_file
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
