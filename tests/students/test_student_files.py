"""Student folders: written last what vouches for the rest; every damage is seen and named."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from koopstep.core.errors import DamagedError, KoopstepError, StorageError, UsageError
from koopstep.core.tensors import load_tensors, save_tensors
from koopstep.nets.mlp import MLPConfig
from koopstep.operators.dense import DenseConfig
from koopstep.students.files import load_student, read_student_file, save_student
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

MLP = MLPConfig(width=8, depth=2)
CONFIG = KDMConfig(encoder=MLP, decoder=MLP, operator=DenseConfig(affine=True), latent=4)
FACTS = DataFacts(shape=(2,), noise_scale=25.0, data_scale=2.566)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written(tmp_path / "student")
    return tmp_path / "student"


def written(folder: Path) -> KoopmanStudent:
    torch.manual_seed(0)
    student = build_student(CONFIG, FACTS)
    save_student(folder, CONFIG, student, {"teacher": "a teacher"}, "# A card\n")
    return student


def refused(folder: Path, error: type[KoopstepError], *words: str) -> None:
    with pytest.raises(error) as caught:
        load_student(folder)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    for word in (folder.name, *words):
        assert word in str(caught.value)


def test_what_a_folder_holds(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert (folder / "README.md").read_text() == "# A card\n"
    described = read_student_file(folder)
    assert (described.student, described.facts, described.provenance) == (CONFIG, FACTS, {"teacher": "a teacher"})


def test_equal_students_are_equal_files(folder: Path, tmp_path: Path) -> None:
    written(tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_a_student_may_be_moved_and_written_again(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "s"
    shutil.copytree(folder, moved)
    noise = torch.randn(3, 2)
    assert torch.equal(load_student(moved)[0].generate(noise), load_student(folder)[0].generate(noise))
    student, _ = load_student(folder)
    with torch.no_grad():
        student.operators[0].weight.mul_(2)  # type: ignore[operator]
    save_student(folder, CONFIG, student, {}, "")
    assert torch.equal(load_student(folder)[0].generate(noise), student.generate(noise))


def test_no_student(tmp_path: Path) -> None:
    refused(tmp_path / "missing", UsageError, "is no folder")
    refused(tmp_path, UsageError, "neither a run nor a student folder")


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_weights(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    refused(folder, DamagedError, "model.safetensors", "damaged")


def test_a_flipped_bit_in_the_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    refused(folder, DamagedError, "SHA-256")


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, UsageError, "model.safetensors")


def test_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"weights": [1.0]}))
    refused(folder, DamagedError, "model.safetensors")


@pytest.mark.parametrize("text", ["", "{", "\x00\x01"])
def test_a_config_that_is_no_json(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    refused(folder, DamagedError, "config.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, ("'format'",)),
        ({"student": {"kind": "magic"}}, ("student",)),
        ({"surprise": 1}, ("'surprise'", "allowed")),
        ({"facts": {"shape": "2"}}, ("facts.shape",)),
        ({"sha256": 7}, ("sha256",)),
    ],
)
def test_a_config_that_says_something_else(folder: Path, change: dict[str, Any], words: tuple[str, ...]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(folder, UsageError, "config.json", *words)


def test_a_config_of_another_student(folder: Path) -> None:
    path = folder / "config.json"
    described = json.loads(path.read_text())
    described["student"]["latent"] = 5
    path.write_text(json.dumps(described))
    refused(folder, DamagedError, "do not fit", "size mismatch")
    tensors, _ = load_tensors(folder / "model.safetensors")
    described["student"]["latent"] = 4
    described["sha256"] = save_tensors(folder / "model.safetensors", {**tensors, "more": torch.zeros(1)})
    path.write_text(json.dumps(described))
    refused(folder, DamagedError, "do not fit", "more")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        written(tmp_path / "file" / "student")
