"""The arguments of EDM's networks as they stand in their pickles, and what they are in our configs.

Names and defaults are those of NVlabs/edm at 008a4e5; an argument that is not listed here is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from koopstep.core.config import Config
from koopstep.core.errors import UsageError
from koopstep.nets.preconditioning import PRECONDITIONINGS
from koopstep.nets.unet import Tap
from koopstep.teachers.edm import EDMConfig

Multiple = Annotated[int, Field(ge=1, le=4096)]
_SIGMA_MIN, _SIGMA_MAX = 0.002, 80.0  # of EDM's sampler; a network's own limits narrow them


class _Preconditioning(Config):
    """What the four preconditionings share."""

    img_resolution: int = Field(ge=1, le=4096)
    img_channels: int = Field(ge=1, le=64)
    label_dim: int = Field(default=0, ge=0, le=1_000_000)
    use_fp16: bool = False  # how their code computed, not what the weights are
    model_type: Literal["SongUNet", "DhariwalUNet"]


class EDMPrecond(_Preconditioning):
    """EDM's own."""

    sigma_min: float = Field(default=0.0, ge=0)
    sigma_max: float = Field(default=float("inf"), gt=0, allow_inf_nan=True)
    sigma_data: float = Field(default=0.5, gt=0)
    model_type: Literal["SongUNet", "DhariwalUNet"] = "DhariwalUNet"


class VPPrecond(_Preconditioning):
    """Variance preserving."""

    beta_d: float = 19.9
    beta_min: float = 0.1
    M: int = 1000
    epsilon_t: float = 1e-5
    model_type: Literal["SongUNet", "DhariwalUNet"] = "SongUNet"


class VEPrecond(_Preconditioning):
    """Variance exploding."""

    sigma_min: float = Field(default=0.02, ge=0)
    sigma_max: float = Field(default=100.0, gt=0)
    model_type: Literal["SongUNet", "DhariwalUNet"] = "SongUNet"


class iDDPMPrecond(_Preconditioning):
    """Improved DDPM."""

    C_1: float = 0.001
    C_2: float = 0.008
    M: int = 1000
    model_type: Literal["SongUNet", "DhariwalUNet"] = "DhariwalUNet"


class SongUNet(Config):
    """DDPM++ and NCSN++."""

    augment_dim: int = Field(default=0, ge=0, le=1024)
    model_channels: int = Field(default=128, ge=2, le=4096)
    channel_mult: tuple[Multiple, ...] = Field(default=(1, 2, 2, 2), min_length=1, max_length=8)
    channel_mult_emb: int = Field(default=4, ge=1, le=64)
    num_blocks: int = Field(default=4, ge=1, le=32)
    attn_resolutions: tuple[int, ...] = Field(default=(16,), max_length=64)
    dropout: float = Field(default=0.10, ge=0, lt=1)
    label_dropout: float = Field(default=0.0, ge=0, le=1)
    embedding_type: str = "positional"
    channel_mult_noise: int = Field(default=1, ge=1, le=64)
    encoder_type: str = "standard"
    decoder_type: str = "standard"
    resample_filter: tuple[Tap, ...] = Field(default=(1, 1), min_length=1, max_length=16)


class DhariwalUNet(Config):
    """ADM."""

    augment_dim: int = Field(default=0, ge=0, le=1024)
    model_channels: int = Field(default=192, ge=2, le=4096)
    channel_mult: tuple[Multiple, ...] = Field(default=(1, 2, 3, 4), min_length=1, max_length=8)
    channel_mult_emb: int = Field(default=4, ge=1, le=64)
    num_blocks: int = Field(default=3, ge=1, le=32)
    attn_resolutions: tuple[int, ...] = Field(default=(32, 16, 8), max_length=64)
    dropout: float = Field(default=0.10, ge=0, lt=1)
    label_dropout: float = Field(default=0.0, ge=0, le=1)


CLASSES: dict[str, tuple[str, type[_Preconditioning]]] = {
    "EDMPrecond": ("edm", EDMPrecond),
    "VPPrecond": ("vp", VPPrecond),
    "VEPrecond": ("ve", VEPrecond),
    "iDDPMPrecond": ("iddpm", iDDPMPrecond),
}
"""Class name -> our name and the schema of its arguments."""

_FIXED = ("beta_d", "beta_min", "M", "epsilon_t", "C_1", "C_2")  # ours has them as constants


def read_config(class_name: str, arguments: Mapping[str, Any], where: str) -> tuple[EDMConfig, _Preconditioning]:
    """Our config for a network that was made by ``class_name(**arguments)``.

    Returns:
        The config, and the arguments of the outer class alone.

    Raises:
        UsageError: another class, an unknown argument, or a network that ours cannot be.
    """
    if class_name not in CLASSES:
        raise UsageError(f"{where} holds a {class_name}; read are {', '.join(CLASSES)}")
    name, schema = CLASSES[class_name]
    outer = {key: value for key, value in arguments.items() if key in schema.model_fields}
    inner = {key: value for key, value in arguments.items() if key not in schema.model_fields}
    outside = schema.parse(outer, f"{where}: the arguments of {class_name}")
    for field in _FIXED:
        if field in schema.model_fields and getattr(outside, field) != schema.model_fields[field].default:
            wanted = schema.model_fields[field].default
            raise UsageError(
                f"{where}: {field} is {getattr(outside, field)}; our {name!r} preconditioning has {wanted}"
            )
    network = _song(inner, where) if outside.model_type == "SongUNet" else _dhariwal(inner, where)
    ours = PRECONDITIONINGS[name]
    least, most = ours.sigma_min, ours.sigma_max
    if isinstance(outside, EDMPrecond | VEPrecond):
        least, most = outside.sigma_min, outside.sigma_max
    config = {
        "shape": [outside.img_channels, outside.img_resolution, outside.img_resolution],
        "num_classes": outside.label_dim,
        "network": network,
        "preconditioning": name,
        "sigma_data": outside.sigma_data if isinstance(outside, EDMPrecond) else 0.5,
        "sigma_min": max(_SIGMA_MIN, least),
        "sigma_max": min(_SIGMA_MAX, most),
    }
    return EDMConfig.parse(config, f"{where}: its network"), outside


def _song(arguments: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = SongUNet.parse(arguments, f"{where}: the arguments of SongUNet")
    ours = {
        "embedding_type": ("positional", "fourier"),
        "encoder_type": ("standard", "residual"),
        "decoder_type": ("standard",),
    }
    for field, known in ours.items():
        if getattr(given, field) not in known:
            raise UsageError(f"{where}: {field} {getattr(given, field)!r} is none our U-Net has ({', '.join(known)})")
    return {
        "kind": "unet",
        "model_channels": given.model_channels,
        "channel_mult": list(given.channel_mult),
        "channel_mult_emb": given.channel_mult_emb,
        "channel_mult_noise": given.channel_mult_noise,
        "num_blocks": given.num_blocks,
        "attention_resolutions": list(given.attn_resolutions),
        "dropout": given.dropout,
        "augment_channels": given.augment_dim,
        "embedding": given.embedding_type,
        "encoder": given.encoder_type,
        "resample_filter": list(given.resample_filter),
    }


def _dhariwal(arguments: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = DhariwalUNet.parse(arguments, f"{where}: the arguments of DhariwalUNet")
    return {
        "kind": "adm",
        "model_channels": given.model_channels,
        "channel_mult": list(given.channel_mult),
        "channel_mult_emb": given.channel_mult_emb,
        "num_blocks": given.num_blocks,
        "attention_resolutions": list(given.attn_resolutions),
        "dropout": given.dropout,
        "augment_channels": given.augment_dim,
    }
