"""``analyze RUN spectrum`` of students whose modes have rates: the rates, and beside them what is free of any gauge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from koopstep.analysis.bands import band_effects, chance_effects
from koopstep.analysis.findings import Bars, Caption, Eigenvalues, Findings, LevelRates, View
from koopstep.analysis.modes import BANDS, ORDER_WORDS, ORDERS, has_rates, rates_of
from koopstep.analysis.spectrum import gauge_of, summarise
from koopstep.analysis.subject import Subject
from koopstep.core.noise import gaussian, integers
from koopstep.operators.rates import Rates
from koopstep.operators.spectrum import Spectrum
from koopstep.students.student import KoopmanStudent, Latent

_SEED, _ROWS = 2**31 - 1, 64  # of noise that no store was made from


@torch.no_grad()
def rate_findings(student: KoopmanStudent, gauge: str) -> tuple[list[Spectrum], Findings]:
    """Read a student's rates on fresh noise, which needs no store.

    Returns:
        The spectra (of the mean rates, where they depend on the state), and the findings, whose values are
        ``band_effects`` (mean squared change of the sample without a third of the modes, by order) and ``rates`` (by
        level: mean and spread over modes; and over states, where they depend on them).
    """
    facts, device = student.facts, next(student.parameters()).device
    noise = gaussian(_SEED, range(_ROWS), facts.shape).to(device)
    labels = integers(_SEED, range(_ROWS), facts.num_classes).to(device) if facts.num_classes else None
    start = student.encode(noise * facts.noise_scale, 0.0, labels)
    rates = rates_of(student, start)
    spectra = [_of(rate, spectrum) for rate, spectrum in zip(rates, student.spectrum(), strict=True)]
    end = student.evolve(start, 1.0, labels)
    _, found = band_effects(student, end, labels, ORDERS, rates=rates)
    chance = sum(band.size for band in chance_effects(student, end, labels)) / len(BANDS)
    effects = {order: {band.band: band.size for band in found if band.order == order} for order in ORDERS}
    levels = {
        name: _level_values(student, start, index, rate)
        for index, (name, rate) in enumerate(zip(student.level_names, rates, strict=True))
    }
    bars = Bars(
        "band_effects.png",
        {f"by {ORDER_WORDS[order]}": {"effect": list(effects[order].values())} for order in ORDERS},
        BANDS,
        up="mean squared change",
        line=("a third by chance", chance),
        title=f"change of the sample without a third of the modes (the effect has no gauge; the order's: {gauge})",
    )
    values: dict[str, Any] = {"band_effects": effects | {"chance": chance}, "rates": levels}
    return spectra, Findings(values, [*_rate_views(student.level_names, rates, gauge), bars])


def spectrum(subject: Subject) -> Findings:
    """The spectrum of each level and in numbers; where modes have rates also these, and effects free of any gauge."""
    student = subject.student
    spectra, more = student.spectrum(), Findings({}, [])
    if has_rates(student):
        spectra, more = rate_findings(student, gauge_of(spectra))
    values = summarise(spectra)
    caption = Caption("The operator's eigenvalues", f"Gauge: {values['gauge']}. {values['reading'].capitalize()}.")
    views = [Eigenvalues("spectrum.png", spectra), *more.views]
    return Findings(values | more.values, views, {"spectrum.png": caption})


def _rate_views(names: tuple[str, ...], rates: list[Rates], gauge: str) -> list[View]:
    views: list[View] = [
        LevelRates("rates.png", "plane", names, rates, gauge),
        LevelRates("times.png", "times", names, rates, gauge),
    ]
    placed = [
        (name, rate)
        for name, rate in zip(names, rates, strict=True)
        if bool((rate.alpha != rate.alpha[:, :1, :1]).any())
    ]
    if placed:
        shown, of_these = zip(*placed, strict=True)
        views.append(LevelRates("rate_maps.png", "maps", shown, of_these, gauge))
    return views


def _level_values(student: KoopmanStudent, start: Latent, index: int, rates: Rates) -> dict[str, float | None]:
    """Growth and rotation of a level in numbers; spread over states is None where rates do not depend on them."""
    found = list(student.operators)[index].rates(start[index])
    between = None if found is None or found.alpha.ndim < 4 else float(found.alpha.std(dim=0).mean())
    return {
        "alpha_mean": float(rates.alpha.mean()),
        "alpha_spread": float(rates.alpha.std(correction=0)),
        "alpha_spread_between_states": between,
        "beta_size": float(rates.beta.abs().mean()),
    }


def _of(rates: Rates, spectrum: Spectrum) -> Spectrum:
    """``spectrum`` with the eigenvalues of ``rates``."""
    logarithm = torch.complex(rates.alpha.double(), rates.beta.double()).cpu().flatten()
    return replace(spectrum, eigenvalues=torch.stack([logarithm.exp(), logarithm.conj().exp()], dim=1).flatten())
