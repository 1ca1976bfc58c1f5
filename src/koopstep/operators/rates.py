"""Growth and turning of pairs of channels, and the closed form of their flow (HKD Eq. 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from koopstep.operators.exponential import rotation, rotation_integral


@dataclass(frozen=True)
class Rates:
    """Growth ``alpha`` and turning ``beta`` (radians) of each pair of channels k and k + C/2, per unit of u.

    Both (C/2, H, W), where H and W may be 1, or (B, C/2, H, W) where they depend on the state. ``mode`` is the number of the
    mode that a pair belongs to, int64 (C/2, 1, 1), where several pairs are one mode; None where each is its own.
    """

    alpha: Tensor
    beta: Tensor
    mode: Tensor | None = None


@dataclass(frozen=True)
class Turn:
    """What every channel is multiplied by, and what its partner is: both (..., C, H, W) or with H and W of 1."""

    own: Tensor
    partner: Tensor


def flow(rates: Rates, step: Tensor) -> Turn:
    """Returns ``exp(alpha du) [[cos, sin], [-sin, cos]](beta du)``: the map over a step."""
    return _turn(*rotation(rates.alpha, rates.beta, step))


def drive(rates: Rates, step: Tensor) -> Turn:
    """Returns the integral of :func:`flow` from 0 to the step: what a control input held constant adds."""
    return _turn(*rotation_integral(rates.alpha, rates.beta, step))


def turn(maps: Tensor, by: Turn) -> Tensor:
    """Returns ``maps`` (B, C, H, W) turned, in the dtype of the rates."""
    state = maps.to(by.own.dtype)
    return torch.addcmul(by.own * state, by.partner, state.roll(state.shape[1] // 2, dims=1))


def turn_lean(maps: Tensor, by: Turn) -> Tensor:
    """The same where no gradient is wanted and no row has its own rates: halves are added to in place, nothing rolled."""
    half, state = maps.shape[1] // 2, maps.to(by.own.dtype)
    moved = by.own * state
    moved[:, :half].addcmul_(by.partner[:half], state[:, half:])
    moved[:, half:].addcmul_(by.partner[half:], state[:, :half])
    return moved


def advance(maps: Tensor, rates: Rates, du: Tensor, condition: Tensor | None = None) -> Tensor:
    """Returns every pair a step further on, in real arithmetic.

    Args:
        maps: (B, C, H, W).
        rates: as the class says.
        du: () or (B,): progress in u.
        condition: control input (B, C, H, W), held constant over the step.

    Returns:
        (B, C, H, W) in the dtype of ``maps``; with rates of zero and no control bit for bit ``maps``.
    """
    step = du.reshape(-1, 1, 1, 1) if du.ndim else du
    moved = turn(maps, flow(rates, step))
    if condition is not None:
        moved = moved + turn(condition, drive(rates, step))
    return moved.to(maps.dtype)


def _turn(cosine: Tensor, sine: Tensor) -> Turn:
    return Turn(torch.cat([cosine, cosine], dim=-3), torch.cat([sine, -sine], dim=-3))
