"""What every operator promises: one linear step of the latent, its real matrix, its spectrum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from koopstep.core.errors import NumericsError, UsageError
from koopstep.operators.spectrum import Mode as Mode
from koopstep.operators.spectrum import Spectrum as Spectrum


@dataclass(frozen=True)
class _Fold:
    """The map over du = 1 worked out once: z' = matrix z + bias + control c (control None: the identity)."""

    key: tuple[tuple[int, int, int], ...]
    matrix: Tensor
    bias: Tensor | None
    control: Tensor | None


class Operator(nn.Module, ABC):
    """A linear map on a flat latent of shape (B, d), with vectors as rows: z' = M z is `latent @ M.T`.

    A continuous operator is a flow in u: `evolve(evolve(z, a, c), b, c) == evolve(z, a + b, c)`, also
    with a control input c held constant, which enters its generator: dz/du = A z + b + c. A discrete operator
    is one application, z' = M z + b + c: it accepts du = 1, and du = 0 as the identity.

    In eval mode without gradients the map over du = 1 is worked out once and kept until a parameter changes,
    `train()` is called or the module is moved. A write through `parameter.data` alone cannot be seen; call
    `unfold()` after one.

    Attributes:
        dimension: d.
        continuous: whether every real du is accepted.
        folds: whether applying a (d, d) matrix is cheaper than the operator's own formula.
    """

    folds: bool = True

    def __init__(self, dimension: int, *, continuous: bool) -> None:
        super().__init__()
        if dimension < 1:
            raise UsageError(f"operator: dimension is {dimension}; give the size of the flat latent, at least 1")
        self.dimension = dimension
        self.continuous = continuous
        self._fold: _Fold | None = None

    def evolve(self, latent: Tensor, du: float | Tensor = 1.0, condition: Tensor | None = None) -> Tensor:
        """Returns the latent du further on.

        Computed in the dtype of the parameters whatever autocast says, and returned in the dtype of `latent`.
        Rows with du = 0 come back bit for bit.

        Args:
            latent: shape (B, d).
            du: progress in u, a number or a tensor of shape () or (B,) or (B, 1); may be negative for a
                continuous operator.
            condition: control input of shape (B, d), held constant over the step.

        Raises:
            UsageError: on wrong shapes, or another du than 0 and 1 for a discrete operator.
        """
        self._check(latent, condition)
        step = self._step(du, latent)
        if isinstance(step, float) and step == 0.0:
            return latent
        with torch.autocast(device_type=latent.device.type, enabled=False):
            dtype = self._working_dtype(latent)
            row = latent.to(dtype)
            control = None if condition is None else condition.to(dtype)
            if isinstance(step, float):
                if step == 1.0 and self._may_fold():
                    return self._apply_fold(row, control).to(latent.dtype)
                tensor = torch.tensor(step, dtype=dtype, device=latent.device)
                return self._advance(row, tensor, control).to(latent.dtype)
            moved = self._advance(row, step.to(dtype), control).to(latent.dtype)
            still = step == 0
            return torch.where(still if step.ndim == 0 else still[:, None], latent, moved)

    @abstractmethod
    def matrix(self, du: float | Tensor = 1.0) -> Tensor:
        """Returns the effective real map M over one du (a number or a tensor of shape ()), shape (d, d)."""

    @abstractmethod
    def _advance(self, latent: Tensor, du: Tensor, condition: Tensor | None) -> Tensor:
        """The operator's own formula: `evolve` after the checks; du of shape () or (B,), never a number."""

    def bias(self) -> Tensor | None:
        """Returns what one step du = 1 adds to every latent, shape (d,); None for a linear operator."""
        return None

    def _control(self) -> Tensor | None:
        """The map that a control input takes over du = 1, shape (d, d); None for the identity."""
        return None

    def controlled_eigenvalues(self) -> tuple[Tensor, Tensor]:
        """Returns the real and imaginary parts, shape (d,) each, that spectral penalties act on."""
        eigenvalues = torch.linalg.eigvals(self.matrix())
        return eigenvalues.real, eigenvalues.imag

    def inverse_consistency(self) -> Tensor:
        """Returns how far a separately learned inverse is from the true one, a scalar; 0 where none is learned."""
        return self.matrix().new_zeros(())

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

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Returns M (d, d) and bias (d,) or None of the step du = 1 for inference, without gradients.

        Kept between calls in eval mode. Discrete operators add a control input as it is, after this map.
        """
        fold = self._current_fold()
        return fold.matrix, fold.bias

    def unfold(self) -> None:
        """Forgets the map worked out for inference; the next use works it out again."""
        self._fold = None

    def train(self, mode: bool = True) -> Self:
        """Sets training mode and forgets the folded map."""
        self.unfold()
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.unfold()  # moved to another device or dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _may_fold(self) -> bool:
        if not self.folds or self.training:
            return False
        return not torch.is_grad_enabled() or not any(p.requires_grad for p in self.parameters())

    def _current_fold(self) -> _Fold:
        tensors = [*self.parameters(), *self.buffers()]
        traceable = not any(tensor.is_inference() for tensor in tensors)  # inference tensors count no versions
        key = tuple((id(t), t.data_ptr(), t._version) for t in tensors) if traceable else ()
        if self._fold is not None and traceable and self._fold.key == key:
            return self._fold
        # outside inference mode, so that the kept tensors may serve a later call that does take gradients
        with torch.inference_mode(False), torch.no_grad():
            bias = self.bias()
            fold = _Fold(
                key=key,
                matrix=self.matrix().detach().clone(),
                bias=None if bias is None else bias.detach().clone(),
                control=self._control(),
            )
        self._fold = None if self.training or not traceable else fold
        return fold

    def _apply_fold(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        fold = self._current_fold()
        moved = torch.nn.functional.linear(latent, fold.matrix, fold.bias)
        if condition is None:
            return moved
        return moved + (condition if fold.control is None else condition @ fold.control.T)

    def _working_dtype(self, latent: Tensor) -> torch.dtype:
        for parameter in self.parameters():
            return parameter.dtype
        return latent.dtype

    def _check(self, latent: Tensor, condition: Tensor | None) -> None:
        if latent.ndim != 2 or latent.shape[1] != self.dimension:
            raise UsageError(f"operator: latent has shape {tuple(latent.shape)}; wanted (batch, {self.dimension})")
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
