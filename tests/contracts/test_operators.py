"""What every operator promises, over every member of the table, the options that matter, flat levels and feature maps."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from koopstep.core.config import Config
from koopstep.core.errors import NumericsError, UsageError
from koopstep.operators.base import LARGEST_MATRIX, Operator
from koopstep.operators.block import BlockConfig
from koopstep.operators.dense import DenseConfig
from koopstep.operators.flat import FlatOperator
from koopstep.operators.modes import ModesOperatorConfig
from koopstep.operators.spectral import SpectralConfig
from koopstep.operators.table import OPERATORS, build_operator

OPTIONS: dict[str, Config] = {
    "block-decaying": BlockConfig(initial_rate=-0.5),
    "block-channel": BlockConfig(sharing="channel"),
    "modes": ModesOperatorConfig(modes=1),
    "modes-none": ModesOperatorConfig(modes=0),
    "modes-real": ModesOperatorConfig(modes=2, real=1),
    "modes-fixed": ModesOperatorConfig(modes=1, rates="fixed", growth_rates=(-0.5, -1.0), rotation_rates=(0.7,)),
    "block-low-rank": BlockConfig(sharing="low_rank", rank=2),
    "block-none": BlockConfig(sharing="none"),
    "dense-affine": DenseConfig(affine=True, init="default"),
    "dense-continuous": DenseConfig(continuous=True, init="default"),
    "dense-continuous-affine": DenseConfig(continuous=True, affine=True, init="default"),
    "spectral-orthogonal": SpectralConfig(orthogonal=True),
    "spectral-free": SpectralConfig(stable=False, basis="identity", initial_rate=0.1),
}
STATE_DEPENDENT: dict[str, Config] = {
    "block-local": BlockConfig(modulation="local"),
    "block-pooled": BlockConfig(modulation="pooled"),
    "modes-of-noise": ModesOperatorConfig(modes=0, shared_by="noise"),
}
LINEAR: dict[str, Config] = {kind: entry.config() for kind, entry in OPERATORS.items()} | OPTIONS
MEMBERS = LINEAR | STATE_DEPENDENT
SHAPES = ((1,), (2,), (5,), (8,), (2, 1, 3), (4, 2, 2))
EXACT = {"rtol": 1e-10, "atol": 1e-12}
Shape = tuple[int, ...]


def fits(name: str, shape: Shape) -> bool:
    config = MEMBERS[name]
    if isinstance(config, ModesOperatorConfig):
        width, rest = divmod(shape[0], 2 * config.images)
        return rest == 0 and width > (config.shared_by != "all")
    return config.kind != "block" or shape[0] % 2 == 0  # type: ignore[attr-defined]


FITTING = [pytest.param(n, s, id=f"{n}-{'x'.join(map(str, s))}") for n in LINEAR for s in SHAPES if fits(n, s)]
EVERY = [
    pytest.param(n, s, id=f"{n}-{'x'.join(map(str, s))}")
    for n in MEMBERS
    for s in ((6,), (2, 1, 3), (8, 1, 2))
    if fits(n, s)
]


def make(name: str, shape: Shape, *, move: float = 0.15) -> Operator:
    """An operator in float64, its weights moved off the start so that no symmetry of the start helps."""
    operator = build_operator(MEMBERS[name], shape, seed=7).double()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in operator.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(move * noise / math.sqrt(operator.dimension))
    return operator


def rows(count: int, shape: Shape, seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def steps_of(operator: Operator) -> tuple[float, ...]:
    return (-0.7, 0.3, 1.0, 2.5) if operator.continuous else (1.0,)


def test_the_table_and_the_configs_agree_on_names() -> None:
    for kind, entry in OPERATORS.items():
        assert entry.config().model_dump()["kind"] == kind


@pytest.mark.parametrize(("name", "shape"), FITTING)
def test_flow_in_u(name: str, shape: Shape) -> None:
    operator = make(name, shape)
    latent, condition = rows(3, shape), rows(3, shape, seed=1)
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


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_no_step_is_the_identity_bit_for_bit(name: str, shape: Shape) -> None:
    operator, latent = make(name, shape), rows(4, shape)
    for mode in (True, False):
        operator.train(mode)
        for du in (0.0, torch.tensor(0.0), torch.zeros(4), torch.zeros(4, 1)):
            assert torch.equal(operator.evolve(latent, du), latent)
            assert torch.equal(operator.evolve(latent, du, rows(4, shape, seed=1)), latent)
    mixed = operator.evolve(latent, torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64))
    assert torch.equal(mixed[::2], latent[::2])
    torch.testing.assert_close(mixed[1::2], operator.evolve(latent[1::2], 1.0), **EXACT)
    assert torch.equal(operator.matrix(0.0), torch.eye(math.prod(shape), dtype=torch.float64))


@pytest.mark.parametrize(("name", "shape"), FITTING)
def test_matrix_is_what_evolve_applies(name: str, shape: Shape) -> None:
    operator, numbers = make(name, shape), math.prod(shape)
    basis, origin = torch.eye(numbers, dtype=torch.float64).view(-1, *shape), rows(1, shape) * 0
    for du in steps_of(operator):
        shift = operator.evolve(origin, du)
        applied = (operator.evolve(basis, du) - shift).flatten(1).T
        torch.testing.assert_close(applied, operator.matrix(du), **EXACT)
        if du == 1.0:
            bias = operator.bias()
            torch.testing.assert_close(shift.flatten(), torch.zeros(numbers).double() if bias is None else bias)
        as_tensor = operator.matrix(torch.tensor(du, dtype=torch.float64))
        torch.testing.assert_close(as_tensor, operator.matrix(du), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "shape"), FITTING)
def test_spectrum_is_that_of_the_matrix(name: str, shape: Shape) -> None:
    operator, numbers = make(name, shape), math.prod(shape)
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
    assert sum(mode.multiplicity for mode in spectrum.modes()) == numbers
    consistency = operator.inverse_consistency()
    assert consistency.ndim == 0 and float(consistency.detach()) >= 0


def matched(left: Tensor, right: Tensor, tolerance: float) -> None:
    """The same multiset up to a tolerance: nearest partners are taken one after the other."""
    waiting = right.tolist()
    for value in left.tolist():
        nearest = min(range(len(waiting)), key=lambda index: abs(waiting[index] - value))
        assert abs(waiting.pop(nearest) - value) < tolerance
    assert not waiting


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_rates_are_what_pairs_of_channels_do(name: str, shape: Shape) -> None:
    operator, latent = make(name, shape), rows(3, shape)
    rates = operator.rates(latent)
    if rates is None:
        assert operator.rates() is None
        return
    half = shape[0] // 2
    maps = (latent if len(shape) == 3 else latent[:, :, None, None]).unflatten(1, (2, half))
    pairs = torch.complex(maps[:, 0], maps[:, 1]) * torch.exp(0.7 * torch.complex(rates.alpha, -rates.beta))
    expected = torch.cat([pairs.real, pairs.imag], dim=1).view(latent.shape)
    torch.testing.assert_close(operator.evolve(latent, 0.7), expected, **EXACT)
    assert rates.alpha.ndim == (4 if operator.state_dependent else 3)
    assert operator.still == (not bool(rates.alpha.any()))


@pytest.mark.parametrize(
    ("name", "shape"),
    [(n, s) for n in sorted(MEMBERS) for s in ((2,), (2, 1, 2)) if fits(n, s)]
    + [(n, (6 if fits(n, (6,)) else 8,)) for n in sorted(MEMBERS) if MEMBERS[n].kind == "modes"],  # type: ignore[attr-defined]
    ids=str,
)
def test_gradients(name: str, shape: Shape) -> None:
    operator = make(name, shape)
    parameters = tuple(parameter.detach().clone().requires_grad_() for parameter in operator.parameters())
    names = [key for key, _ in operator.named_parameters()]

    def apply(latent: Tensor, condition: Tensor, du: Tensor, *weights: Tensor) -> Tensor:
        inputs = (latent, du if operator.continuous else 1.0, condition)
        return torch.func.functional_call(operator, dict(zip(names, weights, strict=True)), inputs)

    operator.forward = operator.evolve  # type: ignore[assignment]
    for du in (torch.tensor(0.6, dtype=torch.float64), torch.tensor([0.4, -0.2], dtype=torch.float64)):
        inputs = (
            rows(2, shape).requires_grad_(),
            rows(2, shape, seed=1).requires_grad_(),
            du.requires_grad_(),
            *parameters,
        )
        assert torch.autograd.gradcheck(apply, inputs)


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_rows_do_not_depend_on_the_batch(name: str, shape: Shape) -> None:
    operator = make(name, shape)
    latent, condition = rows(8, shape), rows(8, shape, seed=1)
    du = torch.linspace(-0.5, 1.5, 8).double() if operator.continuous else torch.ones(8).double()
    for mode in (True, False):
        operator.train(mode)
        with torch.set_grad_enabled(mode):
            for step in (torch.ones(8).double(), du):
                together = operator.evolve(latent, step, condition)
                alone = [operator.evolve(latent[[i]], float(step[i]), condition[[i]]) for i in range(8)]
                torch.testing.assert_close(together, torch.cat(alone), **EXACT)
            alone = [operator.evolve(latent[[i]], 1.0, condition[[i]]) for i in range(8)]
            torch.testing.assert_close(operator.evolve(latent, 1.0, condition), torch.cat(alone), **EXACT)


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_saved_and_loaded(name: str, shape: Shape) -> None:
    operator, fresh = make(name, shape), build_operator(MEMBERS[name], shape, seed=99).double()  # type: ignore[arg-type]
    fresh.load_state_dict(copy.deepcopy(operator.state_dict()))
    latent, condition = rows(4, shape), rows(4, shape, seed=1)
    assert torch.equal(operator.evolve(latent, 1.0, condition), fresh.evolve(latent, 1.0, condition))
    again, other = (build_operator(MEMBERS[name], shape, seed=s).state_dict() for s in (3, 3))  # type: ignore[arg-type]
    assert all(torch.equal(again[key], other[key]) for key in again)


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_control_input(name: str, shape: Shape) -> None:
    operator, latent, condition = make(name, shape), rows(4, shape), rows(4, shape, seed=1)
    with_control, without = operator.evolve(latent, 1.0, condition), operator.evolve(latent, 1.0)
    if not operator.continuous:
        torch.testing.assert_close(with_control, without + condition, **EXACT)
    # affine: the control adds in proportion, and (unless the map depends on it) the same wherever the state starts
    start = latent if operator.state_dependent else torch.zeros_like(latent)
    added = operator.evolve(start, 1.0, condition) - operator.evolve(start, 1.0)
    torch.testing.assert_close(with_control - without, added, **EXACT)
    twice = operator.evolve(start, 1.0, 2 * condition) - operator.evolve(start, 1.0)
    torch.testing.assert_close(twice, 2 * added, **EXACT)


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_inference_is_training_and_never_stale(name: str, shape: Shape) -> None:
    operator, latent, condition = make(name, shape), rows(4, shape), rows(4, shape, seed=1)

    def check() -> None:
        for control in (None, condition):
            trained = copy.deepcopy(operator).train().evolve(latent, 1.0, control).detach()
            for context in (torch.no_grad(), torch.inference_mode()):
                with context:
                    for _ in range(2):
                        torch.testing.assert_close(operator.evolve(latent, 1.0, control), trained, **EXACT)

    operator.eval()
    check()
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.mul_(1.1)  # in place, as optimizers and averages do
    check()
    operator.load_state_dict({key: 0.9 * value for key, value in operator.state_dict().items()}, assign=True)
    check()


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_dtypes_and_autocast(name: str, shape: Shape) -> None:
    operator, latent = make(name, shape).float(), rows(4, shape).float()
    plain = operator.evolve(latent)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(operator.evolve(latent), plain)
    for control in (None, rows(4, shape).bfloat16()):
        assert operator.evolve(latent.bfloat16(), 1.0, control).dtype == torch.bfloat16


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_wrong_inputs_are_named(name: str, shape: Shape) -> None:
    operator = make(name, shape)
    wanted = ", ".join(map(str, shape))
    for wrong in ((4, 5), (4, *shape, 1), (4, shape[0] + 2, *shape[1:])):
        with pytest.raises(UsageError, match=rf"latent has shape .*; wanted \(batch, {wanted}\)"):
            operator.evolve(torch.zeros(wrong).double())
    with pytest.raises(UsageError, match="condition"):
        operator.evolve(rows(4, shape), 1.0, rows(3, shape))
    with pytest.raises(UsageError, match="du has shape"):
        operator.evolve(rows(4, shape), torch.ones(3))
    for nothing in ((0,), (2, 0, 3)):
        with pytest.raises(UsageError, match=r"a level of shape .* is empty"):
            build_operator(MEMBERS[name], nothing, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in sorted(MEMBERS) if fits(name, (32, 32, 32))])
def test_matrices_beyond_the_largest_are_refused(name: str) -> None:
    """Before anything of that size is built; operators without a matrix of their own still work."""
    large = (32, 32, 32)
    assert math.prod(large) > LARGEST_MATRIX
    words = r"operator: a level of shape \(32, 32, 32\) has 32768 numbers.* 4.29 GB.* Choose operator.kind=block"
    if issubclass(OPERATORS[MEMBERS[name].kind].build, FlatOperator):  # type: ignore[attr-defined, arg-type]
        with pytest.raises(UsageError, match=words):
            build_operator(MEMBERS[name], large, seed=0)  # type: ignore[arg-type]
        return
    operator = build_operator(MEMBERS[name], large, seed=0)  # type: ignore[arg-type]
    assert operator.evolve(torch.ones(1, *large)).shape == (1, *large)
    assert operator.spectrum().eigenvalues.shape == (operator.dimension,)
    with pytest.raises(UsageError, match=words):
        operator.matrix()


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_a_broken_operator_has_no_spectrum(name: str, shape: Shape) -> None:
    operator = make(name, shape)
    if not list(operator.parameters()):
        return
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(NumericsError, match="NaN or infinity"):
        operator.spectrum()
