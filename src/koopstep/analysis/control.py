"""The random-mode control: what thirds of the modes do that are drawn at random, many times.

A band says something about its rates only where it does what random thirds rarely do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from koopstep.analysis.bands import Band, thirds
from koopstep.analysis.frequencies import mean_frequency
from koopstep.analysis.modes import BANDS, band_masks, drop, once, rates_of
from koopstep.operators.rates import Rates
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

CHANCE = "chance"
"""The order of thirds drawn at random."""
DRAWS, DRAWN_ROWS = 39, 16
"""Random draws of modes that thirds are held against, and the rows that is measured on."""
_RARE, _FEWEST = 0.05, 6


@dataclass(frozen=True)
class Control:
    """What random thirds do, a draw at a time, on the same rows: what varies is the choice of modes.

    Attributes:
        sizes: (D, 3), mean square of the effect of each third of each draw.
        gaps: (D,), how much finer the finest third of a draw is than the next, cycles a pixel; None for vectors.
    """

    sizes: Tensor
    gaps: Tensor | None

    @property
    def middle(self) -> float:
        """The median of the largest effect of a draw."""
        return float(self.sizes.amax(dim=1).median())

    @property
    def spread(self) -> tuple[float, float]:
        """Between which 95 % of the draws' largest effects lie: the largest of a choice of thirds is held against these."""
        low, high = self.sizes.amax(dim=1).quantile(torch.tensor([0.025, 0.975])).tolist()
        return low, high


def enough(rates: Sequence[Rates]) -> bool:
    """Whether random thirds say anything: of fewer than six modes that are chosen from, most draws are the same few."""
    return all(level.mode is None or int(level.mode.max()) + 1 >= _FEWEST for level in rates)


@torch.no_grad()
def chance_effects(
    student: KoopmanStudent, latent: Latent, class_labels: Tensor | None, *, seed: int = 0
) -> list[Band]:
    """The bands of one random draw, for pictures of it."""
    drawn = _drawn_rates(rates_of(student, latent), torch.Generator().manual_seed(seed))
    whole = student.decode(latent, 1.0, class_labels)
    return thirds(student, latent, class_labels, whole, drawn, "real", CHANCE)


@torch.no_grad()
def random_modes(
    student: KoopmanStudent, latent: Latent, class_labels: Tensor | None, *, seed: int = 1, draws: int = DRAWS
) -> Control:
    """Drop random thirds of the modes of the first rows of ``latent``, ``draws`` times."""
    latent = tuple(level[:DRAWN_ROWS] for level in latent)
    class_labels = None if class_labels is None else class_labels[:DRAWN_ROWS]
    generator, rates = torch.Generator().manual_seed(seed), rates_of(student, latent)
    whole, sizes, gaps = student.decode(latent, 1.0, class_labels), [], []
    for _ in range(draws):
        drawn = _drawn_rates(rates, generator)
        cut = (student.decode(drop(latent, band_masks(drawn, band, "real")), 1.0, class_labels) for band in BANDS)
        effects = [whole - one for one in cut]
        sizes.append([float(effect.square().mean()) for effect in effects])
        gaps.append(_gap(effects) if whole.ndim == 4 else 0.0)
    return Control(torch.tensor(sizes), torch.tensor(gaps, dtype=torch.float64) if whole.ndim == 4 else None)


def share_as_far(bands: Sequence[Band], order: str, control: Control) -> float | None:
    """Share of random draws whose finest third is as far ahead of the next as this order's; None for vectors.

    Args:
        bands: of any order, from the same rows as the control.
        order: which of them; it counts as one more draw.
        control: of :func:`random_modes`.
    """
    effects = _effects(bands, order)
    if control.gaps is None or any(effect.ndim != 4 for effect in effects):
        return None
    ours = _gap(effects)
    return (1 + int((control.gaps >= ours).sum())) / (1 + len(control.gaps))


def share_as_large(bands: Sequence[Band], order: str, control: Control) -> float:
    """Share of random draws whose largest effect is as large as the largest of this order's; see :func:`share_as_far`."""
    ours = max(float(effect.square().mean()) for effect in _effects(bands, order))
    largest = control.sizes.max(dim=1).values
    return (1 + int((largest >= ours).sum())) / (1 + len(largest))


def stands_out(share: float | None) -> bool | None:
    """Whether at most one random draw of modes in twenty gets as far."""
    return None if share is None else share <= _RARE


def _effects(bands: Sequence[Band], order: str) -> list[Tensor]:
    return [band.effect[:DRAWN_ROWS] for band in bands if band.order == order]


def _drawn_rates(rates: Sequence[Rates], generator: torch.Generator) -> list[Rates]:
    """Random rates: sorted by them, thirds are drawn at random; one a mode where pairs share modes."""
    drawn = []
    for level in rates:
        modes = level.alpha.shape if level.mode is None else once(level.alpha, level).shape
        alpha = torch.rand(modes, generator=generator).to(level.alpha.device)
        every = alpha if level.mode is None else alpha[level.mode.flatten()].expand(level.alpha.shape)
        drawn.append(Rates(every, torch.zeros_like(level.beta), level.mode))
    return drawn


def _gap(effects: Sequence[Tensor]) -> float:
    """Mean spatial frequency of the finest effect less that of the next, cycles a pixel."""
    first, second, *_ = sorted((mean_frequency(effect) for effect in effects), reverse=True)
    return first - second
