"""Spectra in numbers: what a table or a JSON report can hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.operators.spectrum import Mode, Spectrum

RANK_TOLERANCE = 0.01
"""Eigenvalues above this share of the spectral radius count for the numerical rank."""
CIRCLE_TOLERANCE = 1e-3
"""An eigenvalue whose modulus differs from 1 by at most this lies on the unit circle."""
MODES_LISTED = 12
"""The slowest modes, listed one by one."""


def summarise(spectra: Sequence[Spectrum], each: str = "") -> dict[str, Any]:
    """Tells spectra in plain numbers and texts; infinity (a mode that never halves) becomes None.

    Args:
        spectra: one a level of the latent.
        each: "path" or "class" where each has rates of its own.

    Returns:
        ``gauge`` ("fixed" when it is so at every level, else "free"), ``reading`` (what that means) and
        ``levels``, one mapping a level: ``level``, ``gauge``, ``pinned_by``, ``dimension``,
        ``spectral_radius``, ``smallest_modulus``, ``numerical_rank`` (eigenvalues above 1 % of the radius),
        ``inside``, ``on`` and ``outside`` (the unit circle, within 1e-3), ``pairs`` and ``real`` (modes of
        each kind), ``half_life`` (shortest, median, longest over modes that decay, in units of u), ``modes``
        (the slowest 12) and ``lifted`` (radius and smallest modulus of the eigenvalues one sets, where these
        are not those of the map applied; else None).

    Raises:
        UsageError: no spectra: this student has no operator.
    """
    if not spectra:
        raise UsageError("there is no spectrum: this student has no operator")
    fixed = all(spectrum.gauge == "fixed" for spectrum in spectra)
    return {
        "gauge": "fixed" if fixed else "free",
        "reading": _reading(spectra, fixed, each),
        "levels": [_level(spectrum) for spectrum in spectra],
    }


def _reading(spectra: Sequence[Spectrum], fixed: bool, each: str) -> str:
    if fixed:
        by = ", ".join(sorted({spectrum.pinned_by for spectrum in spectra}))
        return (
            f"the eigenvalues are identifiable (fixed by {by}){_for_one(each)}; they belong to the dynamics only as far as "
            "verify passes them"
        )
    return (
        "the eigenvalues are not identifiable: another encoder and decoder give the same samples with other "
        "eigenvalues, so these describe this network, not the dynamics"
    )


def _level(spectrum: Spectrum) -> dict[str, Any]:
    modulus, half_life = spectrum.modulus(), spectrum.half_life()
    radius = float(modulus.max())
    above = spectrum.eigenvalues.imag > 0
    return {
        "level": spectrum.level,
        "gauge": spectrum.gauge,
        "pinned_by": spectrum.pinned_by,
        "dimension": len(modulus),
        "spectral_radius": radius,
        "smallest_modulus": float(modulus.min()),
        "numerical_rank": int((modulus > RANK_TOLERANCE * radius).sum()),
        "rank_tolerance": RANK_TOLERANCE,
        "inside": int((modulus < 1 - CIRCLE_TOLERANCE).sum()),
        "on": int(((modulus - 1).abs() <= CIRCLE_TOLERANCE).sum()),
        "outside": int((modulus > 1 + CIRCLE_TOLERANCE).sum()),
        "pairs": int(above.sum()),
        "real": int((spectrum.eigenvalues.imag == 0).sum()),
        "half_life": _spread(half_life[torch.isfinite(half_life)]),
        "modes": [_mode(mode) for mode in _slowest(spectrum)],
        "lifted": None
        if spectrum.lifted is None
        else {
            "spectral_radius": float(spectrum.lifted.abs().max()),
            "smallest_modulus": float(spectrum.lifted.abs().min()),
        },
    }


def _slowest(spectrum: Spectrum) -> list[Mode]:
    """The first of :meth:`Spectrum.modes`, without an object for each of what may be millions."""
    upper = spectrum.eigenvalues[spectrum.eigenvalues.imag >= 0]
    sizes = torch.unique(upper.abs())
    return replace(spectrum, eigenvalues=upper[upper.abs() >= sizes[-MODES_LISTED:][0]]).modes()[:MODES_LISTED]


def _spread(values: Tensor) -> dict[str, float] | None:
    if not len(values):
        return None
    return {
        "shortest": float(values.min()),
        "median": float(values.median()),
        "longest": float(values.max()),
    }


def _mode(mode: Mode) -> dict[str, float | int | None]:
    return {
        "modulus": mode.modulus,
        "angle": mode.angle,
        "multiplicity": mode.multiplicity,
        "half_life": mode.half_life if math.isfinite(mode.half_life) else None,
        "period": mode.period if math.isfinite(mode.period) else None,
    }


def gauge_of(spectra: Sequence[Spectrum]) -> str:
    """``free``, or ``fixed by`` what."""
    fixed = all(spectrum.gauge == "fixed" for spectrum in spectra)
    return f"fixed by {spectra[0].pinned_by}" if fixed else "free"


def identifiable(gauge: str) -> str:
    """What a gauge means for eigenvalues and rates, in words."""
    return "not identifiable" if gauge == "free" else f"identifiable ({gauge})"


def in_short(spectra: Sequence[Spectrum], each: str = "") -> str:
    """The reading of spectra in a short sentence; ``each`` as in :func:`summarise`."""
    gauge = gauge_of(spectra)
    if gauge == "free":
        return "Eigenvalues are not identifiable here: they describe this network, not the dynamics."
    return f"Eigenvalues are identifiable ({gauge}){_for_one(each)}; `verify` says whether they belong to the dynamics."


def _for_one(each: str) -> str:
    return f", for one {each} at a time" if each else ""
