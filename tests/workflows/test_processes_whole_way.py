"""Two processes go the whole way of a class-conditional image preset, as under torchrun: teach, collect, train, evaluate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import forks
from koopstep.core.tensors import load_tensors
from koopstep.runs.folder import read_metrics

NETWORK = "{kind: unet, model_channels: 8, channel_mult: [1, 2], channel_mult_emb: 2, num_blocks: 1, attention_resolutions: []}"
TEACH = [
    f"teacher.model.network={NETWORK}",
    "teacher.training={steps: 30, batch_size: 16, learning_rate: 0.002, log_every: 1, warmup_steps: 5}",
]
TRAIN = [
    f"student.decoder={NETWORK}",
    "student.encoder={kind: mlp, width: 32, depth: 2, fourier: 0, output_scale: 0.0}",
    "training={steps: 20, batch_size: 16, learning_rate: 0.002, log_every: 1}",
]


def _command(*words: str, changes: list[str] | None = None) -> None:
    from koopstep.cli import main

    options = [word for change in changes or [] for word in ("-o", change)]
    if main.run([*words, "--device", "cpu", "--json", *options]) != 0:
        raise RuntimeError(f"koopstep {' '.join(words)} failed")


def _teach(file: Path) -> None:
    _command("teacher", "train", "digits-cond", "--out", str(file), changes=TEACH)


def zygote(base: Path) -> None:
    """Everything below happens in processes without threads; the first of each says one line of JSON a command."""
    import torch

    import koopstep.workflows.train  # noqa: F401

    torch.set_num_threads(1)
    teacher, store, run = (str(base / name) for name in ("two.safetensors", "store", "run"))
    collect = ("collect", teacher, "--out", store, "--count", "600", "--steps", "3", "--hold-out", "100")
    train = ("train", "digits-cond", "--data", store, "--out", run)
    forks.processes(2, lambda: _teach(Path(teacher)))
    forks.processes(2, lambda: _command(*collect))
    forks.processes(2, lambda: _command(*train, changes=[*TRAIN, f"teacher.file={teacher}"]))
    forks.processes(1, lambda: _command("evaluate", str(base / "run"), "--metrics", "pair_mse,class_accuracy"))
    forks.processes(1, lambda: _teach(base / "one.safetensors"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("way")


@pytest.fixture(scope="module")
def said(folder: Path) -> list[dict[str, Any]]:
    """What the five commands said."""
    lines = forks.start(__file__, folder, timeout=600).splitlines()
    return [json.loads(line) for line in lines]


@forks.needs_fork
def test_the_whole_way_of_a_conditional_preset(said: list[dict[str, Any]], folder: Path) -> None:
    taught, made, trained, measured, _ = said
    assert taught["step"] == 30 and taught["num_classes"] == 10
    assert made["complete"] and made["count"] == 600
    assert trained["step"] == 20
    assert [row["step"] for row in read_metrics(folder / "run")] == list(range(1, 21))
    assert measured["metrics"]["pair_mse"] > 0 and 0 <= measured["metrics"]["class_accuracy"] <= 1


@forks.needs_fork
def test_a_teacher_trained_by_two_processes_is_the_same_but_for_rounding(
    said: list[dict[str, Any]], folder: Path
) -> None:
    files = [folder / f"{processes}.safetensors" for processes in ("one", "two")]
    alone, both = (read_metrics(file.with_name(file.name + ".run")) for file in files)
    pairs = [(one["total"], other["total"]) for one, other in zip(alone, both, strict=True)]
    assert any(one != other for one, other in pairs)  # else it was one process after all
    assert all(one == pytest.approx(other, rel=1e-3) for one, other in pairs[:20])
    assert set(load_tensors(files[0])[0]) == set(load_tensors(files[1])[0])


if __name__ == "__main__":
    zygote(Path(sys.argv[1]))
