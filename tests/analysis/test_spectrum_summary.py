"""Spectra in numbers, on eigenvalues chosen by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch

from koopstep.analysis.spectrum import in_short, summarise
from koopstep.core.errors import UsageError
from koopstep.operators.factorised import FactorisedConfig
from koopstep.operators.spectrum import Spectrum
from koopstep.operators.table import build_operator


def spectrum(level: str = "latent") -> Spectrum:
    values = [1.0, 0.5, 0.25j, -0.25j, 2.0, 0.001, 1 + 5e-4]
    return Spectrum(eigenvalues=torch.tensor(values, dtype=torch.complex128), level=level)


def test_numbers_by_hand() -> None:
    summary = summarise([spectrum()])
    (level,) = summary["levels"]
    assert summary["gauge"] == "free"
    assert "not the dynamics" in summary["reading"]
    assert (level["inside"], level["on"], level["outside"]) == (4, 2, 1)
    assert (level["pairs"], level["real"], level["dimension"]) == (1, 5, 7)
    assert level["spectral_radius"] == 2.0
    assert level["numerical_rank"] == 6
    assert level["half_life"]["longest"] == 1.0
    assert level["half_life"]["median"] == 0.5
    assert level["modes"][0] == {
        "modulus": 2.0,
        "angle": 0.0,
        "multiplicity": 1,
        "half_life": None,
        "period": None,
    }
    pair = next(mode for mode in level["modes"] if mode["multiplicity"] == 2)
    assert math.isclose(pair["period"], 4.0)
    assert level["lifted"] is None


def test_it_is_json_and_every_level_is_told() -> None:
    summary = summarise([spectrum("32x32"), spectrum("16x16").pinned("the state itself")])
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert [level["level"] for level in summary["levels"]] == ["32x32", "16x16"]
    assert summary["gauge"] == "free"
    fixed = summarise([spectrum().pinned("the state itself")])
    assert fixed["gauge"] == "fixed"
    assert "(fixed by the state itself); they belong to the dynamics only as far as verify passes" in fixed["reading"]
    pinned = [spectrum().pinned("the state itself")]
    assert "the state itself), for one path at a time; they" in summarise(pinned, "path")["reading"]
    assert in_short(pinned, "class") == (
        "Eigenvalues are identifiable (fixed by the state itself), for one class at a time; `verify` says whether they "
        "belong to the dynamics."
    )


def test_lifted_eigenvalues_are_told_apart() -> None:
    config = FactorisedConfig(smallest_modulus=0.99, largest_modulus=0.999, largest_phase=6.283)
    (level,) = summarise([build_operator(config, (16,), seed=0).spectrum()])["levels"]
    assert level["lifted"]["smallest_modulus"] > 0.98 > level["smallest_modulus"]


def test_a_map_that_never_decays_has_no_half_life() -> None:
    (level,) = summarise([Spectrum(eigenvalues=torch.ones(3, dtype=torch.complex128))])["levels"]
    assert level["half_life"] is None


def test_no_operator() -> None:
    with pytest.raises(UsageError, match="no operator"):
        summarise([])
