"""A checkpoint holds everything, is whole or passed over, and belongs to its run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny_task import HERE, Regression, distance, numbers, settings

from koopstep.core.errors import DamagedError, StorageError, UsageError
from koopstep.core.files import read_json, write_json
from koopstep.core.tensors import load_tensors, save_tensors
from koopstep.training import checkpoint
from koopstep.training.checkpoint import checkpoints, load_latest, save_checkpoint
from koopstep.training.loop import TrainingState, train
from koopstep.training.settings import TrainingConfig

OURS = {"data": "abc", "training.steps": "10"}
OPTIMIZERS = ("adam", "adamw", "muon")


class _Wide(Regression):
    """With a matrix that Muon takes."""

    def __init__(self, discriminator: bool = False) -> None:
        super().__init__(discriminator=discriminator)
        torch.manual_seed(2)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(3, 32), torch.nn.Tanh(), torch.nn.Linear(32, 32), torch.nn.Linear(32, 2)
        )


def _config(optimizer: str = "adam", **changes: object) -> TrainingConfig:
    return settings(optimizer=optimizer, schedule="cosine", steps=10, **changes)


def _train(
    folder: Path, config: TrainingConfig, *, until: int, discriminator: bool = False, every: int = 2
) -> TrainingState:
    """Go on from what is in ``folder`` to step ``until``."""
    task = _Wide(discriminator)
    state = TrainingState(task, config)
    load_latest(folder, state, OURS)
    for report in train(task, state, config, HERE):
        if report.step % every == 0:
            save_checkpoint(folder, state, OURS, keep=3)
        if report.step == until:
            break
    return state


def _fresh(config: TrainingConfig, discriminator: bool = False) -> TrainingState:
    return TrainingState(_Wide(discriminator), config)


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << (place % 7)
    path.write_bytes(data)


@pytest.mark.parametrize("discriminator", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_going_on_gives_the_same_bits(tmp_path: Path, optimizer: str, discriminator: bool) -> None:
    straight = _train(tmp_path / "straight", _config(optimizer), until=10, discriminator=discriminator)
    for until in (2, 6, 10):
        state = _train(tmp_path / "stopped", _config(optimizer), until=until, discriminator=discriminator)
    assert distance(numbers(straight), numbers(state)) == 0
    for path in sorted((tmp_path / "straight" / "step-00000010").iterdir()):
        assert path.read_bytes() == (tmp_path / "stopped" / "step-00000010" / path.name).read_bytes()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_everything_comes_back(tmp_path: Path, optimizer: str) -> None:
    state = _train(tmp_path, _config(optimizer), until=4, discriminator=True)
    again = _fresh(_config(optimizer), discriminator=True)
    assert distance(numbers(state), numbers(again)) > 0
    assert load_latest(tmp_path, again, OURS) == "going on from step 4"
    assert again.step == 4
    assert distance(numbers(state), numbers(again)) == 0


def test_one_of_version_0_1_called_the_discriminator_a_critic(tmp_path: Path) -> None:
    state = _train(tmp_path, _config(), until=4, discriminator=True)
    folder = tmp_path / "step-00000004"
    described = read_json(folder / "state.json")
    files = described["files"]
    (folder / "discriminator.safetensors").rename(folder / "critic.safetensors")
    files["critic"] = files.pop("discriminator")
    memory, _ = load_tensors(folder / "optimizer.safetensors")
    before = {name.replace("discriminator.", "critic."): value for name, value in memory.items()}
    assert before.keys() != memory.keys()
    files["optimizer"] = save_tensors(folder / "optimizer.safetensors", before)
    described["identity"] = OURS | {"training.critic_betas": "null"}
    described.pop("sha256")
    write_json(folder / "state.json", described | {"sha256": checkpoint._digest(described)})
    again = _fresh(_config(), discriminator=True)
    load_latest(tmp_path, again, OURS | {"training.discriminator_betas": "null"})
    assert again.step == 4 and distance(numbers(state), numbers(again)) == 0


@pytest.mark.parametrize("version", [1, 2])
def test_a_training_that_knew_no_linearity_scale_had_the_states(tmp_path: Path, version: int) -> None:
    """Its weight means something else on another scale, so that it must not go on there without a word."""
    state = _train(tmp_path, _config(), until=4)
    folder = tmp_path / "step-00000004"
    described = read_json(folder / "state.json") | {"format": version}
    described["identity"] = OURS | {"objective.linearity": "0.1"}
    described.pop("sha256")
    write_json(folder / "state.json", described | {"sha256": checkpoint._digest(described)})
    again, now = _fresh(_config()), OURS | {"objective.linearity": "0.1"}
    with pytest.raises(UsageError, match='linearity_scale was "state", is now "spread"'):
        load_latest(tmp_path, again, now | {"objective.linearity_scale": '"spread"'})
    load_latest(tmp_path, again, now)
    assert again.step == 4 and distance(numbers(state), numbers(again)) == 0


def test_the_file_called_ema_is_the_average(tmp_path: Path) -> None:
    """In other code the file of that name held the raw weights."""
    state = _train(tmp_path, _config(), until=4)
    averaged, _ = load_tensors(tmp_path / "step-00000004" / "ema.safetensors")
    raw, _ = load_tensors(tmp_path / "step-00000004" / "student.safetensors")
    for name, value in state.average.model.state_dict().items():
        assert torch.equal(averaged[name], value)
        assert torch.equal(raw[name], state.model.state_dict()[name])
        assert not torch.equal(averaged[name], raw[name])


def test_nothing_there_is_a_fresh_start(tmp_path: Path) -> None:
    assert load_latest(tmp_path / "none", _fresh(_config()), OURS) is None


def test_old_ones_go(tmp_path: Path) -> None:
    _train(tmp_path, _config(), until=10)
    assert [step for step, _ in checkpoints(tmp_path)] == [6, 8, 10]


@pytest.mark.parametrize("name", ["state.json", "student.safetensors", "ema.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_damaged_one_is_passed_over(tmp_path: Path, name: str, harm: str) -> None:
    _train(tmp_path, _config(), until=6)
    path = tmp_path / "step-00000006" / name
    if harm == "flip":
        _flip(path, path.stat().st_size // 2)
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.unlink()
    state = _fresh(_config())
    note = load_latest(tmp_path, state, OURS)
    assert note is not None and note.startswith("going on from step 4; damaged and skipped: step-00000006 (")
    assert name in note and "\n" not in note
    assert state.step == 4


def test_every_flipped_bit_of_the_description_is_noticed(tmp_path: Path) -> None:
    _train(tmp_path, _config(), until=4)
    path = tmp_path / "step-00000004" / "state.json"
    whole = path.read_bytes()
    state = _fresh(_config())
    accepted = []
    for place in range(0, len(whole), 3):
        _flip(path, place)
        if load_latest(tmp_path, state, OURS) == "going on from step 4":
            accepted.append(whole[place - 5 : place + 5])
        path.write_bytes(whole)
    assert not [text for text in accepted if text.strip()]  # blanks between words say nothing


def test_the_damaged_one_is_made_again(tmp_path: Path) -> None:
    straight = _train(tmp_path / "straight", _config(), until=6)
    _train(tmp_path / "harmed", _config(), until=6)
    _flip(tmp_path / "harmed" / "step-00000006" / "ema.safetensors", 1000)
    _train(tmp_path / "harmed", _config(), until=6)  # from step 4
    state = _fresh(_config())
    assert load_latest(tmp_path / "harmed", state, OURS) == "going on from step 6"
    assert distance(numbers(straight), numbers(state)) == 0


def test_none_is_whole(tmp_path: Path) -> None:
    _train(tmp_path, _config(), until=6)
    for _, path in checkpoints(tmp_path):
        _flip(path / "student.safetensors", 500)
    with pytest.raises(DamagedError, match=r"no checkpoint .* is whole: step-00000006 .*step-00000002 "):
        load_latest(tmp_path, _fresh(_config()), OURS)


def test_half_written_and_half_removed_ones_do_not_count(tmp_path: Path) -> None:
    _train(tmp_path, _config(), until=4)
    shutil.copytree(tmp_path / "step-00000004", tmp_path / ".step-00000006.tmp-999999999-0-elsewhere")
    (tmp_path / "step-00000002" / "state.json").unlink()  # what a kill leaves while an old one is removed
    assert [step for step, _ in checkpoints(tmp_path)] == [2, 4]
    _train(tmp_path, _config(), until=10)
    assert [step for step, _ in checkpoints(tmp_path)] == [6, 8, 10]


def test_a_full_disk_leaves_the_older_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = _train(tmp_path, _config(), until=4)
    written = iter(range(10))
    save = checkpoint.save_tensors

    def full(*arguments: object) -> str:
        if next(written) == 2:
            raise StorageError("cannot write: no space left on device")
        return save(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save_tensors", full)
    state.step = 6
    with pytest.raises(StorageError):
        save_checkpoint(tmp_path, state, OURS, keep=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000004"]


@pytest.mark.parametrize("name", [*OURS, "more"])
def test_what_differs_is_named(tmp_path: Path, name: str) -> None:
    _train(tmp_path, _config(), until=2)
    state = _fresh(_config())
    before = numbers(state)
    with pytest.raises(UsageError, match=rf"{name} was {OURS.get(name)}, is now 1"):
        load_latest(tmp_path, state, OURS | {name: "1"})
    assert state.step == 0 and distance(before, numbers(state)) == 0


def test_many_differences_are_counted(tmp_path: Path) -> None:
    _train(tmp_path, _config(), until=2)
    with pytest.raises(UsageError, match="and 2 more"):
        load_latest(tmp_path, _fresh(_config()), dict.fromkeys("pqr", "x"))


def test_another_model(tmp_path: Path) -> None:
    _train(tmp_path, _config(), until=2)
    with pytest.raises(DamagedError, match="does not fit the model"):
        load_latest(tmp_path, TrainingState(Regression(), _config()), OURS)
