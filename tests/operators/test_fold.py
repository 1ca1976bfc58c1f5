"""The folded map is the operator, is worked out once, and never outlives the weights it came from.

The speed is measured by benchmarks/fold_factorised.py: a ratio of times is no test for a shared machine.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from koopstep.core.config import Config
from koopstep.operators.dense import DenseConfig
from koopstep.operators.flat import FlatOperator
from koopstep.operators.table import OPERATORS, build_operator

CONFIGS: dict[str, Config] = {
    kind: entry.config()
    for kind, entry in OPERATORS.items()
    if issubclass(entry.build, FlatOperator)  # type: ignore[arg-type]
} | {
    "dense-flow": DenseConfig(continuous=True, affine=True, init="default"),
}
KINDS = sorted(CONFIGS)


def make(kind: str, dimension: int = 48) -> FlatOperator:
    operator = build_operator(CONFIGS[kind], (dimension,), seed=0)  # type: ignore[arg-type]
    assert isinstance(operator, FlatOperator)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return operator


def rows(seed: int = 0) -> Tensor:
    return torch.randn(9, 48, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("control", [None, rows(1)])
def test_folded_is_unfolded(kind: str, control: Tensor | None) -> None:
    operator = make(kind)
    unfolded = operator.evolve(rows(), 1.0, control).detach()
    operator.eval()
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert float((operator.evolve(rows(), 1.0, control) - unfolded).abs().max()) < 1e-5
    matrix, bias = operator.folded()
    by_hand = rows() @ matrix.T + (0 if bias is None else bias)
    torch.testing.assert_close(by_hand, operator.evolve(rows()).detach(), rtol=1e-5, atol=1e-5)
    assert not matrix.requires_grad
    assert not matrix.is_inference()


@pytest.mark.parametrize("kind", KINDS)
def test_worked_out_once_and_never_stale(kind: str) -> None:
    operator = make(kind).eval()
    with torch.no_grad():
        first = operator.folded()[0]
        assert operator.folded()[0] is first
        operator.evolve(rows())
        assert operator.folded()[0] is first

        next(operator.parameters()).mul_(0.9)  # in place, as optimizers and averages do
        check(operator)
        operator.load_state_dict(make(kind).state_dict())
        check(operator)
        operator.load_state_dict({k: v * 0.8 for k, v in operator.state_dict().items()}, assign=True)
        check(operator)
        operator.double()
        assert operator.folded()[0].dtype == torch.float64
        operator.float()
        check(operator)
        twin = copy.deepcopy(operator)
        next(twin.parameters()).mul_(0.5)
        check(twin)
        check(operator)
        next(operator.parameters()).data.mul_(0.5)  # unseen by version counters
        operator.unfold()
        check(operator)
    operator.train()
    assert operator.folded()[0] is not operator.folded()[0]


def check(operator: FlatOperator) -> None:
    operator_in_training = copy.deepcopy(operator).train()
    torch.testing.assert_close(operator.evolve(rows()), operator_in_training.evolve(rows()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_in_eval_mode(kind: str) -> None:
    operator = make(kind).eval()
    with torch.no_grad():
        operator.evolve(rows())
    operator.evolve(rows()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in operator.parameters())


def test_a_frozen_operator_passes_gradients_to_its_input() -> None:
    operator = make("factorised").eval().requires_grad_(False)
    with torch.inference_mode():
        operator.evolve(rows())  # folded here first; the kept map must still serve autograd below
    latent = rows().requires_grad_()
    operator.evolve(latent).sum().backward()
    assert latent.grad is not None
    torch.testing.assert_close(latent.grad[0], operator.folded()[0].sum(dim=0), rtol=1e-4, atol=1e-5)
