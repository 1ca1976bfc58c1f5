"""Numbers inside sentences: conclusions and findings say them as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def short(value: float) -> str:
    """Three significant digits: 0.0123, 4.57, 1,230, 3.2e-07."""
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "infinite"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -3:
        return f"{value:.1e}"
    return f"{value:,.{max(0, 2 - size)}f}"


def percent(share: float) -> str:
    """A share in [0, 1]: 0.4 %, 12 %."""
    value = 100 * share
    return f"{value:.0f} %" if value in (0, 100) or 10 <= value < 99.5 else f"{value:.2g} %" if value < 10 else ">99 %"


def listed(words: Sequence[str]) -> str:
    """``a``; ``a and b``; ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def held_out_rows(count: int) -> str:
    """``1 held-out row``; ``2,000 held-out rows``: what a conclusion rests on."""
    return f"{count:,} held-out row{'' if count == 1 else 's'}"
