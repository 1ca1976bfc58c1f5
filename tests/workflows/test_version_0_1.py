"""Stores, runs and students that version 0.1 wrote open in every later version and give what they gave."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from koopstep.cli.main import run
from koopstep.core.tensors import load_tensors
from koopstep.data.store import Store
from koopstep.runs.folder import open_run, read_config
from koopstep.sampling.onestep import generate
from koopstep.students.files import load_student

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "v0.1"
STORES = ("board-store", "digits-store")
RUNS = ("kdm", "kdm-f", "kdm-spectral", "hkd-board", "hkd-digits")


@pytest.mark.parametrize("name", STORES)
def test_a_store_opens_whole_and_keeps_its_digest(name: str) -> None:
    store = Store.open(FIXTURES / name)
    assert store.verify() == []
    assert store.root == json.loads((FIXTURES / name / "complete.json").read_text())["root"]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_opens_and_its_student_gives_the_same_samples(name: str) -> None:
    opened = open_run(FIXTURES / name)
    with np.load(FIXTURES / name / "samples.npz", allow_pickle=False) as kept:
        wanted = torch.from_numpy(kept["samples"])
    found, _ = generate(opened.student, 4, 3)
    # another processor sums in another order; these networks are a few layers deep
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_a_student_folder_opens_by_itself() -> None:
    student, file = load_student(FIXTURES / "kdm" / "student")
    assert student.facts.shape == (2,) and file.provenance["method"] == "kdm"


@pytest.mark.parametrize("name", RUNS)
def test_a_config_is_read(name: str) -> None:
    config = read_config(FIXTURES / name)
    assert config.data_root in {Store.open(FIXTURES / s).root for s in STORES}
    assert config.recipe.objective.linearity_scale == "state"  # what its weight of linearity was meant for


@pytest.fixture
def run_with_store(tmp_path: Path) -> Path:
    """A copy of the run ``kdm``, stopped at step 2 of 4, beside the store it learned from."""
    shutil.copytree(FIXTURES / "board-store", tmp_path / "board-store")
    shutil.copytree(FIXTURES / "kdm", tmp_path / "kdm")
    config = tmp_path / "kdm" / "config.yaml"
    config.write_text(config.read_text().replace("STORES/", f"{tmp_path}/"))
    shutil.rmtree(tmp_path / "kdm" / "student")
    return tmp_path / "kdm"


def test_an_unfinished_run_goes_on(run_with_store: Path) -> None:
    network = "{kind: mlp, width: 16, depth: 2, fourier: 0}"
    settings = [f"student.{part}={network}" for part in ("encoder", "data_encoder", "decoder")]
    settings += ["student.latent=8", "training.steps=4", "training.batch_size=8", "training.checkpoint_every=2"]
    changes = [word for setting in [*settings, "training.log_every=1"] for word in ("-o", setting)]
    folders = ["--data", str(run_with_store.parent / "board-store"), "--out", str(run_with_store)]
    assert run(["train", "checkerboard", *folders, "--resume", *changes]) == 0
    found, wanted = (
        load_tensors(folder / "kdm/student/model.safetensors")[0] for folder in (run_with_store.parent, FIXTURES)
    )
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)
