"""The loop: accumulation, clipping, precision, the order of the data, and what is not finite."""

from __future__ import annotations

import itertools

import pytest
import torch
from tiny_task import HERE, Regression, distance, numbers, run, settings

from koopstep.core.errors import NumericsError
from koopstep.training.loop import Losses, TrainingState, train
from koopstep.training.settings import TrainingConfig


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("micro_batch", [1, 4, 8])
def test_accumulation_changes_nothing(micro_batch: int, optimizer: str) -> None:
    whole, reports = run(Regression(torch.float64, discriminator=True), settings(optimizer=optimizer))
    parts, again = run(
        Regression(torch.float64, discriminator=True), settings(optimizer=optimizer, micro_batch=micro_batch)
    )
    assert distance(numbers(whole), numbers(parts)) < 1e-12
    for one, other in zip(reports, again, strict=True):
        assert one.total == pytest.approx(other.total, abs=1e-12)
        assert one.terms == pytest.approx(other.terms, abs=1e-12)


def test_reports() -> None:
    task = Regression(discriminator=True)
    state, reports = run(task, settings(schedule="cosine", warmup_steps=2))
    assert [report.step for report in reports] == list(range(1, 11))
    assert state.step == 10
    assert set(reports[0].terms) == {"error", "size", "discriminator"}
    assert reports[0].total == pytest.approx(reports[0].terms["error"] + 0.1 * reports[0].terms["size"], rel=1e-6)
    assert reports[-1].total < reports[0].total
    assert [report.learning_rate for report in reports] == [state_rate(step) for step in range(10)]
    assert all(report.seconds > 0 for report in reports)


def state_rate(step: int) -> float:
    return settings(schedule="cosine", warmup_steps=2).rate_at(step)


def test_the_state_is_complete_after_each_report() -> None:
    task, config = Regression(), settings()
    state = TrainingState(task, config)
    for report in itertools.islice(train(task, state, config, HERE), 4):
        assert report.step == state.step
    for report in train(task, state, config, HERE):  # a new generator goes on
        assert report.step == state.step
    assert distance(numbers(state), numbers(run(Regression(), config)[0])) == 0


def test_what_is_asked_depends_on_the_step_only() -> None:
    task = Regression()
    run(task, settings(steps=3, micro_batch=8))
    assert task.asked == [(step, slice(start, start + 8)) for step in range(3) for start in (0, 8)]


def test_random_numbers_inside_the_model_do_not_depend_on_what_ran_before() -> None:
    config = settings(steps=6)
    straight, _ = run(Regression(dropout=0.5), config)
    task = Regression(dropout=0.5)
    state = TrainingState(task, config)
    for _ in train(task, state, config, HERE):
        torch.rand(7)  # somebody else uses the global generator
    assert distance(numbers(straight), numbers(state)) == 0
    other, _ = run(Regression(dropout=0.5), settings(steps=6, seed=1))
    assert distance(numbers(straight), numbers(other)) > 0


def test_the_gradient_is_clipped_to_its_norm() -> None:
    free, _ = run(Regression(), settings(steps=1))
    clipped, _ = run(Regression(), settings(steps=1, gradient_clip=0.01))
    norms = [torch.stack([p.grad.norm() for p in state.model.parameters()]).norm() for state in (free, clipped)]  # type: ignore[union-attr]
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


class _Duel(Regression):
    """Both sides' losses run through both networks."""

    def losses(self, step: int, rows: slice) -> Losses:
        assert self.discriminator is not None
        judged = self.discriminator(self.model(torch.ones(16, 3, dtype=self.dtype))).mean()
        return Losses(judged.square(), {"adversarial": judged.square()}, (judged - 1).square())


def test_each_loss_reaches_its_own_side_only() -> None:
    task = _Duel(torch.float64, discriminator=True)
    run(task, settings(steps=1))
    other = _Duel(torch.float64, discriminator=True)
    assert other.discriminator is not None and task.discriminator is not None
    losses = other.losses(0, slice(0, 16))
    assert losses.discriminator is not None
    for side, trained, loss in (
        (other.model, task.model, losses.total),
        (other.discriminator, task.discriminator, losses.discriminator),
    ):
        wanted = torch.autograd.grad(loss, list(side.parameters()), retain_graph=True)
        for gradient, parameter in zip(wanted, trained.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-14)


def test_bfloat16_keeps_float32_weights() -> None:
    task, seen = Regression(), set()
    task.model[0].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    state, reports = run(task, settings(autocast="bfloat16", steps=30))
    assert seen == {torch.bfloat16}
    assert {value.dtype for value in numbers(state).values()} == {torch.float32}
    assert reports[-1].total < reports[0].total


_STEPS = (0, 3, 7)
_VALUES = (float("nan"), float("inf"), float("-inf"))


def _stopped(task: Regression, step: int) -> str:
    """Train until it stops at ``step``; everything must be as that step found it."""
    config = settings(gradient_clip=1.0)
    state = TrainingState(task, config)
    reports = train(task, state, config, HERE)
    for _ in range(step):
        next(reports)
    before = numbers(state)
    with pytest.raises(NumericsError) as caught:
        next(reports)
    assert distance(before, numbers(state)) == 0
    assert state.step == step
    assert f"step {step + 1}:" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    return str(caught.value)


@pytest.mark.parametrize("bad", _VALUES)
@pytest.mark.parametrize("step", _STEPS)
def test_a_term_that_is_not_finite_stops_before_it_does_harm(step: int, bad: float) -> None:
    task = Regression(discriminator=True)
    task.poison = lambda now, value: value * bad if now == step else value
    assert "'error'" in _stopped(task, step)


@pytest.mark.parametrize("bad", _VALUES)
@pytest.mark.parametrize("step", _STEPS)
def test_data_that_is_not_finite(step: int, bad: float) -> None:
    task = Regression()
    task.poison_data = lambda now, x: torch.where(torch.arange(len(x))[:, None] == 5, bad, x) if now == step else x
    task.model[1] = torch.nn.Identity()
    assert "'error'" in _stopped(task, step)


@pytest.mark.parametrize("step", _STEPS)
def test_a_gradient_that_is_not_finite(step: int) -> None:
    task = Regression()
    task.poison = lambda now, value: value + (value * 0).sqrt() if now == step else value  # 0, but its slope is not
    assert "gradient" in _stopped(task, step)


def test_one_bad_micro_batch_is_enough() -> None:
    task = Regression()
    calls = itertools.count()
    task.poison = lambda now, value: value * float("nan") if next(calls) == 6 else value
    config = settings(micro_batch=4)
    state = TrainingState(task, config)
    reports = train(task, state, config, HERE)
    next(reports)
    with pytest.raises(NumericsError, match="step 2: the term 'error'"):
        next(reports)


def test_the_callers_random_numbers_are_left_alone() -> None:
    task = Regression(dropout=0.5, discriminator=True)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(task, settings(steps=3, micro_batch=8))
    assert torch.equal(torch.get_rng_state(), before)
    steps = train(task, TrainingState(task, settings(steps=2)), settings(steps=2), HERE)
    next(steps)
    drawn = torch.rand(1)  # between two steps, too
    next(steps)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


def test_a_warm_up_longer_than_the_training_is_said_aloud() -> None:
    given = {"batch_size": 8, "learning_rate": 1e-3}
    assert TrainingConfig(steps=100, warmup_steps=99, **given).note() is None
    note = TrainingConfig(steps=100, warmup_steps=200, **given).note()
    assert note is not None
    assert "ends at 0.0005 and never reaches 0.001" in note and "training.warmup_steps" in note
