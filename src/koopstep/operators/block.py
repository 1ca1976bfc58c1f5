"""Block-diagonal operators on feature maps (HKD Eqs. 4 and 5): each pair of channels turns and grows at its own rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from koopstep.core.config import Config
from koopstep.core.errors import NumericsError, UsageError
from koopstep.operators.spectrum import Spectrum


class BlockConfig(Config):
    """A :class:`BlockOperator`.

    Attributes:
        sharing: where rates are the same: ``place`` has its own for every pixel (the paper), ``channel`` one for all
            pixels (any resolution), ``low_rank`` a sum of ``rank`` products of a channel's and a pixel's factor; ``none``
            has no rates at all and leaves the latent as it is (the control).
        rank: of ``low_rank``.
        modulation: how the rates depend on the state they start from: not at all (the paper), through its mean over
            pixels (``pooled``), or pixel by pixel (``local``). What the state adds lies between -1 and 1.
    """

    kind: Literal["block"] = "block"
    sharing: Literal["place", "channel", "low_rank", "none"] = "place"
    rank: int = Field(default=1, ge=1)
    modulation: Literal["none", "pooled", "local"] = "none"


@dataclass(frozen=True)
class Rates:
    """Growth ``alpha`` and turning ``beta`` of each pair of channels, per unit of u.

    Both (C/2, H, W), where H and W may be 1, or (B, C/2, H, W) where they depend on the state.
    """

    alpha: Tensor
    beta: Tensor


def advance(latent: Tensor, rates: Rates, du: Tensor) -> Tensor:
    """``exp(alpha du) [[cos, sin], [-sin, cos]](beta du)`` on every pair (HKD Eq. 5), in real arithmetic.

    Args:
        latent: (B, C, H, W); channels k and k + C/2 are a pair.
        rates: as the class says.
        du: () or (B,): progress in u.

    Returns:
        (B, C, H, W) in the dtype of ``latent``; with rates of zero bit for bit ``latent``.
    """
    step = du.reshape(-1, 1, 1, 1) if du.ndim else du
    return _turn(latent, *_factors(rates, step))


def _factors(rates: Rates, step: Tensor | float) -> tuple[Tensor, Tensor]:
    """What every channel is multiplied by, and what its partner is: (..., C, H, W) each."""
    size = (rates.alpha * step).exp()
    cosine, sine = size * (rates.beta * step).cos(), size * (rates.beta * step).sin()
    return torch.cat([cosine, cosine], dim=-3), torch.cat([sine, -sine], dim=-3)


def _turn(latent: Tensor, own: Tensor, partner: Tensor) -> Tensor:
    state = latent.to(own.dtype)
    return torch.addcmul(own * state, partner, state.roll(state.shape[1] // 2, dims=1)).to(latent.dtype)


def _turn_lean(latent: Tensor, own: Tensor, partner: Tensor) -> Tensor:
    """The same where no gradient is wanted: each half is added to in place, and nothing is rolled."""
    half, state = latent.shape[1] // 2, latent.to(own.dtype)
    moved = own * state
    moved[:, :half].addcmul_(partner[:half], state[:, half:])
    moved[:, half:].addcmul_(partner[half:], state[:, :half])
    return moved.to(latent.dtype)


class BlockOperator(nn.Module):
    """One level's linear flow in u. All rates start at zero: the fresh operator is the identity (HKD Alg. 1).

    With ``modulation`` the rates are read off the state that :meth:`evolve` is given, and hold for that whole step: the
    map is linear along a step, but two short steps are no longer one long one.

    Attributes:
        shape: (C, H, W) of the level; (D, 1, 1) for flat latents (B, D).
        dimension: numbers in the level.
        continuous: every real du is accepted.
    """

    continuous = True
    nothing: Tensor

    def __init__(self, config: BlockConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
        if channels % 2:
            raise UsageError(f"a block operator pairs channels and needs an even number of them, got {channels}")
        self.config, self.shape = config, (channels, height, width)
        self.dimension = channels * height * width
        pairs = channels // 2
        places = {"place": (height, width), "channel": (1, 1)}.get(config.sharing)
        if places is not None:
            self.alpha = nn.Parameter(torch.zeros(pairs, *places))
            self.beta = nn.Parameter(torch.zeros(pairs, *places))
        if config.sharing == "none":
            self.register_buffer("nothing", torch.zeros(pairs, 1, 1), persistent=False)
        if config.sharing == "low_rank":
            self.channel_factors = nn.Parameter(torch.zeros(2, pairs, config.rank))
            self.place_factors = nn.Parameter(_first_flat(config.rank, height, width))
        self.modulation: nn.Module | None = None
        if config.modulation != "none" and config.sharing != "none":
            self.modulation = nn.Conv2d(channels, channels, 1)
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)  # type: ignore[arg-type]
        self._kept: tuple[tuple[object, ...], Tensor, Tensor] | None = None

    def static_rates(self) -> Rates:
        """The rates without what the state adds, (C/2, H, W) each (H and W are 1 where pixels share them)."""
        if self.config.sharing == "low_rank":
            alpha, beta = torch.einsum("tcr,rhw->tchw", self.channel_factors, self.place_factors)
            return Rates(alpha, beta)
        if self.config.sharing == "none":
            return Rates(self.nothing, self.nothing)
        return Rates(self.alpha, self.beta)

    def rates(self, latent: Tensor) -> Rates:
        """The rates for a step that starts at ``latent`` (B, C, H, W)."""
        rates = self.static_rates()
        if self.modulation is None:
            return rates
        # neither a large latent nor a long training may drive a mode to nothing, from where no gradient leads back
        size = latent.square().mean(dim=(1, 2, 3), keepdim=True).add(1e-8).sqrt()
        seen = latent.mean(dim=(2, 3), keepdim=True) if self.config.modulation == "pooled" else latent
        alpha, beta = self.modulation((seen / size).to(rates.alpha.dtype)).tanh().chunk(2, dim=1)
        return Rates(rates.alpha + alpha, rates.beta + beta)

    def evolve(
        self,
        latent: Tensor,
        du: float | Tensor = 1.0,
        condition: Tensor | None = None,
        *,
        rates: Rates | None = None,
    ) -> Tensor:
        """Return ``latent`` (B, C, H, W) or (B, D) a progress ``du`` further on, in its dtype.

        Args:
            latent: of the shape this operator was made for (``channel`` sharing: of any height and width).
            du: a number, or (B,); negative goes back.
            condition: not taken: classes reach the networks instead.
            rates: to hold to, as :meth:`rates` gave them earlier; by default those of ``latent``.

        Raises:
            UsageError: on a wrong shape, or a condition.
        """
        if condition is not None:
            raise UsageError("a block operator takes no control input: its networks are told the class")
        self._check(latent)
        if self.config.sharing == "none" or (isinstance(du, float) and du == 0.0):
            return latent
        maps = latent[:, :, None, None] if latent.ndim == 2 else latent
        with torch.autocast(latent.device.type, enabled=False):
            if rates is None and self.modulation is None and isinstance(du, float) and self._may_keep():
                moved = _turn_lean(maps, *self._kept_factors(du))
            else:
                held = rates or self.rates(maps)
                step = torch.as_tensor(du, dtype=held.alpha.dtype, device=held.alpha.device)
                moved = advance(maps, held, step)
        return moved[:, :, 0, 0] if latent.ndim == 2 else moved

    def controlled_eigenvalues(self) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts of the eigenvalues over du = 1 (one of each conjugate pair), flat."""
        rates = self.static_rates()
        size = rates.alpha.exp()
        return (size * rates.beta.cos()).flatten(), (size * rates.beta.sin()).flatten()

    def inverse_consistency(self) -> Tensor:
        """Zero: the inverse is the same formula with -du."""
        return self.static_rates().alpha.new_zeros(())

    def spectrum(self) -> Spectrum:
        """Eigenvalues ``exp(alpha +- i beta)`` over du = 1 of every pair and place; with modulation, of its static part.

        Raises:
            NumericsError: if a rate is not finite.
        """
        with torch.no_grad():
            rates = self.static_rates()
            logarithm = torch.complex(rates.alpha.double(), rates.beta.double()).cpu().flatten()
        if not bool(torch.isfinite(torch.view_as_real(logarithm)).all()):
            raise NumericsError("operator: its rates hold NaN or infinity, so it has no spectrum; train it again")
        return Spectrum(eigenvalues=torch.stack([logarithm.exp(), logarithm.conj().exp()], dim=1).flatten())

    def _check(self, latent: Tensor) -> None:
        channels, height, width = self.shape
        flat = latent.ndim == 2 and (height, width) == (1, 1)
        fits = flat or (latent.ndim == 4 and (self.config.sharing == "channel" or latent.shape[2:] == (height, width)))
        if not fits or latent.shape[1] != channels:
            raise UsageError(
                f"operator: latent has shape {tuple(latent.shape)}; wanted (batch, {channels}, {height}, {width})"
            )

    def _may_keep(self) -> bool:
        return not self.training and not torch.is_grad_enabled() and not torch.compiler.is_compiling()

    def _kept_factors(self, du: float) -> tuple[Tensor, Tensor]:
        """The factors of a step, worked out once while nothing changes."""
        parts = list(self.parameters())
        traceable = not any(part.is_inference() for part in parts)
        key = (du, *((id(part), part.data_ptr(), part._version) for part in parts)) if traceable else ()
        if self._kept is not None and traceable and self._kept[0] == key:
            return self._kept[1:]
        with torch.inference_mode(False), torch.no_grad():
            factors = _factors(self.static_rates(), du)
        self._kept = (key, *factors) if traceable else None
        return factors


def _first_flat(rank: int, height: int, width: int) -> Tensor:
    """Places' factors: the first the same everywhere, the others waves, so that no two begin alike."""
    rows, columns = torch.linspace(0, torch.pi, height)[:, None], torch.linspace(0, torch.pi, width)
    waves = [(((r + 1) // 2) * rows).cos() * ((r // 2) * columns).cos() for r in range(rank)]
    return torch.stack([wave.expand(height, width) for wave in waves]).clone()
