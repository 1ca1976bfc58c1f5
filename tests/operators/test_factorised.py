"""KDM-F against the block formula of the paper (KDM App. C), written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.operators.factorised import FactorisedConfig, FactorisedOperator
from koopstep.operators.table import build_operator


def make(dimension: int, config: FactorisedConfig | None = None, move: float = 0.1) -> FactorisedOperator:
    operator = build_operator(config or FactorisedConfig(), (dimension,), seed=4).double()
    assert isinstance(operator, FactorisedOperator)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.add_(move * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return operator


def block(real: Tensor, imag: Tensor) -> Tensor:
    return torch.cat([torch.cat([real, -imag], dim=1), torch.cat([imag, real], dim=1)])


def lifted(operator: FactorisedOperator) -> tuple[Tensor, Tensor, Tensor]:
    """P_inv, Lambda and P as the 2d x 2d real matrices of the paper."""
    modulus = torch.exp(-torch.exp(operator.nu))
    real, imag = modulus * torch.cos(operator.theta), modulus * torch.sin(operator.theta)
    return (
        block(operator.inverse_real, operator.inverse_imag),
        block(torch.diag(real), torch.diag(imag)),
        block(operator.forward_real, operator.forward_imag),
    )


@pytest.mark.parametrize("batch", [1, 3, 50])  # thin products for few rows, the folded matrix for many
def test_the_formula_of_the_paper(batch: int) -> None:
    operator = make(7)
    inverse, diagonal, forward = lifted(operator)
    latent = torch.randn(batch, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    augmented = torch.cat([latent, torch.zeros_like(latent)], dim=1)
    wanted = (augmented @ (inverse @ diagonal @ forward).T)[:, :7]
    torch.testing.assert_close(operator.evolve(latent), wanted, rtol=1e-12, atol=1e-12)


def test_inverse_consistency_is_that_of_the_blocks() -> None:
    operator = make(5)
    inverse, _, forward = lifted(operator)
    eye = torch.eye(10, dtype=torch.float64)
    wanted = (inverse @ forward - eye).square().mean() + (forward @ inverse - eye).square().mean()
    torch.testing.assert_close(operator.inverse_consistency(), wanted)
    assert torch.autograd.gradcheck(
        lambda *weights: torch.func.functional_call(
            Penalty(operator), {f"operator.{n}": w for n, w in zip(names(operator), weights, strict=True)}, ()
        ),
        tuple(p.detach().clone().requires_grad_() for p in operator.parameters()),
    )


class Penalty(torch.nn.Module):
    def __init__(self, operator: FactorisedOperator) -> None:
        super().__init__()
        self.operator = operator

    def forward(self) -> Tensor:
        return self.operator.inverse_consistency()


def names(operator: FactorisedOperator) -> list[str]:
    return [name for name, _ in operator.named_parameters()]


@pytest.mark.parametrize("dimension", [1, 2, 9, 32])
@torch.no_grad()
def test_the_start_is_well_conditioned(dimension: int) -> None:
    operator = make(dimension, move=0.0)
    eye = torch.eye(dimension, dtype=torch.float64)
    for part in (operator.forward_real, operator.forward_imag):  # drawn in float32
        torch.testing.assert_close(part @ part.T, eye, rtol=0, atol=1e-5)
    assert float(operator.inverse_consistency()) < 1e-10
    _, _, forward = lifted(operator)
    assert float(torch.linalg.cond(forward)) < 1.001
    largest = float(operator.spectrum().modulus().max())
    assert largest <= 0.999 + 1e-5
    assert float(torch.linalg.matrix_norm(operator.matrix(), 2)) <= 0.999 + 1e-5


@torch.no_grad()
def test_the_spectrum_tells_both() -> None:
    """The eigenvalues one sets are not those of the map one applies; both are told, neither is mistaken."""
    operator = make(16, FactorisedConfig(smallest_modulus=0.99, largest_modulus=0.999, largest_phase=6.283), move=0)
    spectrum = operator.spectrum()
    assert spectrum.lifted is not None
    assert float(spectrum.lifted.abs().min()) > 0.98
    assert float(spectrum.modulus().min()) < 0.9  # half of the lifted vector is dropped
    real, imag = operator.controlled_eigenvalues()
    torch.testing.assert_close(torch.complex(real, imag), spectrum.lifted)
    assert float(torch.hypot(*operator.controlled_eigenvalues()).max()) < 1


def test_moduli_in_the_wrong_order() -> None:
    with pytest.raises(UsageError, match="above largest_modulus"):
        make(3, FactorisedConfig(smallest_modulus=0.9, largest_modulus=0.5))
