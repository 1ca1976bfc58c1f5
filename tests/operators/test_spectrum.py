"""The spectrum as an object, on values known by hand."""

from __future__ import annotations

import math

import torch

from koopstep.operators.spectrum import Spectrum


def spectrum() -> Spectrum:
    values = [0.5, 1.0, 0.0, 0.9j, -0.9j, -2.0]
    return Spectrum(eigenvalues=torch.tensor(values, dtype=torch.complex128))


def test_values_by_hand() -> None:
    half_life, period = spectrum().half_life(), spectrum().period()
    assert half_life[0] == 1.0
    assert half_life[1] == math.inf
    assert half_life[2] == 0.0
    assert half_life[5] == math.inf
    assert math.isclose(half_life[3].item(), math.log(0.5) / math.log(0.9))
    assert period[0] == math.inf
    assert math.isclose(period[3].item(), 4.0)
    assert math.isclose(period[4].item(), 4.0)
    assert math.isclose(period[5].item(), 2.0)


def test_modes_merge_pairs_and_sort_by_decay() -> None:
    modes = spectrum().modes()
    assert [mode.multiplicity for mode in modes] == [1, 1, 2, 1, 1]
    assert [mode.modulus for mode in modes] == [2.0, 1.0, 0.9, 0.5, 0.0]
    assert modes[2].eigenvalue == 0.9j


def test_pinning_is_a_copy_that_says_by_what() -> None:
    free = spectrum()
    fixed = free.pinned("linear observables")
    assert (free.gauge, fixed.gauge, fixed.pinned_by) == ("free", "fixed", "linear observables")
    assert fixed.eigenvalues is free.eigenvalues
