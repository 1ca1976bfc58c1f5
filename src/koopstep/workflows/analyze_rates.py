"""``koopstep analyze RUN spectrum`` for HKD students: their rates, and beside them what is free of any gauge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from koopstep.analysis.bands import band_effects, chance_effects
from koopstep.analysis.modes import BANDS, ORDERS, rates_of
from koopstep.core.noise import gaussian
from koopstep.figures import lines as path_figures
from koopstep.figures import spectra as rate_figures
from koopstep.operators.block import BlockOperator, Rates
from koopstep.operators.spectrum import Spectrum
from koopstep.sampling.onestep import sampling_labels
from koopstep.students.student import KoopmanStudent, Latent
from koopstep.workflows.analyze_path import WORDS, gauge_of

_SEED, _ROWS = 2**31 - 1, 64  # of noise that no store was made from


def has_rates(student: KoopmanStudent) -> bool:
    """Whether this is a student of block operators of which one at least has rates."""
    found = [operator for operator in student.operators if isinstance(operator, BlockOperator)]
    return bool(found) and len(found) == len(student.operators) and any(o.config.sharing != "none" for o in found)


@torch.no_grad()
def rate_readings(student: KoopmanStudent, folder: Path) -> tuple[list[Spectrum], list[Path], dict[str, Any]]:
    """Read an HKD student's rates on fresh noise, which needs no store.

    Returns:
        The spectra (of the mean rates, where they depend on the state), files, and values: ``band_effects`` (mean squared
        change of the sample without a third of the modes, by order), ``rates`` (by level: mean and spread over modes; and
        over states, where they depend on them).
    """
    facts, device = student.facts, next(student.parameters()).device
    noise = gaussian(_SEED, range(_ROWS), facts.shape).to(device)
    labels = sampling_labels(facts.num_classes, _SEED, _ROWS, None)
    labels = None if labels is None else labels.to(device)
    start = student.encode(noise * facts.noise_scale, 0.0, labels)
    rates = rates_of(student, start)
    spectra = [_of(rate, spectrum) for rate, spectrum in zip(rates, student.spectrum(), strict=True)]
    gauge = gauge_of(spectra)
    names = student.level_names
    files = [
        rate_figures.rate_planes(folder / "rates.png", names, rates, gauge),
        rate_figures.rate_times(folder / "times.png", names, rates, gauge),
    ]
    moving = [
        (name, rate)
        for name, rate in zip(names, rates, strict=True)
        if bool((rate.alpha != rate.alpha[:, :1, :1]).any())
    ]
    if moving:
        placed, shown = zip(*moving, strict=True)
        files.append(rate_figures.rate_maps(folder / "rate_maps.png", placed, shown, gauge))
    end = student.evolve(start, 1.0, labels)
    _, found = band_effects(student, end, labels, ORDERS, rates=rates)
    chance = sum(band.size for band in chance_effects(student, end, labels)) / len(BANDS)
    effects = {order: {band.band: band.size for band in found if band.order == order} for order in ORDERS}
    panels = {f"by {WORDS[order]}": {"effect": list(effects[order].values())} for order in ORDERS}
    files.append(
        path_figures.bars(
            folder / "band_effects.png",
            panels,
            BANDS,
            up="mean squared change",
            line=chance,
            line_name="a third by chance",
            title=f"change of the sample without a third of the modes (the effect has no gauge; the order's: {gauge})",
        )
    )
    levels = {
        name: _level_values(student, start, index, rate)
        for index, (name, rate) in enumerate(zip(names, rates, strict=True))
    }
    return spectra, files, {"band_effects": effects | {"chance": chance}, "rates": levels}


def _level_values(student: KoopmanStudent, start: Latent, index: int, rates: Rates) -> dict[str, float | None]:
    """Growth and turning of a level in numbers; spread over states is None where rates do not depend on them."""
    operator = student.operators[index]
    assert isinstance(operator, BlockOperator)
    between = None
    if operator.modulation is not None:
        level = start[index]
        between = float(operator.rates(level[:, :, None, None] if level.ndim == 2 else level).alpha.std(dim=0).mean())
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
