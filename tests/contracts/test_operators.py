"""What every operator promises, over every member of the table and the options that matter."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from koopstep.core.config import Config
from koopstep.core.errors import NumericsError, UsageError
from koopstep.operators.base import Operator
from koopstep.operators.dense import DenseConfig
from koopstep.operators.spectral import SpectralConfig
from koopstep.operators.table import OPERATORS, build_operator

OPTIONS: dict[str, Config] = {
    "dense-affine": DenseConfig(affine=True, init="default"),
    "dense-continuous": DenseConfig(continuous=True, init="default"),
    "dense-continuous-affine": DenseConfig(continuous=True, affine=True, init="default"),
    "spectral-orthogonal": SpectralConfig(orthogonal=True),
    "spectral-free": SpectralConfig(stable=False, basis="identity", initial_rate=0.1),
}
MEMBERS: dict[str, Config] = {kind: entry.config() for kind, entry in OPERATORS.items()} | OPTIONS
SIZES = (1, 2, 5, 8)
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def make(name: str, dimension: int = 6, *, move: float = 0.15) -> Operator:
    """An operator in float64, its weights moved off the start so that no symmetry of the start helps."""
    operator = build_operator(MEMBERS[name], dimension, seed=7).double()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in operator.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(move * noise / math.sqrt(dimension))
    return operator


def rows(count: int, dimension: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=sorted(MEMBERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def steps_of(operator: Operator) -> tuple[float, ...]:
    return (-0.7, 0.3, 1.0, 2.5) if operator.continuous else (1.0,)


def test_the_table_and_the_configs_agree_on_names() -> None:
    for kind, entry in OPERATORS.items():
        assert entry.config().model_dump()["kind"] == kind


@pytest.mark.parametrize("dimension", SIZES)
def test_flow_in_u(name: str, dimension: int) -> None:
    operator = make(name, dimension)
    latent, condition = rows(3, dimension), rows(3, dimension, seed=1)
    if not operator.continuous:
        for du in (0.5, -1.0, torch.tensor(2.0), torch.tensor([1.0, 0.0, 0.5])):
            with pytest.raises(UsageError, match="discrete"):
                operator.evolve(latent, du)
        return
    for control in (None, condition):
        for first, second in ((0.3, 0.7), (-0.4, 1.1), (1e-6, 1.5), (0.5, -0.5)):
            two = operator.evolve(operator.evolve(latent, first, control), second, control)
            torch.testing.assert_close(two, operator.evolve(latent, first + second, control), **EXACT)
        there_and_back = operator.evolve(operator.evolve(latent, 0.8, control), -0.8, control)
        torch.testing.assert_close(there_and_back, latent, **EXACT)


def test_no_step_is_the_identity_bit_for_bit(name: str) -> None:
    operator, latent = make(name), rows(4, 6)
    for mode in (True, False):
        operator.train(mode)
        for du in (0.0, torch.tensor(0.0), torch.zeros(4), torch.zeros(4, 1)):
            assert torch.equal(operator.evolve(latent, du), latent)
            assert torch.equal(operator.evolve(latent, du, rows(4, 6, seed=1)), latent)
    mixed = operator.evolve(latent, torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64))
    assert torch.equal(mixed[::2], latent[::2])
    torch.testing.assert_close(mixed[1::2], operator.evolve(latent[1::2], 1.0), **EXACT)
    assert torch.equal(operator.matrix(0.0), torch.eye(6, dtype=torch.float64))


@pytest.mark.parametrize("dimension", SIZES)
def test_matrix_is_what_evolve_applies(name: str, dimension: int) -> None:
    operator = make(name, dimension)
    basis, origin = torch.eye(dimension, dtype=torch.float64), torch.zeros(1, dimension, dtype=torch.float64)
    for du in steps_of(operator):
        shift = operator.evolve(origin, du)
        torch.testing.assert_close((operator.evolve(basis, du) - shift).T, operator.matrix(du), **EXACT)
        if du == 1.0:
            bias = operator.bias()
            torch.testing.assert_close(shift[0], torch.zeros(dimension).double() if bias is None else bias)
        as_tensor = operator.matrix(torch.tensor(du, dtype=torch.float64))
        torch.testing.assert_close(as_tensor, operator.matrix(du), rtol=0, atol=0)


@pytest.mark.parametrize("dimension", SIZES)
def test_spectrum_is_that_of_the_matrix(name: str, dimension: int) -> None:
    operator = make(name, dimension)
    spectrum = operator.spectrum()
    assert spectrum.eigenvalues.dtype == torch.complex128
    assert not spectrum.eigenvalues.requires_grad
    assert (spectrum.gauge, spectrum.pinned_by) == ("free", "")
    expected = torch.linalg.eigvals(operator.matrix().detach())
    matched(spectrum.eigenvalues, expected, 1e-6)
    matched(spectrum.eigenvalues, spectrum.eigenvalues.conj(), 1e-9)
    real, imag = operator.controlled_eigenvalues()
    controlled = torch.complex(real.detach(), imag.detach())
    matched(controlled, spectrum.eigenvalues if spectrum.lifted is None else spectrum.lifted, 1e-6)
    assert sum(mode.multiplicity for mode in spectrum.modes()) == dimension


def matched(left: Tensor, right: Tensor, tolerance: float) -> None:
    """The same multiset up to a tolerance: nearest partners are taken one after the other."""
    waiting = right.tolist()
    for value in left.tolist():
        nearest = min(range(len(waiting)), key=lambda index: abs(waiting[index] - value))
        assert abs(waiting.pop(nearest) - value) < tolerance
    assert not waiting


def test_gradients(name: str) -> None:
    operator = make(name, 3)
    parameters = tuple(parameter.detach().clone().requires_grad_() for parameter in operator.parameters())
    names = [key for key, _ in operator.named_parameters()]

    def apply(latent: Tensor, condition: Tensor, du: Tensor, *weights: Tensor) -> Tensor:
        inputs = (latent, du if operator.continuous else 1.0, condition)
        return torch.func.functional_call(operator, dict(zip(names, weights, strict=True)), inputs)

    operator.forward = operator.evolve  # type: ignore[assignment]
    for du in (torch.tensor(0.6, dtype=torch.float64), torch.tensor([0.4, -0.2], dtype=torch.float64)):
        inputs = (
            rows(2, 3).requires_grad_(),
            rows(2, 3, seed=1).requires_grad_(),
            du.requires_grad_(),
            *parameters,
        )
        assert torch.autograd.gradcheck(apply, inputs)


def test_rows_do_not_depend_on_the_batch(name: str) -> None:
    operator = make(name, 6)
    latent, condition = rows(40, 6), rows(40, 6, seed=1)
    du = torch.linspace(-0.5, 1.5, 40).double() if operator.continuous else torch.ones(40).double()
    for mode in (True, False):
        operator.train(mode)
        with torch.set_grad_enabled(mode):
            for step in (torch.ones(40).double(), du):
                together = operator.evolve(latent, step, condition)
                alone = [operator.evolve(latent[[i]], float(step[i]), condition[[i]]) for i in range(40)]
                torch.testing.assert_close(together, torch.cat(alone), **EXACT)
            alone = [operator.evolve(latent[[i]], 1.0, condition[[i]]) for i in range(40)]
            torch.testing.assert_close(operator.evolve(latent, 1.0, condition), torch.cat(alone), **EXACT)


def test_saved_and_loaded(name: str) -> None:
    operator, fresh = make(name), build_operator(MEMBERS[name], 6, seed=99).double()
    fresh.load_state_dict(copy.deepcopy(operator.state_dict()))
    latent, condition = rows(4, 6), rows(4, 6, seed=1)
    assert torch.equal(operator.evolve(latent, 1.0, condition), fresh.evolve(latent, 1.0, condition))
    again, other = (build_operator(MEMBERS[name], 6, seed=s).state_dict() for s in (3, 3))
    assert all(torch.equal(again[key], other[key]) for key in again)


def test_control_input(name: str) -> None:
    operator, latent, condition = make(name), rows(4, 6), rows(4, 6, seed=1)
    with_control, without = operator.evolve(latent, 1.0, condition), operator.evolve(latent, 1.0)
    if not operator.continuous:
        torch.testing.assert_close(with_control, without + condition, **EXACT)
    # affine: the control adds the same wherever it starts, and in proportion
    start = torch.zeros_like(latent)
    added = operator.evolve(start, 1.0, condition) - operator.evolve(start, 1.0)
    torch.testing.assert_close(with_control - without, added, **EXACT)
    twice = operator.evolve(start, 1.0, 2 * condition) - operator.evolve(start, 1.0)
    torch.testing.assert_close(twice, 2 * added, **EXACT)


def test_dtypes_and_autocast(name: str) -> None:
    operator, latent = make(name).float(), rows(4, 6).float()
    plain = operator.evolve(latent)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(operator.evolve(latent), plain)
    assert operator.evolve(latent.bfloat16()).dtype == torch.bfloat16


def test_wrong_inputs_are_named(name: str) -> None:
    operator = make(name)
    with pytest.raises(UsageError, match=r"\(4, 5\).*\(batch, 6\)"):
        operator.evolve(rows(4, 5))
    with pytest.raises(UsageError, match="condition"):
        operator.evolve(rows(4, 6), 1.0, rows(4, 5))
    with pytest.raises(UsageError, match="du has shape"):
        operator.evolve(rows(4, 6), torch.ones(3))
    with pytest.raises(UsageError, match="dimension is 0"):
        build_operator(MEMBERS[name], 0, seed=0)


def test_a_broken_operator_has_no_spectrum(name: str) -> None:
    operator = make(name)
    if not list(operator.parameters()):
        return
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(NumericsError, match="NaN or infinity"):
        operator.spectrum()
