"""A store that grows: what it holds stays, it stays readable, and it says what it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from linear_teacher import LinearTeacher

import koopstep.data.store as store_module
from koopstep.core.errors import Interrupted, StorageError, UsageError
from koopstep.data.collect import CollectSettings, collect
from koopstep.data.manifest import Manifest
from koopstep.data.repair import repair
from koopstep.data.store import Store
from koopstep.data.writer import StoreWriter

TEACHER = LinearTeacher(num_classes=4)


def settings(count: int, **changes: object) -> CollectSettings:
    plain = {"count": count, "steps": 3, "keep": "all", "seed": 3, "unit_size": 20, "micro_batch": 7}
    return CollectSettings.parse(plain | changes, "test")


def fill(folder: Path, count: int, **changes: object) -> Store:
    for _ in collect(TEACHER, folder, settings(count, **changes)):
        pass
    return Store.open(folder)


def begin_to_grow(folder: Path, count: int, batches: int = 5) -> None:
    """Stop after so many micro-batches."""
    asked = iter(range(1000))
    with pytest.raises(Interrupted):
        list(collect(TEACHER, folder, settings(count), should_stop=lambda: next(asked) >= batches))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("mapped", [False, True])
def test_a_grown_store_holds_the_rows_of_one_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    if mapped:
        monkeypatch.setattr(store_module, "_MEMORY_LIMIT", 0)
    whole = fill(tmp_path / "whole", 103)
    small = fill(tmp_path / "grown", 31, hold_out=5)
    before = contents(tmp_path / "grown")
    fill(tmp_path / "grown", 58)
    grown = fill(tmp_path / "grown", 103)
    assert grown.manifest.grown == (31, 58) and grown.manifest.units == 2 + 2 + 3
    rows = np.random.default_rng(0).permutation(103)
    for one, other in ((whole, grown), (small, grown)):  # what was open before reads on
        shared = rows[rows < one.count]
        a, b = one.batch(shared), other.batch(shared)
        assert torch.equal(a.states, b.states) and torch.equal(a.noise, b.noise)
        assert a.class_labels is not None and b.class_labels is not None and torch.equal(a.class_labels, b.class_labels)
    after = contents(tmp_path / "grown")
    assert all(after[name] == data for name, data in before.items() if name.startswith("shards/"))
    assert not (tmp_path / "grown" / "growing.json").exists() and grown.verify() == []


def test_rows_held_out_stay_the_same(tmp_path: Path) -> None:
    small = fill(tmp_path, 40, hold_out=6)
    grown = fill(tmp_path, 90)
    assert grown.held_out_rows().tolist() == small.held_out_rows().tolist()
    assert set(small.training_rows()) < set(grown.training_rows()) and len(grown.training_rows()) == 84
    with pytest.raises(UsageError, match="hold_out: 6 there, 7 here"):
        fill(tmp_path, 100, hold_out=7)


def test_a_grown_store_knows_what_it_was(tmp_path: Path) -> None:
    roots = [fill(tmp_path, count).root for count in (40, 60, 90)]
    history = Store.open(tmp_path).history()
    assert list(history) == roots and [m.count for m in history.values()] == [40, 60, 90]
    assert history[roots[0]].training_rows().max() < 40
    again = {p: p.stat().st_mtime_ns for p in (tmp_path / "shards").iterdir()}
    assert fill(tmp_path, 90).root == roots[-1]  # asked again, nothing happens
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "shards").iterdir()} == again


def test_a_store_that_grows_stays_the_old_one_until_the_end(tmp_path: Path) -> None:
    old = fill(tmp_path / "a", 30)
    begin_to_grow(tmp_path / "a", 80)
    between = Store.open(tmp_path / "a")
    assert (between.root, between.count, between.verify()) == (old.root, 30, [])
    assert list(repair(tmp_path / "a", TEACHER)) == []
    fill(tmp_path / "b", 30)
    assert fill(tmp_path / "a", 80).root == fill(tmp_path / "b", 80).root
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_growth_may_be_given_up_for_another(tmp_path: Path) -> None:
    old = fill(tmp_path / "a", 30)
    begin_to_grow(tmp_path / "a", 80)
    assert fill(tmp_path / "a", 30).root == old.root  # as it is
    fill(tmp_path / "a", 55)
    grown = fill(tmp_path / "a", 70)
    fill(tmp_path / "c", 30)
    fill(tmp_path / "c", 55)
    assert grown.root == fill(tmp_path / "c", 70).root and grown.verify() == []


@pytest.mark.parametrize("killed_in", ["seal", "_end_growth"])
def test_a_kill_at_the_end_leaves_the_old_store_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    class Killed(BaseException):
        pass

    def dies(_: StoreWriter) -> None:
        raise Killed

    old = fill(tmp_path, 30)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(StoreWriter, killed_in, dies)
        fill(tmp_path, 50)
    found = Store.open(tmp_path)
    assert (found.count, found.root == old.root) == ((30, True) if killed_in == "seal" else (50, False))
    assert found.verify() == [] and len(found.batch(found.training_rows()).noise) == found.count - 3
    grown = fill(tmp_path, 60 if killed_in == "_end_growth" else 50)
    assert grown.verify() == [] and not (tmp_path / "growing.json").exists()


def test_an_interrupted_store_goes_on_with_more_rows(tmp_path: Path) -> None:
    begin_to_grow(tmp_path, 60)
    with pytest.raises(UsageError, match="2 of 3 units committed"):
        Store.open(tmp_path)
    grown = fill(tmp_path, 90)
    assert grown.count == 90 and grown.verify() == [] and grown.manifest.hold_out == 6


def test_damage_in_a_grown_store_is_repaired(tmp_path: Path) -> None:
    fill(tmp_path, 30)
    root = fill(tmp_path, 50).root
    good = contents(tmp_path)
    for unit in (1, 2):
        (tmp_path / "shards" / f"{unit:05d}.safetensors").unlink()
    assert [report.identical for report in repair(tmp_path, TEACHER)] == [True, True]
    assert contents(tmp_path) == good and Store.open(tmp_path).root == root


def test_workers_grow_a_store_together(tmp_path: Path) -> None:
    fill(tmp_path / "one", 30)
    root = fill(tmp_path / "one", 110).root
    fill(tmp_path / "three", 30)
    for rank in (1, 2, 0):
        last = list(collect(TEACHER, tmp_path / "three", settings(110), rank=rank, world=3))[-1]
        assert last.complete == (rank == 0) and Store.open(tmp_path / "three").count == (110 if last.complete else 30)
    assert Store.open(tmp_path / "three").root == root


def test_more_than_the_disk_holds_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"GB and the disk has .* GB free; collect fewer"):
        fill(tmp_path / "new", 10**14)
    assert not (tmp_path / "new").exists()
    old = fill(tmp_path / "old", 30)
    with pytest.raises(StorageError, match="collect fewer"):
        fill(tmp_path / "old", 10**14)
    assert fill(tmp_path / "old", 30).root == old.root
    with pytest.raises(UsageError, match="count"):
        settings(10**18)


def test_a_store_that_announces_far_too_many_rows_opens_at_once(tmp_path: Path) -> None:
    fill(tmp_path, 30)
    (tmp_path / "complete.json").unlink()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"count": 10**14}))
    with pytest.raises(UsageError, match="1 of 5000000000000 units committed"):
        Store.open(tmp_path)


def test_every_row_has_one_place() -> None:
    plain = json.loads(json.dumps({"count": 100, "unit_size": 7, "grown": [5, 33, 40], "hold_out": 2}))
    fixed = {
        "teacher": {
            "kind": "k",
            "name": "n",
            "sha256": "",
            "solver": "s",
            "num_function_evaluations": 1,
            "noise_scale": 1.0,
            "data_scale": 1.0,
            "num_classes": 0,
            "shape": [2],
        },
        "steps": 1,
        "kept": [0, 1],
        "levels": [0.0, 1.0],
        "shape": [2],
        "seed": 0,
        "noise_scheme": "philox-boxmuller-1",
        "micro_batch": 7,
        "source": "test",
    }
    manifest = Manifest.parse(fixed | plain, "test")
    units, local = manifest.places_of(np.arange(100))
    made = [(unit, place) for unit in range(manifest.units) for place in range(len(manifest.rows_of(unit)))]
    assert made == list(zip(units.tolist(), local.tolist(), strict=True))
    assert [row for unit in range(manifest.units) for row in manifest.rows_of(unit)] == list(range(100))
    for bad in ([5, 5], [33, 5], [0], [100], [2]):
        with pytest.raises(UsageError, match=r"grown must increase|hold_out"):
            Manifest.parse(fixed | plain | {"grown": bad}, "test")
