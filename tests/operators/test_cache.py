"""A value is kept as long as nothing it follows from has changed, and never longer."""

from __future__ import annotations

import copy

import torch

from koopstep.operators.cache import WeightCache


class Square:
    """Works out a square, and counts how often."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight, self.calls, self.cache = weight, 0, WeightCache[torch.Tensor]()

    def work_out(self) -> torch.Tensor:
        self.calls += 1
        return self.weight**2

    def get(self, *also: float, keep: bool = True) -> torch.Tensor:
        return self.cache.get([self.weight], self.work_out, *also, keep=keep)


def test_kept_until_a_weight_changes() -> None:
    square = Square(torch.nn.Parameter(torch.full((3,), 2.0)))
    assert square.get() is square.get() and square.calls == 1
    assert not square.get().requires_grad
    with torch.no_grad():
        square.weight.mul_(2)
    assert float(square.get()[0]) == 16.0 and square.calls == 2
    square.weight.data.mul_(2)  # unseen
    assert float(square.get()[0]) == 16.0
    square.cache.forget()
    assert float(square.get()[0]) == 64.0


def test_what_else_it_depends_on_and_what_is_not_to_be_kept() -> None:
    square = Square(torch.ones(2))
    first = square.get(1.0)
    assert square.get(1.0) is first and square.get(0.5) is not first
    assert square.get(0.5, keep=False) is square.get(0.5)  # kept from before
    square.weight.add_(1)
    assert square.get(keep=False) is not square.get(keep=False)


def test_a_new_tensor_in_an_old_one_s_place_is_not_mistaken_for_it() -> None:
    square = Square(torch.zeros(4))
    for value in range(20):
        square.weight = torch.full((4,), float(value))  # the old one's memory is free to be used again
        assert float(square.get()[0]) == value**2


def test_copies_start_empty_and_inference_tensors_are_never_kept() -> None:
    square = Square(torch.ones(2))
    kept = square.get()
    assert copy.deepcopy(square.cache).get([square.weight], square.work_out) is not kept
    with torch.inference_mode():
        square.weight = torch.ones(2)
        assert square.get() is not square.get()
        assert not square.get().is_inference()
