"""Operators that mix all numbers of a level: (d, d) matrices on its flattened rows, folded for inference."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from koopstep.operators.base import Operator, check_matrix


@dataclass(frozen=True)
class _Fold:
    """The map over du = 1 worked out once: z' = matrix z + bias + control c (control None: the identity)."""

    matrix: Tensor
    bias: Tensor | None
    control: Tensor | None

    def apply(self, rows: Tensor, condition: Tensor | None) -> Tensor:
        moved = torch.nn.functional.linear(rows, self.matrix, self.bias)
        if condition is None:
            return moved
        return moved + (condition if self.control is None else condition @ self.control.T)


class FlatOperator(Operator):
    """A linear map on a level as one row of d numbers, with vectors as rows: z' = M z is `rows @ M.T`.

    Raises:
        UsageError: where the level has more than `LARGEST_MATRIX` numbers.
    """

    def __init__(self, shape: tuple[int, ...], *, continuous: bool) -> None:
        super().__init__(shape, continuous=continuous)
        check_matrix(self.shape)

    @abstractmethod
    def _advance(self, latent: Tensor, du: Tensor, condition: Tensor | None) -> Tensor:
        """The operator's own formula on rows (B, d), in the working dtype; du of shape () or (B,), never a number."""

    def _control(self) -> Tensor | None:
        """The map that a control input takes over du = 1, shape (d, d); None for the identity."""
        return None

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Returns M (d, d) and bias (d,) or None of the step du = 1 for inference, without gradients.

        Kept between calls in eval mode. Discrete operators add a control input as it is, after this map.
        """
        fold = self._fold()
        return fold.matrix, fold.bias

    def _move(self, latent: Tensor, step: float | Tensor, condition: Tensor | None) -> Tensor:
        dtype = self._working_dtype(latent)
        rows = latent.flatten(1).to(dtype)
        control = None if condition is None else condition.flatten(1).to(dtype)
        if isinstance(step, float):
            if step == 1.0 and self._may_keep():
                moved = self._fold().apply(rows, control)
            else:
                moved = self._advance(rows, torch.tensor(step, dtype=dtype, device=latent.device), control)
            return moved.to(latent.dtype).view(latent.shape)
        moved = self._advance(rows, step.to(dtype), control).to(latent.dtype).view(latent.shape)
        still = step == 0
        return torch.where(still if step.ndim == 0 else still.view(-1, *[1] * len(self.shape)), latent, moved)

    def _fold(self) -> _Fold:
        tensors = [*self.parameters(), *self.buffers()]
        return cast(_Fold, self._cache.get(tensors, self._worked_out, keep=not self.training))

    def _worked_out(self) -> _Fold:
        bias = self.bias()
        return _Fold(
            matrix=self.matrix().detach().clone(),
            bias=None if bias is None else bias.detach().clone(),
            control=self._control(),
        )
