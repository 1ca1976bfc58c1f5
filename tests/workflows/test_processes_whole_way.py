"""Two processes under torchrun go the whole way of a class-conditional image preset: teach, collect, train, evaluate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from koopstep.core.tensors import load_tensors
from koopstep.workflows.run import read_metrics

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


def run(processes: int, *words: str, changes: list[str] | None = None) -> dict[str, Any]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [
        sys.executable,
        *(launcher if processes > 1 else []),
        "-m",
        "koopstep",
        *words,
        "--device",
        "cpu",
        "--json",
    ]
    for change in changes or []:
        command += ["-o", change]
    known = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    done = subprocess.run(
        command, env=known | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.parametrize("processes", [2])
def test_the_whole_way_of_a_conditional_preset(tmp_path: Path, processes: int) -> None:
    teacher, store, out = (str(tmp_path / name) for name in ("digits.safetensors", "store", "run"))
    taught = run(processes, "teacher", "train", "digits-cond", "--out", teacher, changes=TEACH)
    assert taught["step"] == 30 and taught["num_classes"] == 10
    made = run(processes, "collect", teacher, "--out", store, "--count", "600", "--steps", "3", "--hold-out", "100")
    assert made["complete"] and made["count"] == 600
    trained = run(
        processes, "train", "digits-cond", "--data", store, "--out", out, changes=[*TRAIN, f"teacher.file={teacher}"]
    )
    assert trained["step"] == 20
    assert [row["step"] for row in read_metrics(Path(out))] == list(range(1, 21))
    measured = run(1, "evaluate", out, "--metrics", "pair_mse,class_accuracy")
    assert measured["metrics"]["pair_mse"] > 0 and 0 <= measured["metrics"]["class_accuracy"] <= 1


def test_a_teacher_trained_by_two_processes_is_the_same_but_for_rounding(tmp_path: Path) -> None:
    files = [tmp_path / f"{processes}.safetensors" for processes in (1, 2)]
    for processes, file in enumerate(files, start=1):
        run(processes, "teacher", "train", "digits-cond", "--out", str(file), changes=TEACH)
    alone, both = (read_metrics(file.with_name(file.name + ".run")) for file in files)
    pairs = [(one["total"], other["total"]) for one, other in zip(alone, both, strict=True)]
    assert any(one != other for one, other in pairs)  # else it was one process after all
    assert all(one == pytest.approx(other, rel=1e-3) for one, other in pairs[:20])
    assert set(load_tensors(files[0])[0]) == set(load_tensors(files[1])[0])
