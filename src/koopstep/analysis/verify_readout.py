"""Eigenfunctions of students whose encoder knows the noise alone: read in the state, which is the sum of what they add to it.

What the eigenfunction is at a later state is what the other ones leave of that state: with ``P_k(u)`` the picture that the
functions of eigenvalue k add at u, ``s_k(u) = x_u - sum_(j != k) P_j(u)`` is compared with ``P_k(u)``.
The readout must be a sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.analysis.classical import principal
from koopstep.analysis.verify_eigenfunctions import Eigenfunctions, eigenfunctions
from koopstep.analysis.verify_latents import DIRECTIONS, EigenSums, LevelSeen, shifts
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.students.student import KoopmanStudent

_ITERATIONS, _DAMPING = 8, 1e-9
_SAMPLES = 2000


@torch.no_grad()
def walk_states(student: KoopmanStudent, batch: Batch) -> LevelSeen:
    """What is seen of a student of one level, whose observable is the state itself.

    Raises:
        UsageError: there are several levels, or modes are not pairs of channels: nothing says which part of a state is whose.
    """
    operators = list(student.operators)
    start = student.encode(batch.states[0], 0.0, batch.class_labels)
    functions = eigenfunctions(operators[0], start[0]) if len(operators) == 1 else None
    if functions is None or functions.conjugate is None or not student.codec.reads_path:
        raise UsageError(
            "this student's encoder knows the noise alone and its states are no sum of modes, so its eigenfunctions cannot "
            "be followed along a path"
        )
    found: list[dict[str, Tensor]] = []
    first: Tensor | None = None
    for u, truth in zip(batch.progress.tolist(), batch.states, strict=True):
        level = student.evolve(start, u, batch.class_labels)[0]
        pictures, partners = (_pictures(student, functions, one, u) for one in (level, _quarter(level)))
        partners = torch.where(_conjugates(functions).view(-1, 1, 1), -partners, partners)
        first = pictures if first is None else first
        found.append(_sums(truth, pictures, partners, first))
    together = {name: torch.stack([one[name] for one in found]) for name in found[0]}
    return _seen(student, functions, batch, together)


def _pictures(student: KoopmanStudent, functions: Eigenfunctions, level: Tensor, u: float) -> Tensor:
    """What the functions of each eigenvalue add to the state: (P, B, D), float64."""
    both = torch.cat([functions.space, functions.space]).view(level.shape[1:])
    alone = [student.decode((level * (both == index),), u).flatten(1) for index in range(len(functions.rates))]
    return torch.stack(alone).double()


def _quarter(level: Tensor) -> Tensor:
    """The level with partners in place of what is read."""
    own, partner = level.chunk(2, dim=1)
    return torch.cat([partner, torch.zeros_like(own)], dim=1)


def _conjugates(functions: Eigenfunctions) -> Tensor:
    """Bool (P,): whose rotation is negative, so that the partner is to be counted the other way."""
    flags = torch.zeros(len(functions.rates), dtype=torch.bool, device=functions.space.device)
    return flags if functions.conjugate is None else flags.index_put_((functions.space,), functions.conjugate)


def _sums(truth: Tensor, pictures: Tensor, partners: Tensor, start: Tensor) -> dict[str, Tensor]:
    """Sums over rows at one state of what the others leave (``left``), the picture and its partner."""
    state = truth.flatten(1).double()
    told = pictures.sum(dim=0)
    left = state - told + pictures
    own, picture, partner, before = (_centred(one) for one in (left, pictures, partners, start))
    half = len(state) // 2
    halves = (slice(0, half), slice(half, None))

    def each(one: Tensor, other: Tensor) -> Tensor:
        return torch.stack([(one[:, rows] * other[:, rows]).sum(dim=(1, 2)) for rows in halves])

    return {
        "size": _squares(own),
        "raw": _squares(left),
        "missed": _squares(own - picture),
        "still": _squares(own - before),
        "raw_still": _squares(left - start),
        "picture": picture,
        "state": state,
        "told": told,
        **{"left_left": each(own, own), "left_own": each(own, picture), "left_partner": each(own, partner)},
        **{"own": each(picture, picture), "partner": each(partner, partner), "cross": each(picture, partner)},
    }


def _seen(student: KoopmanStudent, functions: Eigenfunctions, batch: Batch, found: dict[str, Tensor]) -> LevelSeen:
    u = batch.progress.double()
    state, told = _centred(found["state"], 1), _centred(found["told"], 1)
    half = len(batch) // 2
    spread = state.square().sum(dim=(1, 2))
    weights = 1 / spread.clamp(min=1e-300)  # errors count by the state's size at each u
    shift = shifts(functions.rates)
    both = {name: values.sum(dim=1) for name, values in found.items() if name in _FITTED}
    eigen = EigenSums(
        functions,
        found["size"],
        found["raw"],
        found["missed"],
        found["still"],
        found["raw_still"],
        _left_over(both, u, shift),
        shift,
        (found["missed"] * weights[:, None])[1:].sum(dim=0),
        (found["size"] * weights[:, None])[1:].sum(dim=0),
        functions.rates + torch.stack([_best_shift({n: found[n][:, i] for n in _FITTED}, u, weights) for i in (0, 1)]),
        found["picture"].diff(dim=0).square().sum(dim=(2, 3)),
    )
    sized = (state / spread.sqrt()[:, None, None]).flatten(0, 1)
    main = principal(sized[:: -(-len(sized) // _SAMPLES)], DIRECTIONS)
    fitted, tried = slice(0, half), slice(half, None)
    return LevelSeen(
        student.level_names[0],
        eigen,
        state[:, tried].square().sum(dim=(1, 2)),
        (state - told)[:, tried].square().sum(dim=(1, 2)),
        (state - state[0])[:, tried].square().sum(dim=(1, 2)),
        state[:, fitted].square().sum(dim=(1, 2)),
        (state[1:, fitted] * state[:-1, fitted]).sum(dim=(1, 2)),
        main,
        state @ main.directions,
        None,
    )


_FITTED = ("left_left", "left_own", "left_partner", "own", "partner", "cross")


def _left_over(sums: dict[str, Tensor], u: Tensor, shift: Tensor) -> Tensor:
    """``|s_k - e^(a u) (cos(b u) P_k + sin(b u) Q_k)|^2`` (K, P) for rates shifted by a + ib."""
    growth = (u[:, None] * shift.real).exp()
    cosine, sine = growth * (u[:, None] * shift.imag).cos(), growth * (u[:, None] * shift.imag).sin()
    square = cosine.square() * sums["own"] + sine.square() * sums["partner"] + 2 * cosine * sine * sums["cross"]
    return (sums["left_left"] - 2 * (cosine * sums["left_own"] + sine * sums["left_partner"]) + square).clamp(min=0)


def _best_shift(sums: dict[str, Tensor], u: Tensor, weights: Tensor) -> Tensor:
    """The shift (P,) of each rate that fits what the others leave best: Gauss-Newton, from none."""
    shift = torch.zeros(sums["own"].shape[1], dtype=torch.complex128, device=u.device)
    scale = weights[:, None] * u[:, None].square()
    for _ in range(_ITERATIONS):
        growth, angle = (u[:, None] * shift.real).exp(), u[:, None] * shift.imag
        cosine, sine = growth * angle.cos(), growth * angle.sin()
        # the picture as it stands is c P + s Q, and its derivatives by growth and rotation are u times it and u (c Q - s P)
        own = cosine.square() * sums["own"] + sine.square() * sums["partner"] + 2 * cosine * sine * sums["cross"]
        turned = cosine.square() * sums["partner"] + sine.square() * sums["own"] - 2 * cosine * sine * sums["cross"]
        across = cosine * sine * (sums["partner"] - sums["own"]) + (cosine.square() - sine.square()) * sums["cross"]
        left = cosine * sums["left_own"] + sine * sums["left_partner"] - own
        left_turned = cosine * sums["left_partner"] - sine * sums["left_own"] - across
        a, b, c = ((scale * one).sum(dim=0) for one in (own, across, turned))
        right = [(weights[:, None] * u[:, None] * one).sum(dim=0) for one in (left, left_turned)]
        c = c + _DAMPING * a + 1e-300
        # without a partner nothing tells of a rotation
        decides = a * c - b * b
        step = torch.complex((c * right[0] - b * right[1]) / decides, (a * right[1] - b * right[0]) / decides)
        step = torch.where(c > 2 * _DAMPING * a, step, (right[0] / a.clamp(min=1e-300)).to(step))
        shift = shift + step / (1 + step.abs())
    return shift


def _centred(values: Tensor, dim: int = -2) -> Tensor:
    return values - values.mean(dim=dim, keepdim=True)


def _squares(values: Tensor) -> Tensor:
    return values.square().sum(dim=(1, 2))
