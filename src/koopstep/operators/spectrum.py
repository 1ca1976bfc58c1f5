"""The spectrum of an operator as an object: modes, half-lives, periods, and what may be read from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mode:
    """One real mode of a map: a real eigenvalue, or a conjugate pair, counted once, with angle > 0.

    Attributes:
        eigenvalue: of the map over du = 1, imaginary part >= 0.
        multiplicity: how many eigenvalues of the map it stands for: 1 for a real one, 2 for a conjugate pair, times the
            number of them that are equal.
        modulus: |eigenvalue|, >= 0.
        angle: in [0, pi] radians per unit of u (known up to multiples of 2 pi only: it is read off one step).
        half_life: in units of u; inf where the mode does not decay.
        period: of one turn in units of u; inf where it does not turn.
    """

    eigenvalue: complex
    multiplicity: int
    modulus: float
    angle: float
    half_life: float
    period: float


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of an effective real map over du = 1, and whether they mean anything.

    Attributes:
        eigenvalues: complex128, shape (d,), closed under conjugation, on the CPU.
        gauge: "fixed" when something pins the observables, so that eigenvalues belong to the dynamics; "free"
            when another encoder and decoder give the same samples with other eigenvalues. An operator alone
            says "free".
        pinned_by: in words what pins the gauge; empty when it is free.
        level: the name of the latent level the map acts on.
        lifted: complex128, shape (d,): the eigenvalues one sets, where these differ from those of the map
            applied (KDM-F: half of the lifted vector is dropped); None otherwise.
    """

    eigenvalues: Tensor
    gauge: Literal["fixed", "free"] = "free"
    pinned_by: str = ""
    level: str = "latent"
    lifted: Tensor | None = None

    def pinned(self, by: str) -> Spectrum:
        """Returns a copy whose gauge is fixed by what `by` says in words."""
        return replace(self, gauge="fixed", pinned_by=by)

    def modulus(self) -> Tensor:
        """Returns |eigenvalue|, float64, shape (d,)."""
        return self.eigenvalues.abs()

    def angle(self) -> Tensor:
        """Returns angles in (-pi, pi] radians per unit of u, float64, shape (d,)."""
        return torch.atan2(self.eigenvalues.imag, self.eigenvalues.real)

    def half_life(self) -> Tensor:
        """Returns the u after which a mode has halved, float64, shape (d,); inf where it does not decay."""
        modulus = self.modulus()
        decay = -torch.log2(modulus)
        return torch.where(modulus < 1, 1 / decay, math.inf)

    def period(self) -> Tensor:
        """Returns the u of one full turn, float64, shape (d,); inf for real positive eigenvalues."""
        return 2 * math.pi / self.angle().abs()

    def modes(self) -> list[Mode]:
        """Returns the real modes, slowest decay first, each conjugate pair and all that are equal merged into one."""
        upper = self.eigenvalues[self.eigenvalues.imag >= 0]  # their conjugates stand for both
        parts = torch.view_as_real(upper) + 0.0  # which makes -0 a 0
        found, counts = torch.unique(parts, dim=0, return_counts=True)
        apart = replace(self, eigenvalues=torch.view_as_complex(found), lifted=None)
        modes = [
            Mode(value, count * (2 if value.imag > 0 else 1), modulus, angle, half_life, period)
            for value, count, modulus, angle, half_life, period in zip(
                apart.eigenvalues.tolist(),
                counts.tolist(),
                apart.modulus().tolist(),
                apart.angle().tolist(),
                apart.half_life().tolist(),
                apart.period().tolist(),
                strict=True,
            )
        ]
        return sorted(modes, key=lambda mode: (-mode.modulus, mode.angle))
