"""``analyze RUN spectrum`` of students whose modes have rates: the rates, and beside them what is free of any gauge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.bands import Band, band_effects
from koopstep.analysis.control import Control, enough, random_modes, share_as_large, stands_out
from koopstep.analysis.findings import Bars, Caption, Eigenvalues, Findings, LevelRates, View
from koopstep.analysis.modes import ORDER_WORDS, ORDERS, formed, has_rates, once, own_rates, rates_of
from koopstep.analysis.spectrum import gauge_of, identifiable, in_short, summarise
from koopstep.analysis.subject import Subject
from koopstep.analysis.verify_marks import Marks, marks
from koopstep.analysis.words import listed, percent, short
from koopstep.core.noise import gaussian, integers
from koopstep.operators.rates import Rates
from koopstep.operators.spectrum import Spectrum
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

_SEED, _ROWS = 2**31 - 1, 64  # of noise that no store was made from
_TURNS = 0.2 * math.pi


@dataclass(frozen=True)
class RateReading:
    """A student's rates, and what its modes do to samples.

    Attributes:
        spectra: of the mean rates, where they depend on the state.
        rates: of each level; one a mode where pairs of channels share modes.
        levels: name of a level -> mean and spread over modes; and over states, where rates depend on them.
        bands: thirds of the modes for each order, on 64 rows of fresh noise.
        control: the random-mode control; None where modes are too few for one.
        every: rates of each level, of every pair of channels.
    """

    spectra: list[Spectrum]
    rates: list[Rates]
    levels: dict[str, dict[str, float | None]]
    bands: list[Band]
    control: Control | None
    every: Sequence[Rates] = ()

    def effects(self) -> dict[str, dict[str, float]]:
        """Mean squared change of the sample without a third of the modes, by order and band."""
        return {order: {band.band: band.size for band in self.bands if band.order == order} for order in ORDERS}


@torch.no_grad()
def read_rates(student: KoopmanStudent) -> RateReading:
    """Read a student's rates on fresh noise, which needs no store."""
    facts, device = student.facts, next(student.parameters()).device
    noise = gaussian(_SEED, range(_ROWS), facts.shape).to(device)
    labels = integers(_SEED, range(_ROWS), facts.num_classes).to(device) if facts.num_classes else None
    start = student.encode(noise * facts.noise_scale, 0.0, labels)
    every = rates_of(student, start)
    rates = [Rates(once(rate.alpha, rate), once(rate.beta, rate)) for rate in every]
    spectra = [
        _of(rate, spectrum, paired=full.mode is None)
        for rate, full, spectrum in zip(rates, every, student.spectrum(), strict=True)
    ]
    end = student.evolve(start, 1.0, labels)
    _, found = band_effects(student, end, labels, ORDERS, rates=every)
    levels = {
        name: _level_values(student, start, index, rate)
        for index, (name, rate) in enumerate(zip(student.level_names, rates, strict=True))
    }
    control = random_modes(student, end, labels) if enough(every) else None
    return RateReading(spectra, rates, levels, found, control, every)


def spectrum(subject: Subject) -> Findings:
    """The spectrum of each level and in numbers; where modes have rates also these, and effects free of any gauge."""
    student, verified = subject.student, marks(subject)
    if has_rates(student):
        return _of_rates(student, verified)
    spectra, each = student.spectrum(), own_rates(student)
    values = summarise(spectra, each) | {"verified": verified.values()}
    passed = [verified.of_spectrum(index, one) for index, one in enumerate(spectra)]
    sentence = eigenvalue_sentence(values)
    text = (
        "Eigenvalues of the map that is applied, over the whole path, with the unit circle: inside it a mode decays, its "
        f"angle is the rotation over the path. {values['reading'].capitalize()}. {verified.caption}"
    )
    numbers = {
        f"eigenvalues of {level['level']}": f"{level['dimension']} of modulus {short(level['smallest_modulus'])} to "
        f"{short(level['spectral_radius'])}, {level['pairs']} pairs that rotate"
        for level in values["levels"]
    }
    return Findings(
        values,
        [Eigenvalues("spectrum.png", spectra, passed)],
        f"{sentence} {in_short(spectra, each)} {verified.words}",
        {"spectrum.png": Caption("The operator's eigenvalues", text, sentence)},
        numbers | {"eigenvalues": identifiable(gauge_of(spectra)), "verified": verified.words},
    )


def eigenvalue_sentence(values: dict[str, Any]) -> str:
    """How many eigenvalues decay, stay and grow over the path, all levels together."""
    levels = values["levels"]
    total, inside, on, outside, pairs = (
        sum(level[key] for level in levels) for key in ("dimension", "inside", "on", "outside", "pairs")
    )
    if on == total and not pairs:
        return f"All {total:,} eigenvalues are 1: the operator leaves the latent as it is."
    smallest = min(level["smallest_modulus"] for level in levels)
    radius = max(level["spectral_radius"] for level in levels)
    return (
        f"Of {total:,} eigenvalues {inside:,} decay over the path, {on:,} keep their size and {outside:,} grow (modulus "
        f"{short(smallest)} to {short(radius)}); {pairs:,} conjugate pairs rotate."
    )


def _of_rates(student: KoopmanStudent, verified: Marks) -> Findings:
    read = read_rates(student)
    gauge, names, each = gauge_of(read.spectra), student.level_names, own_rates(student)
    values = summarise(read.spectra, each)
    for level, operator in zip(values["levels"], student.operators, strict=True):
        level["numbers"] = operator.dimension
    effects, control = read.effects(), read.control
    chance = {} if control is None else {"chance": control.middle, "chance_spread": list(control.spread)}
    values |= {
        "band_effects": effects | chance,
        "rates": read.levels,
        "verified": verified.values(),
    }
    marked = [verified.of_rates(index, rate.alpha.shape) for index, rate in enumerate(read.every)]
    passed = [None if one is None else once(one, rate) for one, rate in zip(marked, read.every, strict=True)]
    views: list[View] = _rate_views(names, read.rates, gauge, passed)
    views.append(
        Bars(
            "band_effects.png",
            {f"by {ORDER_WORDS[order]}": {"effect": list(effects[order].values())} for order in ORDERS},
            formed(read.every),
            up="mean squared change",
            spread=None if control is None else ("largest of random thirds, 95 %", *control.spread),
            ordered=True,
            title="change of the sample without a third of the modes; the effect is identifiable, the order: "
            + identifiable(gauge),
        )
    )
    sentence, effect = rate_sentence(read), effect_sentence(read)
    drawn = {view.file for view in views}
    captions = {
        file: one
        for file, one in _captions(read, sentence, effect, values["reading"], verified).items()
        if file in drawn
    }
    numbers = {
        "modes": f"{sum(level.alpha.numel() for level in read.rates):,} on {len(names)} levels",
        "effect of a third by growth": ", ".join(f"{band} {short(size)}" for band, size in effects["real"].items()),
        "rates": identifiable(gauge),
        "verified": verified.words,
    }
    if control is not None:
        numbers["random-mode control"] = f"{short(control.spread[0])} to {short(control.spread[1])}"
    conclusion = f"{sentence} {effect} {in_short(read.spectra, each)} {verified.words}"
    return Findings(values, views, conclusion, captions, numbers)


def rate_sentence(read: RateReading) -> str:
    """Growth and rotation of all modes in a sentence."""
    alpha = torch.cat([level.alpha.flatten().double().cpu() for level in read.rates])
    beta = torch.cat([level.beta.abs().flatten().double().cpu() for level in read.rates])
    if not bool(alpha.any() or beta.any()):
        return f"All {len(alpha):,} modes have rates of 0: the operator leaves the latent as it is."
    if any(level.mode is not None for level in read.every):
        return mode_sentence(alpha, beta)
    low, middle, high = (float(alpha.kthvalue(max(1, round(q * len(alpha)))).values) for q in (0.05, 0.5, 0.95))
    turning = float((beta > _TURNS).double().mean())
    return (
        f"Over the whole path modes change their size by a factor of {short(math.exp(low))} to {short(math.exp(high))} "
        f"(median {short(math.exp(middle))}, 90 % of {len(alpha):,} modes) and rotate by {short(float(beta.median()))} "
        f"radians at the median; {percent(turning)} rotate by more than a tenth of a turn."
    )


def mode_sentence(alpha: Tensor, beta: Tensor) -> str:
    """The same of a few modes, each of many channels or pixels: how many decay, rotate and stay, and how fast."""
    still = (alpha == 0) & (beta == 0)
    halves, turns = math.log(2) / -alpha[alpha < 0], 2 * math.pi / beta[beta > 0]
    words = (
        [f"{int(still.sum())} {'stays as it is' if int(still.sum()) == 1 else 'stay as they are'}"]
        if bool(still.any())
        else []
    )
    for times, what, name in (
        (halves, "decay", ("half-lives", "a half-life")),
        (turns, "rotate", ("periods", "a period")),
    ):
        if len(times):
            fewest, most = short(float(times.min())), short(float(times.max()))
            one, reach = fewest == most, fewest if fewest == most else f"{fewest} to {most}"
            words.append(f"{len(times)} {what if len(times) > 1 else what + 's'} ({name[one]} of {reach} of the path)")
    growing = int((alpha > 0).sum())
    if growing:
        words.append("1 grows" if growing == 1 else f"{growing} grow")
    return f"Of {len(alpha)} modes {listed(words)}."


def effect_sentence(read: RateReading) -> str:
    """Which third by growth matters most, and whether more than random thirds, where modes are enough for these."""
    sizes = read.effects()["real"]
    most = max(sizes, key=lambda band: sizes[band])
    text = f"Without the third of {most} growth samples change by {short(sizes[most])}"
    if read.control is None:
        return f"{text}."
    share = share_as_large(read.bands, "real", read.control)
    return (
        f"{text}, which is {'more than' if stands_out(share) else 'no more than'} random thirds do ({percent(share)} of "
        "random draws have one as large)."
    )


def _captions(read: RateReading, sentence: str, effect: str, reading: str, verified: Marks) -> dict[str, Caption]:
    fastest = max(read.levels, key=lambda name: read.levels[name]["beta_size"] or 0.0)
    turns = read.levels[fastest]["beta_size"] or 0.0
    return {
        "spectrum.png": Caption(
            "The rates of the modes",
            "Each dot is a pair of channels: left of the line it decays, right of it it grows; upwards it rotates faster. "
            f"Axes are scaled to each level. {reading.capitalize()}. {verified.caption}",
            sentence,
        ),
        "times.png": Caption(
            "How fast modes are",
            "Share of a level's modes that halve, double or rotate once within a time; 1 is the whole path.",
            f"Level {fastest} rotates fastest: its modes turn by {short(turns)} radians over the path on average.",
        ),
        "rate_maps.png": Caption(
            "Rates by place",
            "Mean over a level's modes at each place of the image; colours mean the same on every level.",
            _places_sentence(read),
        ),
        "band_effects.png": Caption(
            "What thirds of the modes do",
            "Mean squared change of the sample when a third of the modes is dropped"
            f"{'.' if read.control is None else '; grey: where the largest of random thirds lies.'}",
            effect,
        ),
    }


def _places_sentence(read: RateReading) -> str:
    """On which level rates differ most between places."""
    spread = {
        name: float(level.alpha.mean(dim=0).std(correction=0))
        for name, level in zip(read.levels, read.rates, strict=True)
    }
    most = max(spread, key=lambda name: spread[name])
    if spread[most] == 0:
        return "Rates are the same at every place."
    return f"Growth differs most between places on level {most}, by {short(spread[most])} (standard deviation)."


def _rate_views(names: tuple[str, ...], rates: list[Rates], gauge: str, passed: Sequence[Tensor | None]) -> list[View]:
    views: list[View] = [
        LevelRates("spectrum.png", "plane", names, rates, gauge, passed),
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


def _of(rates: Rates, spectrum: Spectrum, *, paired: bool) -> Spectrum:
    """``spectrum`` with the eigenvalues of ``rates``; each with its conjugate, or real ones once where they are not paired."""
    values = torch.complex(rates.alpha.double(), rates.beta.double()).cpu().flatten().exp()
    if paired:
        return replace(spectrum, eigenvalues=torch.stack([values, values.conj()], dim=1).flatten())
    return replace(spectrum, eigenvalues=torch.cat([values, values[values.imag != 0].conj()]))
