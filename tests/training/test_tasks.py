"""The two tasks: what a step sees depends on the step only, and rows add up to the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_task import HERE, distance, distillation, numbers, paths, run, settings
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.data.sources import FixedSet
from koopstep.data.store import Store
from koopstep.training.denoising import Denoising
from koopstep.training.loop import Losses

OPERATORS: list[dict[str, object]] = [
    {"kind": "dense"},
    {"kind": "dense", "continuous": True, "affine": True},
    {"kind": "factorised"},
    {"kind": "spectral"},
    {"kind": "spectral", "orthogonal": True},
    {"kind": "block"},
    {"kind": "block", "modulation": "local"},
    {"kind": "identity"},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return paths(tmp_path_factory.mktemp("paths"))


def _values(losses: Losses) -> dict[str, float]:
    found = losses.terms | {"total": losses.total}
    return {name: value.item() for name, value in found.items()} | (
        {} if losses.discriminator is None else {"discriminator": losses.discriminator.item()}
    )


def test_a_step_is_a_function_of_its_number(store: Store) -> None:
    task = distillation(store, adversarial=0.1)
    forwards = [_values(task.losses(step, slice(0, 16))) for step in range(6)]
    backwards = [
        _values(distillation(store, adversarial=0.1).losses(step, slice(0, 16))) for step in (5, 4, 3, 2, 1, 0)
    ]
    assert forwards == backwards[::-1]
    assert len({value["prediction"] for value in forwards}) == 6


def test_rows_add_up_to_the_batch(store: Store) -> None:
    task = distillation(store, adversarial=0.1)
    whole = _values(task.losses(2, slice(0, 16)))
    parts = [_values(task.losses(2, slice(start, start + 4))) for start in (8, 0, 12, 4)]
    for name, value in whole.items():
        assert sum(part[name] for part in parts) / 4 == pytest.approx(value, abs=1e-12)


def test_held_out_rows_are_never_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    task, seen = distillation(store), []
    batch = store.batch
    monkeypatch.setattr(store, "batch", lambda rows: seen.extend(rows) or batch(rows))
    for step in range(20):
        task.losses(step, slice(0, 16))
    assert set(seen) == set(store.training_rows())


@pytest.mark.parametrize("adversarial", [0.0, 0.3])
def test_accumulation_changes_nothing(store: Store, adversarial: float) -> None:
    whole, _ = run(distillation(store, adversarial=adversarial), settings(gradient_clip=1.0))
    parts, _ = run(distillation(store, adversarial=adversarial), settings(gradient_clip=1.0, micro_batch=2))
    assert distance(numbers(whole), numbers(parts)) < 1e-12


@pytest.mark.parametrize("term", ["trajectory", "linearity", "generator", "adversarial_within"])
def test_a_discrete_operator_has_no_place_within_the_path(store: Store, term: str) -> None:
    with pytest.raises(UsageError, match="a discrete operator only makes whole steps"):
        distillation(store, operator={"kind": "factorised"}, adversarial=0.1, **{term: 1.0})
    distillation(store, operator={"kind": "spectral"}, adversarial=0.1, **{term: 1.0})


def test_latent_noise_is_there_and_differs_from_step_to_step(store: Store) -> None:
    still, noisy = distillation(store, latent_noise=0.0), distillation(store, latent_noise=1.0)
    for step in range(2):
        rows = slice(0, 16)
        assert _values(still.losses(step, rows))["prediction"] != _values(noisy.losses(step, rows))["prediction"]
    jitters = [noisy._jitter(step, slice(0, 16)) for step in (0, 1)]
    assert jitters[0] is not None and jitters[1] is not None and not torch.equal(*jitters)
    assert tuple(jitters[0].shape) == (2, 16, 6)
    assert torch.equal(noisy._jitter(0, slice(4, 8)), jitters[0][:, 4:8])  # type: ignore[arg-type]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: "-".join(map(str, operator.values())))
def test_every_operator_learns_in_bfloat16(store: Store, operator: dict[str, object]) -> None:
    weights: dict[str, object] = {"spectral": 0.01} if operator["kind"] in ("factorised", "spectral") else {}
    if operator["kind"] == "factorised":
        weights["inverse_consistency"] = 0.01
    task = distillation(store, operator=operator, dtype=torch.float32, adversarial=0.01, **weights)
    state, reports = run(task, settings(autocast="bfloat16", steps=40))
    assert {value.dtype for value in numbers(state).values()} == {torch.float32}
    assert reports[-1].terms["prediction"] < reports[0].terms["prediction"]


def test_terms_that_are_switched_off_leave_their_networks_alone(store: Store) -> None:
    """The control `direct` trains neither the data encoder nor anything else that sampling does not need."""
    task = distillation(store, operator={"kind": "identity"}, reconstruction=0.0, latent=0.0)
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    run(task, settings())
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, before[name]) == ("data_encoder" in name)


class _Labelled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))


def _denoising(conditional: bool, seen: list[tuple[Tensor, Tensor | None, Tensor]]) -> Denoising:
    def loss(model: nn.Module, data: Tensor, labels: Tensor | None, draw: Tensor) -> Tensor:
        seen.append((data, labels, draw))
        return model.weight * (data.square().mean() + draw.square().mean())  # type: ignore[no-any-return, operator]

    data = torch.arange(60.0).reshape(20, 3)
    source = FixedSet("numbers", data, torch.arange(20) % 4)
    return Denoising(_Labelled(), loss, source, conditional=conditional, batch_size=8, seed=5, place=HERE)


def test_class_labels_reach_conditional_teachers_only() -> None:
    seen: list[tuple[Tensor, Tensor | None, Tensor]] = []
    _denoising(False, seen).losses(0, slice(0, 8))
    _denoising(True, seen).losses(0, slice(0, 8))
    (data, labels, draw), (_, asked, _) = seen
    assert labels is None
    assert asked is not None and torch.equal(asked, (data[:, 0] / 3).long() % 4)
    assert tuple(draw.shape) == (8, 4)


def test_denoising_steps_are_functions_of_their_number() -> None:
    seen: list[tuple[Tensor, Tensor | None, Tensor]] = []
    task = _denoising(True, seen)
    for step, rows in ((1, slice(0, 8)), (0, slice(0, 8)), (1, slice(2, 6))):
        torch.rand(3)
        task.losses(step, rows)
    first, other, part = seen
    assert all(torch.equal(one[2:6], two) for one, two in zip(first, part, strict=True))  # type: ignore[arg-type, index]
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[2], other[2])


def test_no_rows_to_train_on(tmp_path: Path) -> None:
    from koopstep.data.collect import CollectSettings, collect
    from koopstep.teachers.analytic import gaussian_teacher

    teacher = gaussian_teacher(torch.zeros(2), torch.eye(2))
    with pytest.raises(UsageError):
        for _ in collect(teacher, tmp_path / "store", CollectSettings(count=4, steps=2, hold_out=4)):
            pass
        distillation(Store.open(tmp_path / "store"))
