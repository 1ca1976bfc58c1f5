"""Foreign checkpoints become files of ours: converted, opened again, sampled from; or refused in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from jobs import QUIET
from koopstep.cli import main
from koopstep.core.config import dump
from koopstep.core.devices import Place
from koopstep.core.errors import DamagedError, KoopstepError, UsageError
from koopstep.core.files import sha256_file
from koopstep.core.tensors import load_tensors, save_tensors
from koopstep.data.importers import import_source
from koopstep.nets.mlp import MLPConfig
from koopstep.teachers.edm import EDMConfig, build_edm
from koopstep.teachers.files import read_teacher_file
from koopstep.teachers.foreign.table import FOREIGN
from koopstep.workflows.convert import convert
from koopstep.workflows.evaluate import evaluate
from koopstep.workflows.sample import sample_run

KEYS = {"sha256", "kind", "shape", "num_classes", "parameters", "source", "source_sha256", "format"}


@pytest.fixture
def builder(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
    """The writers of foreign files that the tests of the readers use."""
    import importlib

    def find(folder: str, name: str) -> ModuleType:
        monkeypatch.syspath_prepend(repository / "tests" / folder)
        return importlib.import_module(name)

    return find


def run(source: Path, out: Path, **options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"config": None, "sha256": None, "weights_dtype": "float32", "job": QUIET}
    return convert(source, out, **{**given, **options})


def place() -> Place:
    return Place(torch.device("cpu"), 0, 1)


SMALL = {"model_channels": 16, "channel_mult": [1, 2], "channel_mult_emb": 1, "num_blocks": 1, "attn_resolutions": [4]}


def edm_pickle(builder: Callable[[str, str], ModuleType], path: Path) -> dict[str, torch.Tensor]:
    """An unconditional EDM network of 8 x 8 pictures; returns its weights."""
    pickles = builder("teachers", "edm_pickles")
    network = {
        **{"kind": "unet", "model_channels": 16, "channel_mult": [1, 2], "channel_mult_emb": 1, "num_blocks": 1},
        **{"attention_resolutions": [4], "dropout": 0.1, "augment_channels": 9},
    }
    config = EDMConfig.parse({"shape": [3, 8, 8], "network": network}, "test")
    torch.manual_seed(1)
    weights = {name: 0.1 * torch.randn_like(value) for name, value in build_edm(config).state_dict().items()}
    arguments = {"img_resolution": 8, "img_channels": 3, "augment_dim": 9, **SMALL}
    path.write_bytes(pickles.pickle_network("EDMPrecond", "SongUNet", arguments, pickles.with_filters(weights)))
    return weights


def test_an_edm_pickle_becomes_a_teacher(builder: Callable[[str, str], ModuleType], tmp_path: Path) -> None:
    weights = edm_pickle(builder, tmp_path / "net.pkl")
    out = tmp_path / "net.safetensors"
    result = run(tmp_path / "net.pkl", out)
    assert result.keys() >= KEYS
    assert (result["format"], result["kind"], result["shape"]) == ("edm-pickle", "edm", [3, 8, 8])
    assert result["source_sha256"] == sha256_file(tmp_path / "net.pkl")
    assert result["sha256"] == sha256_file(out)
    assert result["parameters"] == sum(value.numel() for value in weights.values())
    teacher = read_teacher_file(out)
    for name, value in teacher.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert teacher.header.source["sha256"] == result["source_sha256"]
    assert len(teacher.header.source["module_src_sha256"]) == 64
    assert result["source_sha256"] in result["made_by"]  # which `koopstep teacher info` shows
    path = teacher.teacher.path(torch.randn(2, 3, 8, 8), steps=2)
    assert path.shape == (3, 2, 3, 8, 8)
    assert bool(path.isfinite().all())
    again = run(tmp_path / "net.pkl", tmp_path / "again.safetensors")
    assert again["sha256"] == result["sha256"]


def test_a_user_may_know_what_a_teacher_learned_from(builder: Callable[[str, str], ModuleType], tmp_path: Path) -> None:
    edm_pickle(builder, tmp_path / "net.pkl")
    np.savez(tmp_path / "data.npz", images=np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3))
    result = run(tmp_path / "net.pkl", tmp_path / "net.safetensors", data=str(tmp_path / "data.npz"))
    assert result["training_data"]["name"] == "data.npz"
    assert read_teacher_file(tmp_path / "net.safetensors").teacher.training_data is not None
    with pytest.raises(UsageError, match=r"has shape \(1, 8, 8\) with 10 classes, the teacher makes \(3, 8, 8\)"):
        run(tmp_path / "net.pkl", tmp_path / "other.safetensors", data="digits")
    assert not (tmp_path / "other.safetensors").exists()


def test_the_digest_that_is_wanted(builder: Callable[[str, str], ModuleType], tmp_path: Path) -> None:
    """A single changed bit is refused where the digest is known: weights alone would not show it."""
    source = tmp_path / "net.pkl"
    edm_pickle(builder, source)
    digest = sha256_file(source)
    run(source, tmp_path / "a.safetensors", sha256=digest.upper())
    good = source.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(good), 1000):
        source.write_bytes(good[:position] + bytes([good[position] ^ 1 << int(position) % 8]) + good[position + 1 :])
        with pytest.raises(DamagedError, match="another file, or was changed"):
            run(source, tmp_path / "b.safetensors", sha256=digest)
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_number_formats(builder: Callable[[str, str], ModuleType], tmp_path: Path, dtype: torch.dtype) -> None:
    weights = edm_pickle(builder, tmp_path / "net.pkl")
    out = tmp_path / "net.safetensors"
    run(tmp_path / "net.pkl", out, weights_dtype=str(dtype).removeprefix("torch."))
    stored, _ = load_tensors(out)
    assert all(torch.equal(stored[name], value.to(dtype)) for name, value in weights.items())


def vector_teacher() -> tuple[EDMConfig, dict[str, torch.Tensor]]:
    config = EDMConfig(shape=(2,), network=MLPConfig(width=8, depth=2), sigma_data=2.5)
    return config, build_edm(config).state_dict()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("prefix", ["model.", "", "module.model.", "module."])
@pytest.mark.parametrize("form", [".yaml", ".json"])
def test_weights_with_a_config_beside_them(tmp_path: Path, suffix: str, prefix: str, form: str) -> None:
    config, weights = vector_teacher()
    renamed = {prefix + name.removeprefix("model."): value for name, value in weights.items()}
    source = tmp_path / f"w{suffix}"
    save_tensors(source, renamed) if suffix == ".safetensors" else torch.save({"state_dict": renamed}, source)
    text = yaml.safe_dump(dump(config)) if form == ".yaml" else json.dumps(dump(config))
    source.with_suffix(form).write_text(text)
    result = run(source, tmp_path / "t.safetensors")
    assert result["format"] == "state-dict"
    teacher = read_teacher_file(tmp_path / "t.safetensors")
    assert teacher.header.config == config
    assert all(torch.equal(value, weights[name]) for name, value in teacher.model.state_dict().items())


def test_weights_whose_config_is_missing_or_wrong(tmp_path: Path) -> None:
    config, weights = vector_teacher()
    source, given = tmp_path / "w.safetensors", tmp_path / "c.yaml"
    save_tensors(source, weights)
    out = tmp_path / "t.safetensors"
    with pytest.raises(UsageError, match=r"beside it, as .*w\.yaml or \.json"):
        run(source, out)
    cases: list[tuple[dict[str, Any], str]] = [
        ({**dump(config), "shape": [3]}, "has shape"),
        ({**dump(config), "colour": 1}, "unknown field|colour"),
        ({**dump(config), "kind": "os.system"}, "os.system"),
        ({"kind": "edm"}, "missing"),
    ]
    for plain, words in cases:
        given.write_text(yaml.safe_dump(plain))
        with pytest.raises(KoopstepError, match=words):
            run(source, out, config=given)
    given.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError):
        run(source, out, config=given)
    save_tensors(source, {**weights, "model.last.bias": torch.full((2,), float("nan"))})
    given.write_text(yaml.safe_dump(dump(config)))
    with pytest.raises(DamagedError, match="NaN or infinity"):
        run(source, out, config=given)
    assert not out.exists()


def test_inputs_are_never_written_over(tmp_path: Path) -> None:
    config, weights = vector_teacher()
    source, given = tmp_path / "w.safetensors", tmp_path / "w.yaml"
    save_tensors(source, weights)
    given.write_text(yaml.safe_dump(dump(config)))
    (tmp_path / "link.safetensors").hardlink_to(source)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for out in (*kept, tmp_path / "w.json"):
        for options in ({}, {"overwrite": True}, {"config": given}):
            with pytest.raises(UsageError, match="is what this command reads"):
                run(source, out, **options)
    out = tmp_path / "t.safetensors"
    out.write_text("mine")
    with pytest.raises(UsageError, match="exists already; name another, or add --overwrite"):
        run(source, out)
    assert {path: path.read_bytes() for path in kept} == kept and out.read_text() == "mine"
    assert run(source, out, overwrite=True)["sha256"] == sha256_file(out)


def test_no_file_of_a_folder_is_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "unet" / "weights.bin").write_text("theirs")
    with pytest.raises(UsageError, match="is what this command reads"):
        run(folder, folder / "unet" / "weights.bin", overwrite=True)


def test_what_describes_itself_needs_no_config(builder: Callable[[str, str], ModuleType], tmp_path: Path) -> None:
    edm_pickle(builder, tmp_path / "net.pkl")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(dump(vector_teacher()[0])))
    with pytest.raises(UsageError, match="says itself what it is; leave --config away"):
        run(tmp_path / "net.pkl", tmp_path / "t.safetensors", config=tmp_path / "c.yaml")


def test_a_teacher_of_ours_needs_no_conversion(tmp_path: Path) -> None:
    save_tensors(tmp_path / "t.safetensors", vector_teacher()[1], {"koopstep_teacher": "{}"})
    with pytest.raises(UsageError, match="koopstep teacher already"):
        run(tmp_path / "t.safetensors", tmp_path / "u.safetensors")


def test_the_checkerboard_module_becomes_a_student(builder: Callable[[str, str], ModuleType], tmp_path: Path) -> None:
    modules = builder("students", "checkerboard_modules")
    torch.manual_seed(0)
    original = modules.KoopmanDistillModelCheckerBoard()
    source, out = tmp_path / "model.pt", tmp_path / "student"
    source.write_bytes(modules.saved(original))
    result = run(source, out)
    assert result.keys() >= KEYS
    assert (result["format"], result["kind"], result["shape"]) == ("kdm-module", "kdm", [2])
    assert sorted(os.listdir(tmp_path)) == ["model.pt", "student"]  # noqa: PTH208
    sample_run(out, count=8, seed=3, class_labels=None, out=tmp_path / "x.npz", job=QUIET)
    noise = torch.randn(40, 2)
    states = np.stack([noise.numpy(), original.generate(noise).numpy()])
    np.save(tmp_path / "pairs.npy", states)
    import_source(tmp_path / "pairs.npy", tmp_path / "store", hold_out=10)
    measured = evaluate(out, data=tmp_path / "store", job=QUIET)
    assert measured.metrics["pair_mse"] < 1e-10
    with pytest.raises(UsageError, match="exists already"):
        run(source, out)


def test_nothing_that_is_known(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "folder").mkdir()
    for source in (tmp_path / "a.txt", tmp_path / "folder"):
        with pytest.raises(UsageError, match="none of the formats") as refused:
            run(source, tmp_path / "out")
        assert all(name in str(refused.value) for name in FOREIGN)
    with pytest.raises(UsageError, match="does not exist"):
        run(tmp_path / "missing", tmp_path / "out")
    with pytest.raises(UsageError, match="float32, float16, float64"):
        run(tmp_path / "a.txt", tmp_path / "out", weights_dtype="float8")


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"\x80\x04\x95\x0e\0\0\0\0\0\0\0\x8c\x02os\x8c\x06system\x93.", 2, "the file wants os.system"),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0N", 3, "damaged"),
    ],
)
def test_a_refusal_is_one_line_with_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, code: int, words: str
) -> None:
    source = tmp_path / "a.pkl"
    source.write_bytes(content)
    assert main.run(["teacher", "convert", str(source), "--out", str(tmp_path / "o"), "--json"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err.splitlines()[-1]
    assert "Traceback" not in said.err
    assert not (tmp_path / "o").exists()


def test_the_json_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, weights = vector_teacher()
    save_tensors(tmp_path / "w.safetensors", weights)
    (tmp_path / "w.json").write_text(json.dumps(dump(config)))
    command = ["teacher", "convert", str(tmp_path / "w.safetensors"), "--out", str(tmp_path / "t"), "--json"]
    assert main.run(command) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said.keys() >= KEYS
    assert said["source_sha256"] == sha256_file(tmp_path / "w.safetensors")
