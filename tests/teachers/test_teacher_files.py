"""Teacher files: what is written is what is read, and nothing else is read."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from koopstep.core.errors import DamagedError, KoopstepError, UsageError
from koopstep.core.files import sha256_file
from koopstep.core.tensors import load_tensors, save_tensors
from koopstep.data.sources import load_source
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.teachers.base import TrainingData
from koopstep.teachers.edm import EDMConfig, build_edm
from koopstep.teachers.files import TeacherHeader, find_teacher, read_teacher_file, save_teacher
from koopstep.teachers.packaged import packaged_teachers

CONFIG = EDMConfig(shape=(2,), num_classes=3, network=MLPConfig(width=8, depth=2), sigma_max=10.0)


def written(path: Path, dtype: str = "float32", config: EDMConfig = CONFIG) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_edm(config)
    header = TeacherHeader(config=config, name="small", made_by="a test", weights_dtype=dtype)
    assert save_teacher(path, header, model) == sha256_file(path)
    return model


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("float64", 0.0), ("float16", 1e-3)])
def test_round_trip(tmp_path: Path, dtype: str, tolerance: float) -> None:
    path = tmp_path / "folder" / "t.safetensors"
    model = written(path, dtype)
    file = read_teacher_file(path)
    assert (file.header.name, file.header.made_by, file.header.config) == ("small", "a test", CONFIG)
    assert file.sha256 == file.teacher.sha256 == sha256_file(path)
    assert file.parameters == sum(p.numel() for p in model.parameters())
    for name, value in model.state_dict().items():
        loaded = file.model.state_dict()[name]
        assert loaded.dtype == torch.float32  # computed with in the network's own dtype, however stored
        torch.testing.assert_close(loaded, value, rtol=tolerance, atol=tolerance)
    assert not file.model.training
    assert not any(p.requires_grad for p in file.model.parameters())
    noise, labels = torch.randn(5, 2), torch.tensor([0, 1, 2, 0, 1])
    again = read_teacher_file(str(path)).teacher.path(noise, labels, steps=4)
    assert torch.equal(file.teacher.path(noise, labels, steps=4), again)


def test_float16_halves_the_file(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"network": MLPConfig(width=64, depth=3)})
    for dtype in ("float32", "float16"):
        written(tmp_path / dtype, dtype, config)
    sizes = [(tmp_path / dtype).stat().st_size for dtype in ("float16", "float32")]
    assert sizes[0] < 0.55 * sizes[1]


def test_equal_teachers_are_equal_files(tmp_path: Path) -> None:
    written(tmp_path / "a")
    written(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def refused(path: Path, error: type[KoopstepError], *words: str) -> None:
    with pytest.raises(error) as caught:
        read_teacher_file(path)
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message
    for word in (path.name, *words):
        assert word in message


def test_missing_files_and_names(tmp_path: Path) -> None:
    for wanted in (tmp_path / "missing.safetensors", tmp_path, Path("no-such-teacher")):
        refused(wanted, UsageError, "neither a file nor one of the packaged teachers", *packaged_teachers())


def test_tensors_that_are_no_teacher(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_tensors(path, {"x": torch.zeros(3)})
    refused(path, UsageError, "no koopstep teacher")


@pytest.mark.parametrize("keep", [0, 7, 40, -1])
def test_truncated_files(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "t.safetensors"
    written(path)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, DamagedError, "damaged")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_pickles_are_refused_and_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.pkl").write_bytes(pickle.dumps(Bomb()))
    torch.save({"model": Bomb()}, "t.pt")
    for name in ("t.pkl", "t.pt"):
        refused(tmp_path / name, DamagedError, "no safetensors file")
    assert not Path("exploded").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "t.safetensors"
    written(path)
    tensors, metadata = load_tensors(path)
    tensors["model.last.weight"][0, 0] = bad
    save_tensors(path, tensors, undigested(metadata))
    refused(path, DamagedError, "NaN or infinity")


def undigested(metadata: dict[str, str]) -> dict[str, str]:
    """The header without the digest of the tensors, as version 0.1 wrote it."""
    header = json.loads(metadata["koopstep_teacher"])
    del header["tensors_sha256"]
    return {"koopstep_teacher": json.dumps(header)}


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.uint16])
def test_whole_numbers_are_no_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "t.safetensors"
    written(path)
    tensors, metadata = load_tensors(path)
    tensors["model.last.weight"] = torch.ones(tensors["model.last.weight"].shape).to(dtype)
    save_tensors(path, tensors, undigested(metadata))
    refused(path, DamagedError, "model.last.weight", str(dtype))


def test_every_flipped_bit_of_the_weights_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    written(path)
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for place in range(start, len(whole), 97):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << (place % 8)
        path.write_bytes(bytes(spoilt))
        refused(path, DamagedError, "")


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    written(path)
    tensors, metadata = load_tensors(path)
    for change in (
        {"model.last.weight": torch.zeros(2, 9)},
        {"model.unknown": torch.zeros(1)},
    ):
        save_tensors(path, tensors | change, undigested(metadata))
        refused(path, DamagedError, "do not fit", next(iter(change)))
    tensors.pop("model.last.bias")
    save_tensors(path, tensors, undigested(metadata))
    refused(path, DamagedError, "do not fit", "model.last.bias")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, ("'format'", "2")),
        ({"surprise": 1}, ("'surprise'",)),
        ({"config": {"kind": "magic"}}, ("'config.kind'", "magic", "mixture")),
        ({"config": {"kind": "edm", "shape": [2]}}, ("network", "missing")),
        ({"config": {"kind": "edm", "shape": [], "network": {"kind": "mlp"}}}, ("shape",)),
        ({"config": {"kind": "edm", "shape": [2], "network": {"kind": "mlp", "width": 0}}}, ("width",)),
        ({"config": {"kind": "edm", "shape": [2], "network": {"kind": "mlp"}, "sigma_data": 0}}, ("sigma_data",)),
        ({"config": {"kind": "gaussian", "dimension": 0}}, ("dimension",)),
    ],
)
def test_wrong_headers(tmp_path: Path, change: dict[str, Any], words: tuple[str, ...]) -> None:
    path = tmp_path / "t.safetensors"
    written(path)
    tensors, metadata = load_tensors(path)
    header = json.loads(metadata["koopstep_teacher"]) | change
    save_tensors(path, tensors, {"koopstep_teacher": json.dumps(header)})
    with pytest.raises(UsageError) as caught:
        read_teacher_file(path)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_headers_that_are_no_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"x": torch.zeros(1)}, {"koopstep_teacher": text})
    refused(path, DamagedError, "not JSON")


def test_every_packaged_teacher_opens() -> None:
    for name, path in packaged_teachers().items():
        assert find_teacher(name) == path
        file = read_teacher_file(name)
        assert file.header.name == name
        noise = torch.zeros(1, *file.teacher.shape)
        labels = torch.zeros(1, dtype=torch.int64) if file.teacher.num_classes else None
        assert bool(torch.isfinite(file.teacher.path(noise, labels, steps=2)).all())


def test_packaged_teachers_fit_into_two_megabytes() -> None:
    assert sum(path.stat().st_size for path in packaged_teachers().values()) <= 2 * 2**20


def test_image_teachers_keep_their_network(tmp_path: Path) -> None:
    network = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1)
    config = EDMConfig(shape=(1, 4, 4), network=network)
    written(tmp_path / "t", config=config)
    assert read_teacher_file(tmp_path / "t").teacher.path(torch.randn(2, 1, 4, 4), steps=2).shape == (3, 2, 1, 4, 4)


def test_a_file_names_the_data_its_teacher_learned_from(tmp_path: Path) -> None:
    data = TrainingData(name="points", sha256="cd" * 32, shape=(2,), num_classes=3)
    save_teacher(
        tmp_path / "t", TeacherHeader(config=CONFIG, name="small", training_data=data), written(tmp_path / "plain")
    )
    assert read_teacher_file(tmp_path / "t").teacher.training_data == data
    assert read_teacher_file(tmp_path / "plain").teacher.training_data is None


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("koopstep teacher train digits; data digits 8aa4a98f227fcb6c; torch 2.13.0", "digits"),
        ("koopstep teacher train x; data my data; v2.npz 8aa4a98f227fcb6c; torch 2.13.0", "my data; v2.npz"),
        ("somebody, from data digits 8aa4a98f227fcb6c", None),
        ("koopstep teacher train x; data digits 8aa4; torch 2.13.0", None),
    ],
)
def test_files_of_version_0_1_name_it_in_words(words: str, name: str | None) -> None:
    found = TeacherHeader(config=CONFIG, name="small", made_by=words).learned_from()
    assert (found and found.name) == name
    assert found is None or found == TrainingData(name=name or "", sha256="8aa4a98f227fcb6c", shape=(2,))


def test_packaged_teachers_name_the_data_they_learned_from() -> None:
    named = {name: read_teacher_file(name).teacher.training_data for name in packaged_teachers()}
    for name, found in named.items():
        assert found is not None and found.name == name.split("-")[0]
        assert found.matches(load_source(found.name).identity())
