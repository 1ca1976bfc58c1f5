"""Which modes an edit is of, for students whose modes are pictures with names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor

from koopstep.analysis.modes import Masks
from koopstep.analysis.words import listed
from koopstep.core.errors import UsageError
from koopstep.operators.rates import Rates
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

LEADING, ALL = "leading", "all"
_MOST_ENERGY = 0.9  # of what moves, which the leading modes hold
_TIMES = 13


def names_of(student: KoopmanStudent) -> tuple[str, ...]:
    """``constant``, ``1``, ``2``, ..., ``remainder``: the names of the student's modes, in order."""
    rates = next(iter(student.operators)).rates()
    numbers = 0 if rates is None or rates.mode is None else int(rates.mode.max()) - 1
    return ("constant", *(str(number + 1) for number in range(numbers)), "remainder")


def chosen_modes(
    student: KoopmanStudent, latent: Latent, wanted: Sequence[str], u: float, class_labels: Tensor | None = None
) -> tuple[int, ...]:
    """The places of the modes that are wanted, rising.

    Args:
        student: of named modes.
        latent: at progress ``u``, of the pictures that are edited.
        wanted: names (:func:`names_of`; ``mode 1`` is ``1``), ``leading`` for the fewest that hold nine tenths of the
            energy of all but the constant along the path, or ``all``.
        u: where the latent stands.
        class_labels: (B,) for conditional students.

    Raises:
        UsageError: on an unknown name, or none.
    """
    names, places = names_of(student), set[int]()
    if not wanted:
        raise UsageError("name at least one mode")
    for asked in wanted:
        name = asked.removeprefix("mode ").strip()  # as pictures and findings call it
        if name == ALL:
            places |= set(range(len(names)))
        elif name == LEADING:
            places |= set(_leading(student, latent, u, class_labels))
        elif name in names:
            places.add(names.index(name))
        else:
            close = difflib.get_close_matches(name, [*names, LEADING, ALL], n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UsageError(f"this student has the modes {', '.join(names)} (or leading, all), got {asked!r}{hint}")
    return tuple(sorted(places))


def in_words(student: KoopmanStudent, modes: Sequence[int]) -> str:
    """``the constant``; ``mode 1``; ``modes 1 and 2``; ``the constant, mode 1 and the remainder``; ``all modes``."""
    names = names_of(student)
    if len(modes) == len(names):
        return "all modes"
    numbered = [names[place] for place in modes if names[place].isdigit()]
    words = [f"mode{'s' * (len(numbered) > 1)} {listed(numbered)}"] if numbered else []
    if 0 in modes:
        words.insert(0, "the constant")
    if len(names) - 1 in modes:
        words.append("the remainder")
    return listed(words)


def masks_of(rates: Sequence[Rates], modes: Sequence[int]) -> Masks:
    """The channels of the modes, with what they carry beside their pictures: a mask a level, as mixing takes them."""
    masks = []
    for level in rates:
        number = torch.arange(len(level.alpha), device=level.alpha.device)
        mode = number if level.mode is None else level.mode.flatten()
        meant = torch.isin(mode, torch.tensor(modes, device=mode.device))
        masks.append(meant[:, None, None].expand(level.alpha.shape))
    return tuple(masks)


def other_modes(student: KoopmanStudent, modes: Sequence[int], seed: int) -> tuple[int, ...]:
    """As many other modes, drawn at random; as many as there are where those are fewer."""
    left = [place for place in range(len(names_of(student))) if place not in modes]
    order = torch.randperm(len(left), generator=torch.Generator().manual_seed(seed)).tolist()
    return tuple(sorted(left[place] for place in order[: len(modes)]))


def _leading(student: KoopmanStudent, latent: Latent, u: float, class_labels: Tensor | None) -> list[int]:
    energy = _energy(student, latent, u, class_labels)[1:]
    order = energy.argsort(descending=True)
    held = energy[order].cumsum(dim=0) / energy.sum().clamp(min=1e-30)
    needed = int((held < _MOST_ENERGY).sum()) + 1
    return [int(place) + 1 for place in order[:needed]]


def _energy(student: KoopmanStudent, latent: Latent, u: float, class_labels: Tensor | None) -> Tensor:
    """Mean square (M,) of what each mode adds along the path, in units of the states' mean square."""
    start = student.evolve(latent, -u, class_labels)
    times = torch.linspace(0, 1, _TIMES, device=latent[0].device)
    modes, sizes = student.codec.modes(start), student.codec.state_size(times)
    added = [
        modes.contributions(one[None])[0].square().transpose(0, 1).flatten(1).mean(dim=1) / size**2
        for one, size in zip(times, sizes, strict=True)
    ]
    return torch.stack(added).mean(dim=0)
