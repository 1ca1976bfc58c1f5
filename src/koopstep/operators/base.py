"""What every operator promises: one linear step of a level of the latent, its real matrix, its rates, its spectrum."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import chain
from typing import Self

import torch
from torch import Tensor, nn

from koopstep.core.errors import NumericsError, UsageError
from koopstep.operators.cache import WeightCache
from koopstep.operators.rates import Rates
from koopstep.operators.spectrum import Spectrum

LARGEST_MATRIX = 16_384
"""Numbers of a level over which a matrix is still formed: 16,384 x 16,384 in float32 are 1 GiB."""


def check_matrix(shape: tuple[int, ...]) -> None:
    """Refuses a matrix over all numbers of a level that would not fit in memory.

    Raises:
        UsageError: where a level of `shape` has more than `LARGEST_MATRIX` numbers.
    """
    numbers = math.prod(shape)
    if numbers > LARGEST_MATRIX:
        raise UsageError(
            f"operator: a level of shape {shape} has {numbers} numbers, and a matrix over them would take "
            f"{4e-9 * numbers**2:.3g} GB; matrices go to {LARGEST_MATRIX} numbers. Choose operator.kind=block, or a "
            "smaller level (student.latent, or levels=bottleneck)"
        )


class Operator(nn.Module, ABC):
    """A linear map on one level of the latent, (B, *shape). Matrices act on its numbers in row-major order.

    A continuous operator is a flow in u: `evolve(evolve(z, a, c), b, c) == evolve(z, a + b, c)`, also
    with a control input c held constant, which enters its generator: dz/du = A z + b + c. A discrete operator
    is one application, z' = M z + b + c: it accepts du = 1, and du = 0 as the identity.

    What inference needs again and again is worked out once in eval mode without gradients, and kept until a parameter
    changes, `train()` is called or the module is moved. A write through `parameter.data` alone cannot be seen; call
    `unfold()` after one.

    A new operator implements `matrix` and `_move`, overrides what it knows better, and joins `operators.table`.

    Attributes:
        shape: of a level, without the batch.
        dimension: d, the numbers in a level.
        continuous: whether every real du is accepted.
        still: whether it leaves every latent as it is (a control).
        state_dependent: whether the map depends on the state that a step starts from. Such a map is linear along a step,
            but two short steps are no longer one long one; `matrix`, `rates()` and `spectrum` are of its static part.
    """

    still: bool = False
    state_dependent: bool = False

    def __init__(self, shape: tuple[int, ...], *, continuous: bool) -> None:
        super().__init__()
        if not shape or min(shape) < 1:
            raise UsageError(f"operator: a level of shape {shape} is empty; give every size at least 1")
        self.shape = tuple(shape)
        self.dimension = math.prod(shape)
        self.continuous = continuous
        self._cache = WeightCache[object]()

    def evolve(self, latent: Tensor, du: float | Tensor = 1.0, condition: Tensor | None = None) -> Tensor:
        """Returns the latent du further on.

        Computed in the dtype of the parameters whatever autocast says, and returned in the dtype of `latent`.
        Rows with du = 0 come back bit for bit.

        Args:
            latent: shape (B, *shape).
            du: progress in u, a number or a tensor of shape () or (B,) or (B, 1); may be negative for a
                continuous operator.
            condition: control input of shape (B, *shape), held constant over the step.

        Raises:
            UsageError: on wrong shapes, or another du than 0 and 1 for a discrete operator.
        """
        self._check(latent, condition)
        step = self._step(du, latent)
        if isinstance(step, float) and step == 0.0:
            return latent
        with torch.autocast(device_type=latent.device.type, enabled=False):
            return self._move(latent, step, condition)

    @abstractmethod
    def matrix(self, du: float | Tensor = 1.0) -> Tensor:
        """Returns the effective real map M over one du (a number or a tensor of shape ()), shape (d, d).

        Raises:
            UsageError: where the level has more than `LARGEST_MATRIX` numbers.
        """

    @abstractmethod
    def _move(self, latent: Tensor, step: float | Tensor, condition: Tensor | None) -> Tensor:
        """The operator's own formula: `evolve` after the checks, without autocast.

        The step is a number other than 0, or a tensor of shape () or (B,). Returns the dtype of `latent`.
        """

    def bias(self) -> Tensor | None:
        """Returns what one step du = 1 adds to every latent, shape (d,); None for a linear operator."""
        return None

    def rates(self, latent: Tensor | None = None) -> Rates | None:
        """Returns growth and turning of each pair of channels k and k + C/2; None where modes are no such pairs.

        An operator that gives its rates gets the analyses and edits of bands. Flat levels (B, D) count as (D, 1, 1).

        Args:
            latent: (B, *shape), the states that a step starts from; without them the static part is returned.
        """
        return None

    def controlled_eigenvalues(self) -> tuple[Tensor, Tensor]:
        """Returns the real and imaginary parts, shape (d,) each, that spectral penalties act on."""
        eigenvalues = torch.linalg.eigvals(self.matrix())
        return eigenvalues.real, eigenvalues.imag

    def inverse_consistency(self) -> Tensor:
        """Returns how far a separately learned inverse is from the true one, a scalar; 0 where none is learned."""
        for tensor in chain(self.parameters(), self.buffers()):
            return tensor.new_zeros(())
        return torch.zeros(())

    def closeness(self) -> Tensor:
        """Returns how near the rates of different modes are, a scalar in [0, 1]; 0 where modes need not be kept apart."""
        return self.controlled_eigenvalues()[0].new_zeros(())

    def spectrum(self) -> Spectrum:
        """Returns the eigenvalues of the effective real map over du = 1; the gauge is free.

        Raises:
            NumericsError: when the map holds NaN or infinity.
        """
        with torch.no_grad():
            matrix = self.matrix().detach().double().cpu()
        if not bool(torch.isfinite(matrix).all()):
            raise NumericsError("operator: its matrix holds NaN or infinity, so it has no spectrum; train it again")
        return Spectrum(eigenvalues=torch.linalg.eigvals(matrix))

    def unfold(self) -> None:
        """Forgets what was worked out for inference; the next use works it out again."""
        self._cache.forget()

    def train(self, mode: bool = True) -> Self:
        """Sets training mode and forgets what was worked out for inference."""
        self.unfold()
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.unfold()  # moved to another device or dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _may_keep(self) -> bool:
        """Whether a call is inference, which may use what was worked out before."""
        if self.training or torch.compiler.is_compiling():
            return False
        return not torch.is_grad_enabled() or not any(p.requires_grad for p in self.parameters())

    def _working_dtype(self, latent: Tensor) -> torch.dtype:
        for parameter in self.parameters():
            return parameter.dtype
        return latent.dtype

    def _takes(self, shape: tuple[int, ...]) -> bool:
        """Whether levels of another shape than the operator was made for are taken all the same."""
        return False

    def _check(self, latent: Tensor, condition: Tensor | None) -> None:
        if latent.shape[1:] != self.shape and not self._takes(tuple(latent.shape[1:])):
            wanted = ", ".join(map(str, self.shape))
            raise UsageError(f"operator: latent has shape {tuple(latent.shape)}; wanted (batch, {wanted})")
        if condition is not None and condition.shape != latent.shape:
            raise UsageError(f"operator: condition has shape {tuple(condition.shape)}; wanted {tuple(latent.shape)}")

    def _step(self, du: float | Tensor, latent: Tensor) -> float | Tensor:
        """The step as a float or a tensor of shape () or (B,); refuses what a discrete operator cannot do."""
        if not isinstance(du, Tensor):
            self._check_discrete(du in (0, 1), du)
            return float(du)
        step = du[:, 0] if du.ndim == 2 and du.shape[1] == 1 else du
        if step.ndim > 1 or (step.ndim == 1 and step.shape[0] != latent.shape[0]):
            raise UsageError(f"operator: du has shape {tuple(du.shape)}; wanted a number, () or ({latent.shape[0]},)")
        if not self.continuous:
            self._check_discrete(bool(((step == 0) | (step == 1)).all()), du)
        return step

    def _is_one(self, du: float | Tensor) -> bool:
        """Whether a discrete operator is applied (du = 1) or left alone (du = 0)."""
        whole = bool(du == 1)
        self._check_discrete(whole or bool(du == 0), du)
        return whole

    def _check_discrete(self, whole: bool, du: float | Tensor) -> None:
        if not self.continuous and not whole:
            got = f"values {du.tolist()[:3] if du.ndim else du.item()}" if isinstance(du, Tensor) else f"{du}"
            raise UsageError(
                f"operator: du is {got}, but this operator is discrete: one application, du = 1 "
                "(choose a continuous one, such as kind: spectral)"
            )
