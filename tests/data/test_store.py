"""The store: what is collected is what is read; other stores, damage and half-written folders are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from linear_teacher import LinearTeacher
from torch import Tensor

import koopstep.data.collect as collect_module
import koopstep.data.store as store_module
from koopstep.core.errors import DamagedError, Interrupted, NumericsError, StorageError, UsageError
from koopstep.core.noise import gaussian, integers
from koopstep.data.collect import CollectReport, CollectSettings, collect, kept_states, plan
from koopstep.data.commits import read_manifest
from koopstep.data.manifest import Manifest
from koopstep.data.repair import repair
from koopstep.data.store import Store
from koopstep.data.writer import StoreWriter
from koopstep.teachers.base import Teacher

SETTINGS = CollectSettings(count=103, steps=6, keep="all", seed=3, unit_size=20, micro_batch=7)


def fill(folder: Path, teacher: Teacher | None = None, settings: CollectSettings = SETTINGS) -> list[CollectReport]:
    return list(collect(teacher or LinearTeacher(num_classes=4), folder, settings))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def flip_byte(path: Path, place: int = -5) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def expected(rows: np.ndarray, teacher: LinearTeacher, kept: tuple[int, ...]) -> Tensor:
    noise = gaussian(3, rows, teacher.shape)
    labels = integers(3, rows, teacher.num_classes) if teacher.num_classes else None
    return teacher.path(noise, labels, steps=6)[list(kept)]


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize("keep", ["ends", "all", 3])
@pytest.mark.parametrize("scale", [1.0, 80.0])
def test_round_trip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool, classes: int, keep: str | int, scale: float
) -> None:
    if mapped:
        monkeypatch.setattr(store_module, "_MEMORY_LIMIT", 0)
    teacher = LinearTeacher((3, 2), classes, scale)
    settings = SETTINGS.model_copy(update={"keep": keep})
    reports = fill(tmp_path, teacher, settings)
    assert [r.done for r in reports if r.made == r.done] == [20, 40, 60, 80, 100, 103, 103]
    assert [r.made for r in reports[:6]] == [7, 14, 20, 20, 27, 34]  # a bar moves within a shard
    assert [r.complete for r in reports].index(True) == len(reports) - 1
    store = Store.open(tmp_path)
    kept = kept_states(6, settings.keep)
    assert (store.count, store.manifest.kept) == (103, kept)
    assert reports[-1].bytes == store.nbytes == sum(p.stat().st_size for p in tmp_path.rglob("*.safetensors"))
    rows = np.array([102, 0, 55, 55, 19, 20, 3])
    batch = store.batch(rows)
    assert batch.states.dtype == batch.noise.dtype == torch.float32
    assert batch.states.shape == (len(kept), 7, 3, 2)
    assert torch.equal(batch.noise, gaussian(3, rows, (3, 2)))
    assert torch.equal(batch.states[0], batch.noise * scale)
    torch.testing.assert_close(batch.states, expected(rows, teacher, kept), atol=1e-5, rtol=1e-6)
    assert torch.equal(batch.progress, torch.tensor([k / 6 for k in kept]))
    assert store.manifest.levels == tuple(k / 6 for k in kept)
    if classes:
        assert batch.class_labels is not None
        assert torch.equal(batch.class_labels, integers(3, rows, 4))
    else:
        assert batch.class_labels is None
    batch.states.add_(1)  # a batch is the caller's own
    assert torch.equal(store.batch(rows).states + 1, batch.states)
    assert store.batch(np.zeros(0, dtype=np.int64)).states.shape == (len(kept), 0, 3, 2)
    assert store.verify() == []
    for bad in ([103], [-1], [[1]]):
        with pytest.raises(UsageError):
            store.batch(np.array(bad))


def test_float16(tmp_path: Path) -> None:
    fill(tmp_path, settings=SETTINGS.model_copy(update={"dtype": "float16"}))
    store = Store.open(tmp_path)
    rows = np.arange(103)
    want = expected(rows, LinearTeacher(num_classes=4), store.manifest.kept)
    torch.testing.assert_close(store.batch(rows).states, want, atol=2e-3, rtol=1e-3)
    assert torch.equal(store.batch(rows).noise, gaussian(3, rows, (2,)))


@pytest.mark.parametrize(("count", "hold_out"), [(103, 10), (103, 102), (10, 0), (7, 3), (1000, 1)])
def test_held_out_rows(tmp_path: Path, count: int, hold_out: int) -> None:
    settings = CollectSettings(count=count, steps=1, hold_out=hold_out)
    fill(tmp_path, LinearTeacher(), settings)
    store = Store.open(tmp_path)
    held, training = store.held_out_rows(), store.training_rows()
    assert len(held) == hold_out
    assert sorted([*held, *training]) == list(range(count))
    if hold_out > 1:
        gaps = np.diff(held)
        assert gaps.max() - gaps.min() <= 1


def test_defaults() -> None:
    manifest = plan(LinearTeacher((3, 32, 32)), CollectSettings(count=1_000_000, steps=18, keep=4))
    assert manifest.unit_size * 3 * 12288 <= 16 * 2**20 < (manifest.unit_size + 1) * 3 * 12288
    assert manifest.micro_batch == manifest.unit_size < 512
    assert manifest.hold_out == 10_000
    assert manifest.kept == (0, 6, 12, 18)
    small = plan(LinearTeacher(), CollectSettings(count=100_000, steps=5))
    assert (small.unit_size, small.micro_batch, small.hold_out) == (4096, 512, 10_000)
    huge = plan(LinearTeacher((3, 2048, 2048)), CollectSettings(count=3, steps=1, hold_out=0))
    assert huge.unit_size == 1


@pytest.mark.parametrize("keep", [1, 0, -2, 8])
def test_keep_out_of_range(keep: int) -> None:
    with pytest.raises(UsageError, match="keep"):
        CollectSettings(count=1, steps=6, keep=keep)
    assert kept_states(6, 7) == tuple(range(7))


def test_bytes_do_not_depend_on_the_split(tmp_path: Path) -> None:
    fill(tmp_path / "one")
    whole = contents(tmp_path / "one")
    for rank in (2, 0, 1):
        last = list(collect(LinearTeacher(num_classes=4), tmp_path / "three", SETTINGS, rank=rank, world=3))[-1]
        assert last.complete == (rank == 1)
        if not last.complete:
            with pytest.raises(UsageError, match=r"of 6 units committed in .*; run collect again"):
                Store.open(tmp_path / "three")
    assert contents(tmp_path / "three") == whole
    assert fill(tmp_path / "three")[-1].complete  # complete already: nothing changes
    assert contents(tmp_path / "three") == whole
    with pytest.raises(UsageError, match="rank"):
        list(collect(LinearTeacher(num_classes=4), tmp_path / "one", SETTINGS, rank=3, world=3))


def test_stop_and_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "one")
    asked = iter([False] * 7 + [True])
    with pytest.raises(Interrupted, match="60 of 103 rows"):  # the unit in work would soon be done
        list(collect(LinearTeacher(num_classes=4), tmp_path / "soon", SETTINGS, should_stop=lambda: next(asked, True)))
    monkeypatch.setattr(collect_module, "_SOON", 0.0)
    asked = iter([False] * 7 + [True])
    with pytest.raises(Interrupted, match="40 of 103 rows") as caught:
        list(collect(LinearTeacher(num_classes=4), tmp_path / "two", SETTINGS, should_stop=lambda: next(asked)))
    assert caught.value.exit_code == 75
    assert [r.done for r in fill(tmp_path / "two") if r.made == r.done] == [60, 80, 100, 103, 103]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"seed": 4}, "seed: 3 there, 4 here"),
        ({"count": 102}, "a store of 103 paths, and 102 were asked for.*never shrinks"),
        ({"count": 102, "seed": 4}, "seed: 3 there, 4 here"),
        ({"count": 104, "seed": 4}, "seed: 3 there, 4 here"),
        ({"count": 104, "hold_out": 1}, "hold_out: 10 there, 1 here"),
        ({"steps": 7}, "num_function_evaluations|steps"),
        ({"keep": "ends"}, "kept"),
        ({"unit_size": 21}, "unit_size"),
        ({"micro_batch": 8}, "micro_batch"),
        ({"hold_out": 1}, "hold_out"),
        ({"dtype": "float16"}, "dtype"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, change: dict[str, object], pattern: str) -> None:
    fill(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=pattern) as caught:
        fill(tmp_path, settings=SETTINGS.model_copy(update=change))
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_other_teachers_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    other = LinearTeacher(num_classes=4)
    other.sha256 = "1" * 64
    with pytest.raises(UsageError, match=r"another teacher's store \(teacher.sha256: 0+ there, 1+ here\)"):
        fill(tmp_path, other)
    flip_byte(tmp_path / "shards" / "00001.safetensors")
    with pytest.raises(UsageError, match=r"another teacher \(sha256"):
        list(repair(tmp_path, other))


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"not empty and holds no store \(found holiday.jpg\)"):
        fill(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        fill(tmp_path / "holiday.jpg")
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "holiday.jpg"):
        with pytest.raises(UsageError, match="no trajectory store"):
            Store.open(place)


class BrokenTeacher(LinearTeacher):
    """Wrong in one way."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def states(self, noise: Tensor, class_labels: Tensor | None, steps: int) -> Iterator[Tensor]:
        for i, state in enumerate(super().states(noise, class_labels, steps)):
            if self.fault == "nan" and i == 2:
                state[-1, -1] = float("nan")
            if self.fault == "inf" and i == steps:
                state[0, 0] = float("inf")
            if self.fault == "start" and i == 0:
                state = state + 1
            yield state[:, :1] if self.fault == "shape" else state


@pytest.mark.parametrize(
    ("fault", "error"),
    [("nan", NumericsError), ("inf", NumericsError), ("start", UsageError), ("shape", UsageError)],
)
def test_broken_teachers_are_refused(tmp_path: Path, fault: str, error: type[Exception]) -> None:
    settings = SETTINGS.model_copy(update={"keep": "ends"})
    with pytest.raises(error, match=r"rows 0 to|state 0|shape"):
        fill(tmp_path, BrokenTeacher(fault), settings)
    assert not list((tmp_path / "shards").iterdir())


def test_writer_refuses_bad_units(tmp_path: Path) -> None:
    teacher = LinearTeacher(num_classes=4)
    writer = StoreWriter(tmp_path, plan(teacher, SETTINGS))
    states, labels = torch.zeros(7, 20, 2), torch.zeros(20, dtype=torch.int64)
    for bad_states, bad_labels in (
        (states[:6], labels),
        (states[:, :19], labels),
        (states, None),
        (states, labels[:3]),
    ):
        with pytest.raises(UsageError):
            writer.commit(0, bad_states, bad_labels)
    bad = states.clone()
    bad[3, 4, 1] = float("nan")
    with pytest.raises(NumericsError, match=r"unit 1 \(rows 20 to 39\)"):
        writer.commit(1, bad, labels)
    with pytest.raises(UsageError, match="no unit 6"):
        writer.commit(6, states, labels)
    with pytest.raises(UsageError, match="0 of 6 units committed"):
        writer.seal()
    half = StoreWriter(tmp_path / "half", plan(teacher, SETTINGS.model_copy(update={"dtype": "float16"})))
    with pytest.raises(NumericsError, match="float16"):
        half.commit(0, states + 1e6, labels)


def test_tampering_is_found_and_repaired(tmp_path: Path) -> None:
    teacher = LinearTeacher(num_classes=4)
    fill(tmp_path)
    before = contents(tmp_path)
    shards = tmp_path / "shards"
    flip_byte(shards / "00001.safetensors")
    flip_byte(shards / "00002.safetensors", 40)
    (shards / "00003.safetensors").unlink()
    (shards / "00004.json").unlink()
    (shards / "00005.safetensors").write_bytes(before["shards/00005.safetensors"][:-1])
    store = Store.open(tmp_path)
    damaged = store.verify()
    assert [(d.unit, d.start, d.stop) for d in damaged] == [
        (1, 20, 40),
        (2, 40, 60),
        (3, 60, 80),
        (4, 80, 100),
        (5, 100, 103),
    ]
    with pytest.raises(DamagedError, match=r"00001\.safetensors.*koopstep data repair"):
        store.batch(np.array([0]))
    reports = list(repair(tmp_path, teacher))
    assert [(r.damage.unit, r.identical) for r in reports] == [(u, True) for u in range(1, 6)]
    assert contents(tmp_path) == before
    assert list(repair(tmp_path, teacher)) == []


def test_mapped_store_sees_cut_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_MEMORY_LIMIT", 0)
    fill(tmp_path)
    path = tmp_path / "shards" / "00002.safetensors"
    good = path.read_bytes()
    for broken in (good[:-1], b"\xff" * len(good), (0).to_bytes(8, "little") + good[8:]):
        path.write_bytes(broken)
        with pytest.raises(DamagedError, match="00002"):
            Store.open(tmp_path).batch(np.array([41]))
    path.unlink()
    with pytest.raises(DamagedError, match="00002"):
        Store.open(tmp_path).batch(np.array([41]))


def test_altered_descriptions_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    good = contents(tmp_path)

    def altered(name: str, key: str, value: object) -> None:
        data = json.loads(good[name])
        data[key] = value
        (tmp_path / name).write_text(json.dumps(data))

    for name, key, value in (
        ("manifest.json", "seed", 9),
        ("manifest.json", "unknown", 1),
        ("manifest.json", "format", 2),
        ("manifest.json", "kept", [0, 3]),
        ("complete.json", "root", "0" * 64),
        ("complete.json", "count", 5),
        ("complete.json", "shards", []),
        ("complete.json", "nonsense", 1),
    ):
        altered(name, key, value)
        with pytest.raises(DamagedError) as caught:
            Store.open(tmp_path)
        assert "\n" not in str(caught.value)
        (tmp_path / name).write_bytes(good[name])
    (tmp_path / "manifest.json").write_bytes(b"\x00garbage")
    with pytest.raises(DamagedError):
        Store.open(tmp_path)


def test_single_bit_flips_are_all_found(tmp_path: Path) -> None:
    fill(tmp_path)
    store = Store.open(tmp_path)
    random = np.random.RandomState(0)
    for _ in range(200):
        unit = int(random.randint(6))
        path = tmp_path / "shards" / f"{unit:05d}.safetensors"
        good = path.read_bytes()
        place, bit = random.randint(len(good)), random.randint(8)
        path.write_bytes(good[:place] + bytes([good[place] ^ (1 << bit)]) + good[place + 1 :])
        assert [d.unit for d in store.verify()] == [unit]
        path.write_bytes(good)


def test_half_written_store_is_finished(tmp_path: Path) -> None:
    fill(tmp_path / "good")
    good = contents(tmp_path / "good")
    fill(tmp_path / "half")
    half = tmp_path / "half"
    (half / "complete.json").unlink()
    (half / "shards" / "00000.json").unlink()  # shard without record
    (half / "shards" / "00001.safetensors").unlink()  # record without shard
    (half / "shards" / "00002.json").write_bytes(b"{")  # torn record
    (half / "shards" / "00003.safetensors").write_bytes(b"short")
    (half / "shards" / ".00005.json.tmp-999999999-0-elsewhere").write_bytes(b"rest")
    with pytest.raises(UsageError, match="2 of 6 units committed"):
        Store.open(half)
    fill(half)
    (half / "shards" / ".00005.json.tmp-999999999-0-elsewhere").unlink()
    assert contents(half) == good


def test_store_identity(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    fill(tmp_path / "b", settings=SETTINGS.model_copy(update={"seed": 4}))
    fill(tmp_path / "c")
    a, b, c = (Store.open(tmp_path / name) for name in "abc")
    assert a.root == c.root != b.root
    assert isinstance(read_manifest(tmp_path / "a"), Manifest)


def test_disk_full_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space at the n-th write or sync: what is committed stays valid; later the bytes are the same."""
    import errno
    import os

    settings = SETTINGS.model_copy(update={"count": 60, "hold_out": 6})
    fill(tmp_path / "good", settings=settings)
    good = contents(tmp_path / "good")
    real_write, real_fsync = os.write, os.fsync
    for number in range(60):
        folder = tmp_path / str(number)
        calls = 0

        def fails(number: int = number) -> None:
            nonlocal calls
            calls += 1
            if calls > number:
                raise OSError(errno.ENOSPC, "No space left on device")

        def write(descriptor: int, data: bytes) -> int:
            if len(data) > 50:  # part of it still fits
                half = real_write(descriptor, data[: len(data) // 2])
                fails()
                return half
            fails()
            return real_write(descriptor, data)

        def fsync(descriptor: int) -> None:
            fails()
            real_fsync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            patch.setattr(os, "fsync", fsync)
            try:
                fill(folder, settings=settings)
                break
            except StorageError as error:
                assert "No space left" in str(error)
        files = contents(folder) if folder.exists() else {}
        assert all(good[name] == data for name, data in files.items())
        fill(folder, settings=settings)
        assert contents(folder) == good
    assert number > 25
