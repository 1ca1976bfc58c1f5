"""What follows from an operator's weights, worked out once and kept until a weight changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")


class WeightCache(Generic[Value]):
    """One value, kept as long as the tensors it was worked out from are the same objects with the same content.

    PyTorch counts writes in place in a tensor's version, so optimizers, averages and `load_state_dict` are seen. A write
    through `tensor.data` alone is not: call `forget` after one. Tensors made in inference mode count no versions; what
    follows from them is worked out at every use.
    """

    def __init__(self) -> None:
        self._key: tuple[Hashable, ...] | None = None
        self._tensors: tuple[Tensor, ...] = ()  # kept alive, so that no new tensor takes the place of one of the key
        self._value: Value | None = None

    def get(
        self, tensors: Iterable[Tensor], work_out: Callable[[], Value], *also: Hashable, keep: bool = True
    ) -> Value:
        """Returns what `work_out` gives, from the last call if nothing it depends on has changed.

        Args:
            tensors: the weights that the value depends on.
            work_out: is called without gradients and outside inference mode, so that the value may serve a later call
                that takes gradients.
            also: what else it depends on, compared by equality.
            keep: False only looks: what had to be worked out is not kept.
        """
        tensors = tuple(tensors)
        traceable = not any(tensor.is_inference() for tensor in tensors)
        key = (*also, *[(id(t), t.data_ptr(), t._version) for t in tensors]) if traceable else None
        if key is not None and self._value is not None and self._key == key:
            return self._value
        with torch.inference_mode(False), torch.no_grad():
            value = work_out()
        self.forget()
        if keep and key is not None:
            self._key, self._tensors, self._value = key, tensors, value
        return value

    def forget(self) -> None:
        """Drops the value; the next use works it out again."""
        self._key, self._tensors, self._value = None, (), None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """An empty cache: a copied operator has other weights."""
        return type(self)()

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()
