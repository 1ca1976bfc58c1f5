"""Networks sized by the data alone, for students that cannot take their teacher's."""

from __future__ import annotations

from koopstep.recipes.layers import Settings

_WAVES_UP_TO = 16  # numbers of a vector that enter as sines and cosines, too
_SMALLEST_MAP = 4  # side of the map at the bottom of a U-Net
_MOST_LEVELS = 3
_PATCHED_FROM = 28  # side from which a U-Net works on squares of 2 x 2 pixels


def mlp(*, width: int, depth: int, output_scale: float = 1.0) -> Settings:
    """A residual network for vectors that is conditioned on no level."""
    network: Settings = {"kind": "mlp", "width": width, "depth": depth, "fourier": 0}
    return network if output_scale == 1.0 else network | {"output_scale": output_scale}


def vector_mlp(size: int, *, small: bool = False) -> Settings:
    """The reader of vectors of ``size`` numbers: few of them enter as waves, which draw sharp edges."""
    width = 256 if size <= 64 else 512
    network = mlp(width=width // 2, depth=3) if small else mlp(width=width, depth=4)
    return network | ({"input_octaves": 3} if size <= _WAVES_UP_TO else {})


def unet(shape: tuple[int, ...]) -> Settings:
    """A U-Net for square images or latents (C, S, S) with as many halvings as the side allows."""
    channels, side, _ = shape
    patch = 2 if side >= _PATCHED_FROM and side % 2 == 0 and halvings(side // 2) else 1
    levels = halvings(side // patch)
    numbers = channels * side * side
    return {
        "kind": "unet",
        "model_channels": 16 if numbers <= 64 else 32 if numbers <= 1024 else 64,
        "channel_mult": [1, *[2] * levels],
        "channel_mult_emb": 2,
        "num_blocks": 2 if numbers <= 64 else 1,
        "attention_resolutions": [],
        "patch": patch,
    }


def halvings(side: int) -> int:
    """How often a map of this side can be halved, at most twice, and to no less than 4."""
    levels = 0
    while levels < _MOST_LEVELS - 1 and side % 2 == 0 and side // 2 >= _SMALLEST_MAP:
        side, levels = side // 2, levels + 1
    return levels
