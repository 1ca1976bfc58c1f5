"""What makes training faster changes nothing but rounding: layouts, compilation, fused steps, reading ahead, float16."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
import torch
from tiny_task import HERE, Regression, distance, distillation, numbers, paths, run, settings
from torch import Tensor, nn

from koopstep.core.errors import NumericsError, UsageError
from koopstep.data.prefetch import ReadAhead
from koopstep.training.checkpoint import load_latest, save_checkpoint
from koopstep.training.distillation import Distillation
from koopstep.training.loop import Losses, TrainingState, train


class Pictures(Regression):
    """The same with convolutions."""

    def __init__(self, *, discriminator: bool = False) -> None:
        super().__init__(discriminator=discriminator)
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 2, 3))

    def losses(self, step: int, rows: slice) -> Losses:
        x = torch.randn(self.batch_size, 2, 6, 6, generator=torch.Generator().manual_seed(step))[rows]
        error = (self.model(x) - x[:, :, 1:5, 1:5].sin()).square().mean()
        discriminator = None if self.discriminator is None else self.discriminator(x.flatten(1)[:, :2]).square().mean()
        return Losses(error, {"error": error}, discriminator)


def result(**changes: object) -> dict[str, Tensor]:
    return numbers(run(Pictures(), settings(**changes))[0])


def test_channels_last_and_fused_steps_change_rounding_only() -> None:
    plain = result()
    assert distance(plain, result(channels_last=True)) < 1e-5
    assert distance(plain, result(fused=True)) < 1e-5
    state, _ = run(Pictures(), settings(channels_last=True))
    assert next(state.model.parameters()).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on the way to its compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs g++")
def test_a_compiled_model_learns_the_same_under_the_same_names(tmp_path: Path) -> None:
    state, _ = run(Pictures(), settings(compile=True, steps=4))
    assert state.model._compiled_call_impl is not None
    assert distance(result(steps=4), numbers(state)) < 1e-5
    save_checkpoint(tmp_path, state, {}, 1)
    assert load_latest(tmp_path, TrainingState(Pictures(), settings(steps=4)), {}) == "going on from step 4"


def test_no_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UsageError, match=r"g\+\+.*training\.compile=false"):
        TrainingState(Pictures(), settings(compile=True))


def test_the_discriminator_has_its_own_learning_rate() -> None:
    state, _ = run(
        Pictures(discriminator=True),
        settings(discriminator_learning_rate=0.001, discriminator_betas=(0.5, 0.9), steps=2),
    )
    (group,) = state.optimizers["discriminator"].param_groups
    assert group["lr"] == pytest.approx(0.001) and tuple(group["betas"]) == (0.5, 0.9)
    (own,) = state.optimizers["adam"].param_groups
    assert own["lr"] == pytest.approx(0.01)


def test_reading_ahead_reads_the_same_batches_in_another_thread(tmp_path: Path) -> None:
    store = paths(tmp_path / "store")
    config = settings(steps=6, micro_batch=4)

    def task(ahead: bool) -> Distillation:
        made = distillation(store)
        made._batches = ReadAhead(made._read, ahead=ahead)
        return made

    assert distance(numbers(run(task(False), config)[0]), numbers(run(task(True), config)[0])) == 0
    readers: list[str] = []

    def read(step: int, rows: slice) -> int:
        readers.append(threading.current_thread().name)
        if step == 3:
            raise UsageError("no such row")
        return step

    ahead = ReadAhead(read, ahead=True)
    assert [ahead.get(step, slice(0, 4)) for step in range(3)] == [0, 1, 2]
    assert "MainThread" in readers[0] and all("read-ahead" in name for name in readers[1:])
    with pytest.raises(UsageError, match="no such row"):
        ahead.get(3, slice(0, 4))
    assert ahead.get(9, slice(0, 4)) == 9  # a resumed run may ask for any step


def test_float16_learns_and_goes_on_from_its_loss_scale(tmp_path: Path) -> None:
    config = settings(autocast="float16", steps=12)
    state, reports = run(Pictures(), config)
    assert reports[-1].total < reports[0].total and next(state.model.parameters()).dtype == torch.float32
    task = Pictures()
    cut = TrainingState(task, config)
    for report in train(task, cut, config, HERE):
        if report.step == 5:
            cut.scaler.update(1024.0)
            save_checkpoint(tmp_path, cut, {}, 1)
            break
    again = TrainingState(Pictures(), config)
    load_latest(tmp_path, again, {})
    assert again.step == 5 and again.scaler.get_scale() == 1024.0


def test_float16_leaves_out_steps_that_overflow_and_gives_up_at_last() -> None:
    class Steep(Pictures):
        factor = 100.0

        def losses(self, step: int, rows: slice) -> Losses:
            found = super().losses(step, rows)
            return Losses(found.total * self.factor, found.terms)

    config = settings(autocast="float16", steps=20)
    task = Steep()
    state, _ = run(task, config)
    assert 0 < state.skipped < 20 and all(bool(p.isfinite().all()) for p in task.model.parameters())
    hopeless = Steep()
    hopeless.factor = 1e30
    before = {name: value.clone() for name, value in hopeless.model.state_dict().items()}
    with pytest.raises(NumericsError, match="overflows float16"):
        run(hopeless, settings(autocast="float16", steps=200))
    assert all(torch.equal(value, before[name]) for name, value in hopeless.model.state_dict().items())
