"""EDM's network pickles, written here as their training writes them: the same weights come out, bit for bit."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import edm_pickles
import pytest
import torch
from torch import Tensor

from koopstep.core.errors import DamagedError, KoopstepError, UsageError
from koopstep.core.files import sha256_bytes
from koopstep.core.levels import iddpm_sigmas
from koopstep.nets.preconditioning import PRECONDITIONINGS
from koopstep.teachers.edm import EDMConfig, build_edm
from koopstep.teachers.foreign.edm import is_edm_pickle, read_edm
from koopstep.teachers.foreign.edm_dialect import read_edm_pickle

SONG: dict[str, Any] = {
    "model_channels": 16,
    "channel_mult": [1, 2],
    "channel_mult_emb": 2,
    "num_blocks": 1,
    "attn_resolutions": [8],
    "dropout": 0.13,
    "augment_dim": 9,
    "embedding_type": "positional",
    "channel_mult_noise": 1,
    "encoder_type": "standard",
    "decoder_type": "standard",
    "resample_filter": [1, 1],
}
NCSN = {
    **SONG,
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "channel_mult_noise": 2,
    "resample_filter": [1, 3, 3, 1],
}
ADM: dict[str, Any] = {
    "model_channels": 32,
    "channel_mult": [1, 2],
    "channel_mult_emb": 2,
    "num_blocks": 1,
    "attn_resolutions": [8],
    "dropout": 0.1,
    "augment_dim": 0,
}


@dataclass(frozen=True)
class Variant:
    """One network of theirs: how it was made, and our config of the same."""

    class_name: str
    model_type: str
    arguments: dict[str, Any]
    preconditioning: str
    num_classes: int = 0
    how: edm_pickles.Written = edm_pickles.Written()  # noqa: RUF009
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def outer(self) -> dict[str, Any]:
        return {"img_resolution": 16, "img_channels": 3, "label_dim": self.num_classes, "use_fp16": False}

    @property
    def config(self) -> EDMConfig:
        a = self.arguments
        if self.model_type == "SongUNet":
            network = {
                "kind": "unet",
                "model_channels": a["model_channels"],
                "channel_mult": a["channel_mult"],
                "channel_mult_emb": a["channel_mult_emb"],
                "num_blocks": a["num_blocks"],
                "attention_resolutions": a["attn_resolutions"],
                "dropout": a["dropout"],
                "augment_channels": a["augment_dim"],
                "embedding": a["embedding_type"],
                "encoder": a["encoder_type"],
                "channel_mult_noise": a["channel_mult_noise"],
                "resample_filter": a["resample_filter"],
            }
        else:
            renamed = {"attn_resolutions": "attention_resolutions", "augment_dim": "augment_channels"}
            network = {"kind": "adm"} | {renamed.get(name, name): value for name, value in a.items()}
        plain = {
            "shape": [3, 16, 16],
            "num_classes": self.num_classes,
            "network": network,
            "preconditioning": self.preconditioning,
            "sigma_min": max(0.002, PRECONDITIONINGS[self.preconditioning].sigma_min),
        }
        return EDMConfig.parse(plain, "variant")

    def weights(self) -> dict[str, Tensor]:
        """Random ones by the names of our model."""
        torch.manual_seed(7)
        model = build_edm(self.config)
        return {name: torch.randn_like(value) for name, value in model.state_dict().items()}

    def written(self, weights: dict[str, Tensor], **changed: Any) -> bytes:
        complete = edm_pickles.with_filters(weights, tuple(self.arguments.get("resample_filter", (1, 1))))
        if self.preconditioning == "iddpm":
            complete["u"] = iddpm_sigmas().float()
        arguments = {**self.outer, **self.arguments, **changed}
        facts = {**self.outer, **self.facts}
        return edm_pickles.pickle_network(self.class_name, self.model_type, arguments, complete, self.how, facts)


SNAPSHOT = edm_pickles.Written(old_numpy=True, snapshot=True)
VARIANTS = {
    "ddpmpp": Variant(
        "EDMPrecond", "SongUNet", SONG, "edm", facts={"sigma_min": 0, "sigma_max": math.inf, "sigma_data": 0.5}
    ),
    "ncsnpp": Variant("EDMPrecond", "SongUNet", NCSN, "edm"),
    "adm": Variant("EDMPrecond", "DhariwalUNet", ADM, "edm", num_classes=5),
    "vp": Variant("VPPrecond", "SongUNet", SONG, "vp", facts={"beta_d": 19.9, "sigma_min": 0.001, "sigma_max": 152.0}),
    "ve": Variant("VEPrecond", "SongUNet", NCSN, "ve"),
    "iddpm": Variant("iDDPMPrecond", "DhariwalUNet", ADM, "iddpm", num_classes=5),
    "snapshot": Variant("EDMPrecond", "SongUNet", SONG, "edm", num_classes=10, how=SNAPSHOT),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_are_the_same_bit_for_bit(name: str, tmp_path: Path) -> None:
    variant = VARIANTS[name]
    weights = variant.weights()
    path = tmp_path / "network.pkl"
    path.write_bytes(variant.written(weights))
    assert is_edm_pickle(path)
    read = read_edm(path)
    assert read.config == variant.config
    assert set(read.tensors) == set(weights)
    for key, value in weights.items():
        assert torch.equal(read.tensors[key], value), key
    assert read.recorded == {
        "class_name": variant.class_name,
        "module_src_sha256": sha256_bytes(edm_pickles.SOURCE.encode()),
    }


def test_the_pickles_here_are_like_theirs() -> None:
    """The names and opcodes are those that were found in pickles of the published code."""
    import pickletools

    names, opcodes = set(), set()
    for how in (SNAPSHOT, edm_pickles.Written()):
        variant = VARIANTS["snapshot"]
        data = edm_pickles.pickle_network(
            "EDMPrecond", "SongUNet", {**variant.outer, **SONG}, edm_pickles.with_filters(variant.weights()), how
        )
        texts: list[str] = []
        for opcode, argument, _ in pickletools.genops(data):
            opcodes.add(opcode.name)
            if opcode.name.endswith("BINUNICODE"):
                texts.append(str(argument))
            elif opcode.name == "STACK_GLOBAL":
                names.add(texts[-1])
    assert {"_reconstruct_persistent_obj", "_load_from_bytes", "_rebuild_tensor_v2", "ModuleDict", "scalar"} <= names
    assert {"STACK_GLOBAL", "FRAME", "MEMOIZE", "REDUCE", "NEWOBJ", "BUILD", "EMPTY_SET"} <= opcodes
    assert not opcodes & {"GLOBAL", "PERSID", "BINPERSID", "PUT", "BINPUT", "INST", "OBJ"}
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(data)  # Python itself looks for torch_utils


def pickled(
    tmp_path: Path, name: str = "ddpmpp", change: Callable[[dict[str, Tensor]], Any] | None = None, **changed: Any
) -> Path:
    weights = VARIANTS[name].weights()
    if change is not None:
        change(weights)
    path = tmp_path / "network.pkl"
    path.write_bytes(VARIANTS[name].written(weights, **changed))
    return path


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"decoder_type": "skip"}, r"decoder_type 'skip' is none our U-Net has \(standard\)"),
        ({"encoder_type": "skip"}, "encoder_type 'skip' is none our U-Net has"),
        ({"embedding_type": "zero"}, "embedding_type 'zero' is none"),
        ({"num_heads": 4}, "unknown field 'num_heads'"),
        ({"model_channels": "16"}, "model_channels"),
        ({"model_channels": 10**9}, "model_channels"),
        ({"img_resolution": 0}, "img_resolution"),
        ({"channel_mult": [1] * 50}, "channel_mult"),
        ({"channel_mult": []}, "channel_mult"),
        ({"channel_mult": torch.zeros(2)}, "no plain data"),
        ({"sigma_data": 0.25}, "sigma_data was 0.25 when the network was made and was changed"),
        ({"sigma_data": -1.0}, "sigma_data"),
        ({"img_resolution": 17}, "img_resolution was 17"),
        ({"channel_mult": [1] * 6}, "with a side that 32 divides"),
        ({"resample_filter": [1, 3, 3, 1]}, "resample_filter is not the filter"),
        ({"channel_mult": [1, 2, 2]}, "not those of the network"),
        ({"model_channels": 32}, "has shape"),
        ({"label_dim": 3}, "label_dim was 3"),
        ({"augment_dim": 0}, "too many .*map_augment"),
    ],
)
def test_arguments_that_are_not_ours(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(KoopstepError, match=words):
        read_edm(pickled(tmp_path, **changed))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop("model.map_layer0.bias"), r"1 missing \(model.map_layer0.bias\)"),
        (
            lambda weights: weights.update({"model.extra.weight": torch.zeros(2, 2)}),
            r"1 too many \(model.extra.weight\)",
        ),
        (lambda weights: weights["model.map_layer0.weight"].fill_(math.nan), "NaN or infinity"),
        (lambda weights: weights["model.map_layer0.weight"][0].fill_(math.inf), "NaN or infinity"),
        (lambda weights: weights.update({"model.map_layer0.bias": torch.zeros(7)}), "has shape"),
    ],
)
def test_weights_that_are_not_of_the_network(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], words: str
) -> None:
    with pytest.raises(DamagedError, match=words):
        read_edm(pickled(tmp_path, change=change))


def test_constants_of_other_preconditionings(tmp_path: Path) -> None:
    variant = VARIANTS["vp"]
    path = tmp_path / "network.pkl"
    path.write_bytes(variant.written(variant.weights(), beta_d=10.0))
    with pytest.raises(UsageError, match=r"beta_d is 10\.0; our 'vp' preconditioning has 19\.9"):
        read_edm(path)


def test_the_levels_of_iddpm_are_checked(tmp_path: Path) -> None:
    variant = VARIANTS["iddpm"]
    path = tmp_path / "network.pkl"
    weights = {**edm_pickles.with_filters(variant.weights()), "u": torch.linspace(80, 0, 1001)}
    arguments = {**variant.outer, **variant.arguments}
    path.write_bytes(edm_pickles.pickle_network("iDDPMPrecond", "DhariwalUNet", arguments, weights))
    with pytest.raises(DamagedError, match="levels are not those of the iDDPM"):
        read_edm(path)


def test_other_classes_and_contents(tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    cases = [
        (edm_pickles.pickle_network("Generator", "SongUNet", {}, {}), "holds a Generator; read are EDMPrecond"),
        (edm_pickles.pickle_network("EDMPrecond", "UNet", VARIANTS["ddpmpp"].outer, {}), "model_type"),
        (pickle.dumps({"ema": {"a": 1}}, protocol=4), "holds a network, or a dict with one under 'ema'"),
        (pickle.dumps({"net": 1}, protocol=4), "holds a network"),
    ]
    for data, words in cases:
        path.write_bytes(data)
        with pytest.raises(KoopstepError, match=words):
            read_edm(path)


def test_the_network_inside_is_the_one_announced(tmp_path: Path) -> None:
    variant = VARIANTS["ddpmpp"]
    path = tmp_path / "network.pkl"
    data = variant.written(variant.weights())
    # the outer arguments say model_type, the module inside carries its class
    first, second = data.index(b"\x8c\x08SongUNet"), data.rindex(b"\x8c\x08SongUNet")
    place = first if first == second else second
    path.write_bytes(data[: place + 2] + b"SongVNet" + data[place + 10 :])
    with pytest.raises(KoopstepError):
        read_edm(path)


def test_every_cut_is_refused() -> None:
    variant = VARIANTS["ddpmpp"]
    data = variant.written(variant.weights())
    for end in range(0, len(data), len(data) // 60):
        with pytest.raises(KoopstepError):
            read_edm_pickle(memoryview(data[:end]), "F")


def test_other_files_are_not_taken_for_one(tmp_path: Path) -> None:
    assert not is_edm_pickle(tmp_path)
    assert not is_edm_pickle(tmp_path / "missing.pkl")
    for data in (b"", b"PK\x03\x04", b"\x80\x02}."):
        (tmp_path / "a").write_bytes(data)
        assert not is_edm_pickle(tmp_path / "a")
