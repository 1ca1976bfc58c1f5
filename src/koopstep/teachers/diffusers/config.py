"""What diffusers writes of a ``UNet2DModel`` and its scheduler, read as data: strict schemas in diffusers' own names.

No class is looked up by a name found in a file, and what a teacher cannot be is refused by the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from koopstep.core.config import Added, Config
from koopstep.core.errors import UsageError
from koopstep.core.pixels import PLAIN, DataRange
from koopstep.teachers.timesteps import NOISE_SIGMA, Spacing

DownBlock = Literal[
    "DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D", "SkipDownBlock2D", "AttnSkipDownBlock2D"
]
UpBlock = Literal["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D", "SkipUpBlock2D", "AttnSkipUpBlock2D"]
MAX_TIMESTEPS, MAX_WIDTH, MAX_LAYERS = 100_000, 65_536, 64  # far above any real network; a damaged file stays cheap


class UNet2DConfig(Config):
    """The ``config.json`` of a ``UNet2DModel``, with its names and defaults; what it cannot be as a teacher is left out."""

    sample_size: int | tuple[int, int]
    in_channels: int = Field(default=3, ge=1, le=MAX_WIDTH)
    out_channels: int = Field(default=3, ge=1)
    center_input_sample: bool = False
    time_embedding_type: Literal["positional", "learned"] = "positional"
    time_embedding_dim: int | None = Field(default=None, ge=1, le=MAX_WIDTH)
    freq_shift: int = 0
    flip_sin_to_cos: bool = True
    down_block_types: tuple[DownBlock, ...] = ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D")
    mid_block_type: Literal["UNetMidBlock2D"] | None = "UNetMidBlock2D"
    up_block_types: tuple[UpBlock, ...] = ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D")
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    layers_per_block: int = Field(default=2, ge=1, le=MAX_LAYERS)
    mid_block_scale_factor: float = 1.0
    downsample_padding: int = Field(default=1, ge=0)
    downsample_type: Literal["conv", "resnet"] = "conv"
    upsample_type: Literal["conv", "resnet"] = "conv"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    attention_head_dim: int | None = Field(default=8, ge=1)
    norm_num_groups: int = Field(default=32, ge=1)
    attn_norm_num_groups: int | None = Field(default=None, ge=1)
    norm_eps: float = Field(default=1e-5, gt=0)
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    add_attention: bool = True
    class_embed_type: None = None
    num_class_embeds: int | None = Field(default=None, ge=1, le=1_000_000)
    num_train_timesteps: int | None = Field(default=None, ge=1, le=MAX_TIMESTEPS)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        blocks = len(self.block_out_channels)
        if not 0 < len(self.down_block_types) == len(self.up_block_types) == blocks <= MAX_LAYERS:
            raise ValueError("down_block_types, up_block_types and block_out_channels must be of one length")
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise ValueError("out_channels must be in_channels, or twice them where the variance is learned")
        if min(*self.shape, *self.block_out_channels) < 1 or max(*self.shape, *self.block_out_channels) > MAX_WIDTH:
            raise ValueError(f"sample_size and block_out_channels must be from 1 to {MAX_WIDTH}")
        if any(side % 2 ** (blocks - 1) for side in self.shape[1:]):
            raise ValueError(f"sample_size must be divisible by {2 ** (blocks - 1)}, got {self.sample_size}")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one sample: (channels, height, width)."""
        height, width = (self.sample_size,) * 2 if isinstance(self.sample_size, int) else self.sample_size
        return self.in_channels, height, width


class ScheduleConfig(Config):
    """How a DDPM network was trained, in diffusers' names: its betas, and what it predicts.

    ``trained_betas``, where given, are the betas; else ``beta_schedule`` makes them.
    """

    num_train_timesteps: int = Field(default=1000, ge=2, le=MAX_TIMESTEPS)
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    beta_end: float = Field(default=0.02, gt=0, lt=1)
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.trained_betas is not None and len(self.trained_betas) != self.num_train_timesteps:
            raise ValueError(f"trained_betas must be {self.num_train_timesteps} numbers, got {len(self.trained_betas)}")
        if not all(0 < beta < 1 for beta in self.trained_betas or ()):
            raise ValueError("trained_betas must be numbers between 0 and 1")
        return self


class DiffusersConfig(Config):
    """A ``UNet2DModel`` as a teacher.

    Attributes:
        network: diffusers' own config of the network.
        schedule: diffusers' own config of the training schedule.
        data_scale: standard deviation of the data; about 0.5 for images in [-1, 1].
        data_range: what black and white are; None of data that are no images.
        solver: ``heun`` or ``ddim``.
        timesteps: which ones a path takes (see :class:`~koopstep.teachers.timesteps.Timesteps`); None: ``edm`` for ``heun``,
            ``trailing`` for ``ddim``.
        sigma_max: where ``edm`` timesteps start.
    """

    kind: Literal["diffusers"] = "diffusers"
    network: UNet2DConfig
    schedule: ScheduleConfig = ScheduleConfig()
    data_scale: float = Field(default=0.5, gt=0)
    data_range: Annotated[DataRange | None, Added()] = PLAIN
    solver: Literal["heun", "ddim"] = "heun"
    timesteps: Annotated[Spacing | None, Added()] = None
    sigma_max: float = Field(default=NOISE_SIGMA, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        learned = self.network.time_embedding_type == "learned"
        if learned and (self.network.num_train_timesteps or 0) < self.schedule.num_train_timesteps:
            raise ValueError(
                "a learned time embedding needs num_train_timesteps of the network as long as the schedule"
            )
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one sample: (channels, height, width)."""
        return self.network.shape

    @property
    def num_classes(self) -> int:
        """0 without class labels."""
        return self.network.num_class_embeds or 0


def read_network(config: Mapping[str, Any], where: str) -> UNet2DConfig:
    """The config of a ``UNet2DModel`` as data; ``where`` names it in errors.

    Raises:
        UsageError: if it is another network's, or one that cannot be a teacher.
    """
    return UNet2DConfig.parse(_plain(config, UNet2DConfig), where)


# They choose or shape diffusers' own sampling, not what the network was trained on; the last two are of old versions.
_OF_SAMPLING = {
    "clip_sample_range",
    "dynamic_thresholding_ratio",
    "sample_max_value",
    "set_alpha_to_one",
    "steps_offset",
    "timestep_spacing",
    "variance_type",
    "skip_prk_steps",
    "tensor_format",
}
_NOTED = ("clip_sample", "thresholding")


_DRAW_NOISE = ("ancestral", "solversde", "repaint", "lcm", "tcd", "unclip")


def refuse_stochastic(name: str, where: str, algorithm: str = "") -> None:
    """Raise UsageError for a scheduler that draws noise along the way: its samples are no function of the noise they start at.

    Args:
        name: of its class.
        where: names it in the error.
        algorithm: its ``algorithm_type``, where it has one.
    """
    if any(word in name.lower() for word in _DRAW_NOISE) or algorithm.startswith("sde"):
        raise UsageError(
            f"{where}: a {name[:80]} draws noise along the way, and a path must be a function of the noise it starts at; the "
            "same network has such paths with pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)"
        )


def read_schedule(config: Mapping[str, Any], where: str) -> tuple[ScheduleConfig, list[str]]:
    """The config of a DDPM or DDIM scheduler as data, and what of it our paths leave out, a line each.

    Raises:
        UsageError: on a schedule we do not know, or one that starts from infinite noise.
    """
    if config.get("rescale_betas_zero_snr"):
        raise UsageError(f"{where}: rescale_betas_zero_snr starts from infinite noise, which no path in sigma can")
    left_out = {*_OF_SAMPLING, *_NOTED, "rescale_betas_zero_snr"}
    fields = {key: value for key, value in _plain(config, ScheduleConfig).items() if key not in left_out}
    notes = [f"{name} is left out: paths are not clipped" for name in _NOTED if config.get(name)]
    return ScheduleConfig.parse(fields, where), notes


def _plain(config: Mapping[str, Any], model: type[Config]) -> dict[str, Any]:
    """Without bookkeeping (``_class_name``) and without unknown fields that say nothing; arrays as lists."""
    known = model.model_fields
    given = {
        key: value for key, value in config.items() if not key.startswith("_") and (value is not None or key in known)
    }
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in given.items()}
