"""Block-diagonal operators on feature maps (HKD Eqs. 4 and 5): each pair of channels turns and grows at its own rate."""

from __future__ import annotations

from typing import Annotated, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from koopstep.core.config import Added, Config
from koopstep.core.errors import NumericsError, UsageError
from koopstep.operators.base import Operator, check_matrix
from koopstep.operators.rates import Rates, Turn, advance, drive, flow, turn_lean
from koopstep.operators.spectrum import Spectrum


class BlockConfig(Config):
    """A :class:`BlockOperator`.

    Attributes:
        sharing: where rates are the same: ``position`` has its own for every pixel (the paper), ``channel`` one for all
            pixels (any resolution), ``low_rank`` a sum of ``rank`` products of a channel's and a pixel's factor; ``none``
            has no rates at all and leaves the latent as it is (the control).
        rank: of ``low_rank``.
        modulation: how the rates depend on the state they start from: not at all (the paper), through its mean over
            pixels (``pooled``), or pixel by pixel (``local``). What the state adds lies between -1 and 1.
        initial_rate: growth that every mode starts with; 0 is the identity. For ``position`` and ``channel``.
    """

    kind: Literal["block"] = "block"
    sharing: Literal["position", "channel", "low_rank", "none"] = "position"
    rank: int = Field(default=1, ge=1)
    modulation: Literal["none", "pooled", "local"] = "none"
    initial_rate: Annotated[float, Added()] = 0.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.initial_rate and self.sharing not in ("position", "channel"):
            raise ValueError(f"initial_rate is for sharing position or channel, got {self.sharing}")
        return self


class BlockOperator(Operator):
    """One level's linear flow in u.

    Rates start at zero unless the config says otherwise: the fresh operator is the identity (HKD Alg. 1).
    Levels are (C, H, W), or (C,) for flat latents. Channels k and k + C/2 are a pair, and C must be even. With ``channel``
    sharing any height and width is taken. With ``modulation`` the rates are read off the state that :meth:`evolve` is
    given, and hold for that whole step.
    """

    nothing: Tensor

    def __init__(self, config: BlockConfig, shape: tuple[int, ...], generator: Generator) -> None:
        super().__init__(shape, continuous=True)
        if len(shape) not in (1, 3):
            raise UsageError(f"operator: a block operator takes levels (C,) or (C, H, W), got shape {shape}")
        channels, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
        if channels % 2:
            raise UsageError(
                f"operator: a block operator pairs channels and needs an even number of them, got {channels}; change "
                "student.latent (or the network's channels), or choose another operator.kind"
            )
        self.config = config
        self.still, self.state_dependent = config.sharing == "none", False
        pairs = channels // 2
        places = {"position": (height, width), "channel": (1, 1)}.get(config.sharing)
        if places is not None:
            self.alpha = nn.Parameter(torch.full((pairs, *places), config.initial_rate))
            self.beta = nn.Parameter(torch.zeros(pairs, *places))
        if config.sharing == "none":
            self.register_buffer("nothing", torch.zeros(pairs, 1, 1), persistent=False)
        if config.sharing == "low_rank":
            self.channel_factors = nn.Parameter(torch.zeros(2, pairs, config.rank))
            self.place_factors = nn.Parameter(_first_flat(config.rank, height, width))
        self.modulation: nn.Module | None = None
        if config.modulation != "none" and not self.still:
            self.state_dependent = True
            self.modulation = nn.Conv2d(channels, channels, 1)
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)  # type: ignore[arg-type]

    def rates(self, latent: Tensor | None = None) -> Rates:
        """Growth and turning; (C/2, H, W) each, where H and W are 1 if pixels share them.

        With a ``latent`` and modulation those of a step that starts there: (B, C/2, H, W).
        """
        rates = self._static_rates()
        if self.modulation is None or latent is None:
            return rates
        maps = _as_maps(latent)
        # neither a large latent nor a long training may drive a mode to nothing, from where no gradient leads back
        size = maps.square().mean(dim=(1, 2, 3), keepdim=True).add(1e-8).sqrt()
        seen = maps.mean(dim=(2, 3), keepdim=True) if self.config.modulation == "pooled" else maps
        alpha, beta = self.modulation((seen / size).to(rates.alpha.dtype)).tanh().chunk(2, dim=1)
        return Rates(rates.alpha + alpha, rates.beta + beta)

    def matrix(self, du: float | Tensor = 1.0) -> Tensor:
        check_matrix(self.shape)
        rates = self._static_rates()
        every = torch.eye(self.dimension).to(rates.alpha).view(self.dimension, *self.shape)
        step = torch.as_tensor(du, dtype=rates.alpha.dtype, device=rates.alpha.device)
        return advance(_as_maps(every), rates, step).flatten(1).T

    def controlled_eigenvalues(self) -> tuple[Tensor, Tensor]:
        rates = self._every_rate()
        size = rates.alpha.exp().flatten()
        real, imag = size * rates.beta.cos().flatten(), size * rates.beta.sin().flatten()
        return torch.cat([real, real]), torch.cat([imag, -imag])

    def spectrum(self) -> Spectrum:
        """Eigenvalues ``exp(alpha +- i beta)`` over du = 1 of every pair and place.

        Raises:
            NumericsError: if a rate is not finite.
        """
        with torch.no_grad():
            rates = self._every_rate()
            logarithm = torch.complex(rates.alpha.double(), rates.beta.double()).cpu().flatten()
        if not bool(torch.isfinite(torch.view_as_real(logarithm)).all()):
            raise NumericsError("operator: its rates hold NaN or infinity, so it has no spectrum; train it again")
        return Spectrum(eigenvalues=torch.stack([logarithm.exp(), logarithm.conj().exp()], dim=1).flatten())

    def _move(self, latent: Tensor, step: float | Tensor, condition: Tensor | None) -> Tensor:
        if self.still and condition is None:
            return latent
        maps, control = _as_maps(latent), None if condition is None else _as_maps(condition)
        if isinstance(step, float) and not self.state_dependent and self._may_keep():
            moved = self._move_kept(maps, step, control)
        else:
            rates = self.rates(maps)
            du = torch.as_tensor(step, dtype=rates.alpha.dtype, device=rates.alpha.device)
            moved = advance(maps, rates, du, control)
        return moved.view(latent.shape)

    def _move_kept(self, maps: Tensor, step: float, control: Tensor | None) -> Tensor:
        """The same for inference, with factors that are worked out once while nothing changes."""
        by, driven = self._kept_factors(step, control is not None)
        moved = turn_lean(maps, by)
        if control is not None and driven is not None:
            moved = moved + turn_lean(control, driven)
        return moved.to(maps.dtype)

    def _kept_factors(self, step: float, driven: bool) -> tuple[Turn, Turn | None]:
        def work_out() -> tuple[Turn, Turn | None]:
            rates = self._static_rates()
            du = torch.tensor(step, dtype=rates.alpha.dtype, device=rates.alpha.device)
            return flow(rates, du), drive(rates, du) if driven else None

        return cast(tuple[Turn, Turn | None], self._cache.get(self.parameters(), work_out, step, driven))

    def _static_rates(self) -> Rates:
        """The rates without what the state adds."""
        if self.config.sharing == "low_rank":
            alpha, beta = torch.einsum("tcr,rhw->tchw", self.channel_factors, self.place_factors)
            return Rates(alpha, beta)
        if self.still:
            return Rates(self.nothing, self.nothing)
        return Rates(self.alpha, self.beta)

    def _every_rate(self) -> Rates:
        """The static rates at every place, (C/2, H, W)."""
        rates, places = self._static_rates(), self.shape[1:] or (1, 1)
        return Rates(rates.alpha.expand(-1, *places), rates.beta.expand(-1, *places))

    def _takes(self, shape: tuple[int, ...]) -> bool:
        return self.config.sharing == "channel" and len(shape) == 3 and shape[0] == self.shape[0]


def _as_maps(latent: Tensor) -> Tensor:
    """Levels (B, C) as (B, C, 1, 1)."""
    return latent[:, :, None, None] if latent.ndim == 2 else latent


def _first_flat(rank: int, height: int, width: int) -> Tensor:
    """Places' factors: the first the same everywhere, the others waves, so that no two begin alike."""
    rows, columns = torch.linspace(0, torch.pi, height)[:, None], torch.linspace(0, torch.pi, width)
    waves = [(((r + 1) // 2) * rows).cos() * ((r // 2) * columns).cos() for r in range(rank)]
    return torch.stack([wave.expand(height, width) for wave in waves]).clone()
