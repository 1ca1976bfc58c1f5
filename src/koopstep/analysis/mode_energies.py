"""Koopman modes in numbers: how fast each is, how much of the path's motion and of its end it makes, how fine it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.frequencies import mean_frequency, radial_profile
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.students.decomposition import ModeDecomposition
from koopstep.students.student import KoopmanStudent

LEADING = 0.9
"""Share of the moving energy that the leading modes hold."""
NEEDED = 0.01
"""A mode with less of the moving energy is not needed."""
_POINTS = 41


@dataclass(frozen=True)
class ModeReading:
    """What M modes are and do on B held-out rows.

    Attributes:
        modes: of the rows.
        energy: (M,), share of the path's motion: the squared change of the mode's part from one kept state to the next, less
            its mean over rows, over the spread of the teacher's states there; summed over steps, and 1 over all modes.
        effect: (M,), root mean square of what the end loses without the mode, over the spread of the teacher's ends.
        u: (N,), even points along the path.
        size: (N, M), root mean square of what each mode adds at u, over that of the states there.
        profile: (M, R), share of image and partner's power at each radius of spatial frequency; None for vectors.
        frequency: (M,), their mean spatial frequency, cycles a pixel; None for vectors.
        shared: whether all rows have the same rates.
    """

    modes: ModeDecomposition
    energy: Tensor
    effect: Tensor
    u: Tensor
    size: Tensor
    profile: Tensor | None
    frequency: Tensor | None
    shared: bool

    @property
    def leading(self) -> list[int]:
        """The modes that hold 90 % of the moving energy, those with most first."""
        order = self.energy.argsort(descending=True, stable=True)
        before = self.energy[order].cumsum(0) - self.energy[order]
        return [int(one) for one in order[(before < LEADING) & (self.energy[order] > 0)]]

    @property
    def not_needed(self) -> list[int]:
        """The modes, but for constant and remainder, that hold less than 1 % of it."""
        return [index for index in range(1, len(self.energy) - 1) if self.energy[index] < NEEDED]

    def rates(self, index: int) -> tuple[float, float]:
        """A mode's mean growth and rotation rate over rows."""
        return float(self.modes.growth_rates[:, index].mean()), float(self.modes.rotation_rates[:, index].mean())

    def summary(self) -> list[dict[str, Any]]:
        """In plain numbers, a mapping a mode; None where it does not decay or rotate. Rates of rows' own are means."""
        found = []
        for index, name in enumerate(self.modes.names):
            growth, rotation = self.rates(index)
            one: dict[str, Any] = {
                "name": name,
                "growth_rate": growth,
                "rotation_rate": rotation,
                "half_life": half_life(growth),
                "period": period(rotation),
                "energy": float(self.energy[index]),
                "effect_at_end": float(self.effect[index]),
                "leading": index in self.leading,
                "needed": index not in self.not_needed,
                "spatial_frequency": None if self.frequency is None else float(self.frequency[index]),
            }
            if not self.shared:
                one["growth_rate_spread"] = float(self.modes.growth_rates[:, index].std(correction=0))
                one["rotation_rate_spread"] = float(self.modes.rotation_rates[:, index].std(correction=0))
            found.append(one)
        return found


def half_life(growth: float) -> float | None:
    """The u after which a mode has halved; None where it does not decay."""
    return math.log(2) / -growth if growth < 0 else None


def period(rotation: float) -> float | None:
    """The u of one turn; None where there is none."""
    return 2 * math.pi / abs(rotation) if rotation else None


def require_modes(student: KoopmanStudent) -> None:
    """Refuse a student whose modes cannot be looked at.

    Raises:
        UsageError: then.
    """
    if not student.codec.has_modes:
        raise UsageError("this needs a student of modes, which are pictures themselves: train with --method modes")


@torch.no_grad()
def read_modes(student: KoopmanStudent, batch: Batch) -> ModeReading:
    """Read the modes of held-out paths.

    Args:
        student: of modes.
        batch: rows with the states that the store kept, on the student's device.

    Raises:
        UsageError: if its modes cannot be looked at.
    """
    noise = batch.states[0] / student.facts.noise_scale
    modes = student.modes(noise, batch.class_labels)
    u = torch.linspace(0, 1, _POINTS)
    sizes = student.codec.state_size(u.to(noise.device)).cpu()
    size = torch.stack([_mean_square(modes.contributions(one[None])[0]) for one in u.to(noise.device)]).sqrt()
    end = modes.contributions(batch.progress[-1:].to(noise))[0]
    effect = (_mean_square(end) / spread(batch.data)).sqrt()
    shared = bool((modes.growth_rates == modes.growth_rates[:1]).all()) and bool(
        (modes.rotation_rates == modes.rotation_rates[:1]).all()
    )
    both = [torch.cat(one).cpu() for one in zip(modes.images.unbind(1), modes.partners.unbind(1), strict=True)]
    profiles = [profile for profile in map(radial_profile, both) if profile is not None]
    return ModeReading(
        modes,
        _energy(modes, batch),
        effect.cpu(),
        u,
        size.cpu() / sizes[:, None],
        torch.stack(profiles) if profiles else None,
        torch.tensor([mean_frequency(one) for one in both]) if profiles else None,
        shared,
    )


def spread(states: Tensor) -> Tensor:
    """Mean square of states (B, *shape) less their mean over rows."""
    return (states - states.mean(dim=0)).square().mean().clamp(min=torch.finfo(states.dtype).tiny)


def _energy(modes: ModeDecomposition, batch: Batch) -> Tensor:
    """Shares (M,) of the motion between kept states."""
    before, motion = None, torch.zeros(modes.images.shape[1], device=modes.images.device)
    for number, u in enumerate(batch.progress.to(modes.images)):
        now = modes.contributions(u[None])[0]
        if before is not None:
            step = now - before
            motion += _mean_square(step - step.mean(dim=0)) / spread(batch.states[number - 1])
        before = now
    return (motion / motion.sum().clamp(min=1e-30)).cpu()


def _mean_square(parts: Tensor) -> Tensor:
    """Means (M,) over rows and numbers of parts (B, M, *shape)."""
    return parts.square().flatten(2).mean(dim=(0, 2))
