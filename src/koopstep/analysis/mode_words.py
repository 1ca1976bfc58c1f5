"""What ``analyze RUN modes`` says."""

from __future__ import annotations

from koopstep.analysis.mode_energies import LEADING, NEEDED, ModeReading, half_life, period
from koopstep.analysis.words import held_out_rows, listed, percent, short
from koopstep.evaluation.samples import PathErrors


def times(read: ModeReading, index: int) -> str:
    """A mode's times in words: half-life (or growth) and period."""
    growth, rotation = read.rates(index)
    halves, turns = half_life(growth), period(rotation)
    if growth == 0 and turns is None:
        return "stays"
    words = (
        [f"half-life {short(halves)}" if halves is not None else f"doubles in {short(-0.6931 / -growth)}"]
        if growth
        else []
    )
    return ", ".join([*words, *([f"period {short(turns)}"] if turns is not None else [])])


def label(read: ModeReading, index: int) -> str:
    """A mode's name, its times, its energy and its effect, in lines."""
    return (
        f"{read.modes.names[index]}\n{times(read, index)}\nmotion {share(float(read.energy[index]))}, "
        f"end {share(float(read.effect[index]))}"
    )


def numbers_of(read: ModeReading, missed: PathErrors | None) -> dict[str, str]:
    """The few numbers people are shown: a line a mode, and what is missed."""
    found = {
        read.modes.names[
            index
        ]: f"{times(read, index)}; {share(float(read.energy[index]))} of the moving energy, changes the "
        f"end by {share(float(read.effect[index]))}"
        for index in range(len(read.energy))
    }
    if missed is not None:
        found["states on the way, unexplained"] = share(missed.within())
        if bool(missed.unseen[:-1].any()):
            found["at times never trained on"] = share(missed.within(unseen_only=True))
        found["the end, unexplained"] = share(float(missed.unexplained[-1]))
    return found


def share(value: float) -> str:
    """A share, which may be above 1 or next to nothing, in per cent."""
    return "<0.1 %" if 0 < value < 1e-3 else percent(value) if value <= 1 else f"{100 * value:,.0f} %"


def rates_words(read: ModeReading) -> str:
    """The leading modes and their times."""
    leading = [f"{read.modes.names[index]} ({times(read, index)})" for index in read.leading]
    if not leading:
        return "No mode moves."
    verb = "holds" if len(leading) == 1 else "hold"
    return f"{_capital(listed(leading))} {verb} {percent(LEADING)} of the moving energy."


def spread_words(read: ModeReading, who: str) -> str:
    """How far the rates of ``who`` lie apart, and that those shown elsewhere are their means."""
    growth, rotation = (
        float((rates.amax(dim=0) - rates.amin(dim=0)).max())
        for rates in (read.modes.growth_rates, read.modes.rotation_rates)
    )
    return (
        f"{_capital(who)} differ by at most {short(growth)} in a mode's growth rate and {short(rotation)} in its rotation "
        "rate; half-lives and periods shown are those of the mean rates."
    )


def path_words(missed: PathErrors | None, rows: str = "") -> str:
    """What the sum of the modes misses of the states, beside what standing still does."""
    if missed is None:
        return f"The store kept no states within the path to compare with{rows}."
    within = missed.within()
    still = float(missed.standing_still[:-1].square().mean().sqrt())
    unseen = ""
    if bool(missed.unseen[:-1].any()):
        unseen = f"; {share(missed.within(unseen_only=True))} at times never trained on"
    return (
        f"States on the way miss {share(within)} of what differs between rows (root mean square{unseen}), the end "
        f"{share(float(missed.unexplained[-1]))}; the one-step sample taken for every state misses {share(still)}{rows}."
    )


def modes_sentence(read: ModeReading, missed: PathErrors | None, rows: int) -> str:
    """How many modes hold the motion, how many are not needed, and what their sum misses; on how many rows."""
    count, leading = len(read.energy) - 2, read.leading
    needless = [read.modes.names[index] for index in read.not_needed]
    drop = (
        f" {_capital(listed(needless))} {'is' if len(needless) == 1 else 'are'} not needed (below {percent(NEEDED)})."
        if needless
        else ""
    )
    several = "1 mode" if count == 1 else f"{count} modes"
    hold = "holds" if len(leading) == 1 else "hold"
    return (
        f"From one evaluation, the path is the sum of {several}, a constant and a remainder; {len(leading)} of them "
        f"{hold} {percent(LEADING)} of the moving energy: {listed([read.modes.names[index] for index in leading])}.{drop} "
        f"{path_words(missed, f' ({held_out_rows(rows)})')}"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
