"""A run's folder may be moved or copied, alone or with its store; a store that is gone is told plainly by every command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_way import tiny_recipe, tiny_store, train_tiny

from koopstep.cli.main import run
from koopstep.core.errors import DamagedError, UsageError
from koopstep.data.store import Store
from koopstep.runs.folder import own_store, read_config
from koopstep.workflows.run import Run


def trained(folder: Path, inside: bool) -> Path:
    """A run with its store inside, as distil makes it, or beside it."""
    out = folder / "run"
    store = tiny_store(out / "store" if inside else folder / "paths")
    train_tiny(tiny_recipe("training.steps=2"), store, out)
    return out


@pytest.mark.parametrize("inside", [True, False])
def test_a_run_that_was_moved_finds_its_store(tmp_path: Path, inside: bool) -> None:
    (tmp_path / "here").mkdir()
    trained(tmp_path / "here", inside)
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = tmp_path / "there" / "run"
    assert own_store(moved, read_config(moved)).folder.is_relative_to(tmp_path / "there")
    assert run(["evaluate", str(moved), "--device", "cpu"]) == 0
    assert run(["train", str(moved), "--resume", "-o", "training.steps=3", "--device", "cpu"]) == 0
    assert read_config(moved).data.startswith(str(tmp_path / "there"))
    assert Run.open(moved).store.count == 120


def test_a_copy_with_its_store_does_not_take_what_is_now_in_the_old_place(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    out = trained(tmp_path / "here", inside=True)
    root = Store.open(out / "store").root
    shutil.copytree(out, tmp_path / "copy")
    shutil.rmtree(out / "store")
    tiny_store(out / "store", seed=5)
    store = own_store(tmp_path / "copy", read_config(tmp_path / "copy"))
    assert store.root == root and store.folder == tmp_path / "copy" / "store"


def test_a_copy_without_its_store_refuses_another_one_in_the_old_place(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    out = trained(tmp_path / "here", inside=True)
    shutil.copytree(out, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "store")
    shutil.rmtree(out / "store")
    other = tiny_store(out / "store", seed=5)
    for use in (lambda run: run.store, lambda run: run.evaluate(quiet=True)):
        with pytest.raises(UsageError, match=r"is another one .*--data"):
            use(Run.open(tmp_path / "copy", device="cpu"))
    with pytest.warns(UserWarning, match="is not the store"):  # named, it is looked at: one teacher made both
        assert Run.open(tmp_path / "copy", device="cpu").evaluate(data=other, quiet=True).metrics


def test_a_store_that_is_gone_is_told_by_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = trained(tmp_path, inside=False)
    shutil.rmtree(tmp_path / "paths")
    for line in (
        ["evaluate", str(out)],
        ["analyze", str(out), "neighbours"],
        ["train", str(out), "--resume", "-o", "training.steps=4"],
    ):
        assert run([*line, "--device", "cpu"]) == 2
        said = capsys.readouterr().err
        assert f"the store that {out} learned from is gone (looked at {tmp_path}/paths, {out}/store" in said
        assert "move it back, or name it with --data" in said
    with pytest.raises(UsageError, match="is gone"):
        _ = Run.open(out).store
    assert run(["sample", str(out), "--count", "4", "--out", str(tmp_path / "x.npz"), "--device", "cpu"]) == 0


def test_a_damaged_store_is_not_told_as_gone(tmp_path: Path) -> None:
    out = trained(tmp_path, inside=False)
    (tmp_path / "paths" / "complete.json").write_text("{}")
    with pytest.raises(DamagedError, match=r"complete\.json"):
        own_store(out, read_config(out))
    (tmp_path / "paths" / "complete.json").unlink()
    with pytest.raises(UsageError, match="1 of 1 units committed"):
        own_store(out, read_config(out))
