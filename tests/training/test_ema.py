"""The averaged weights are the average they claim to be."""

from __future__ import annotations

import pytest
import torch
from tiny_task import HERE, Regression, run, settings
from torch import nn

from koopstep.training.ema import AverageWeights
from koopstep.training.loop import TrainingState, train


@pytest.mark.parametrize("ramp", [0.05, 0.5, None])
def test_it_is_the_average_of_the_weights_of_each_step(ramp: float | None) -> None:
    task = Regression(torch.float64)
    config = settings(steps=40, learning_rate=0.05, ema_halflife_images=200.0, ema_ramp=ramp)
    state = TrainingState(task, config)
    expected = {name: value.clone() for name, value in task.model.state_dict().items()}
    for report in train(task, state, config, HERE):
        halflife = 200.0 if ramp is None else min(200.0, ramp * report.step * 16)
        keep = 2 ** (-16 / halflife)
        for name, value in task.model.state_dict().items():
            expected[name] = keep * expected[name] + (1 - keep) * value
    for name, value in state.average.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-13)
        assert not torch.equal(value, task.model.state_dict()[name])


@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_the_halflife_is_counted_in_images(batch_size: int) -> None:
    model = nn.Linear(2, 2).double()
    average = AverageWeights(model, halflife_images=128.0, ramp=None)
    before = average.model.weight.clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    for seen in range(batch_size, 128 + 1, batch_size):
        average.update(model, seen, batch_size)
    torch.testing.assert_close(average.model.weight - before, torch.full((2, 2), 0.5).double(), rtol=0, atol=1e-12)


def test_the_ramp_forgets_the_start() -> None:
    average = AverageWeights(nn.Linear(1, 1), halflife_images=1e6, ramp=0.05)
    assert average.decay(100, 100) < 1e-5
    assert average.decay(10_000, 100) == pytest.approx(0.5 ** (100 / 500))
    assert average.decay(10**9, 100) == pytest.approx(0.5 ** (100 / 1e6))


def test_no_halflife_is_no_average() -> None:
    state, _ = run(Regression(), settings(ema_halflife_images=0.0))
    for name, value in state.average.model.state_dict().items():
        assert torch.equal(value, state.model.state_dict()[name])


def test_it_is_apart_from_the_model() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = AverageWeights(model, halflife_images=10.0)
    assert not average.model.training and model.training
    assert not any(p.requires_grad for p in average.model.parameters())
    model(torch.randn(4, 2))
    average.update(model, 4, 4)
    assert torch.equal(average.model[1].running_mean, model[1].running_mean)  # buffers are copied, not averaged
    assert average.model[0].weight.data_ptr() != model[0].weight.data_ptr()
