"""The command itself: SIGTERM saves and exits with 75, and two processes under torchrun make one run."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_way import generated, steps_of, tiny_store

from koopstep.cli import main
from koopstep.core.tensors import load_tensors
from koopstep.runs.folder import read_config, read_metrics

COMMAND = [sys.executable, "-m", "koopstep"]
TINY = [
    "student={kind: kdm, encoder: {kind: mlp, width: 8, depth: 2}, decoder: {kind: mlp, width: 8, depth: 2}, "
    "operator: {kind: dense}, latent: 6}",
    "training={steps: 300, batch_size: 8, learning_rate: 0.01, checkpoint_every: 1000, log_every: 1}",
    "objective.latent_noise=0.1",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("paths") / "store")


def _words(store: Path, out: Path, *more: str) -> list[str]:
    changes = [word for change in TINY for word in ("-o", change)]
    return [
        "train",
        "checkerboard",
        "--data",
        str(store),
        "--out",
        str(out),
        "--device",
        "cpu",
        "--json",
        *changes,
        *more,
    ]


def _environment() -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return known | {"OMP_NUM_THREADS": "1"}


def _here(store: Path, out: Path, *more: str) -> dict[str, Any]:
    """Train in this process, which spares the start of another."""
    with redirect_stdout(io.StringIO()) as said:
        assert main.run(_words(store, out, *more)) == 0
    found: dict[str, Any] = json.loads(said.getvalue().splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def straight(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("straight") / "run"
    said = _here(store, out)
    assert said["step"] == 300 and said["seconds"] > 0 and said["images_per_second"] > 0
    assert said["loss"] == read_metrics(out)[-1]["total"]
    return out


def _lines(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.is_file() else 0


def test_sigterm_saves_and_going_on_gives_the_same_bits(store: Path, straight: Path, tmp_path: Path) -> None:
    for attempt in range(5):  # on a busy machine the training may be over before the signal is sent
        run = tmp_path / f"run-{attempt}"
        command = [*COMMAND, *_words(store, run)]
        with subprocess.Popen(command, env=_environment(), stderr=subprocess.PIPE, text=True) as process:
            while _lines(run) < 3 and process.poll() is None:
                time.sleep(0.002)
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            errors = process.communicate(timeout=600)[1]
        if process.returncode != 0:
            break
    assert process.returncode == 75, errors
    assert time.monotonic() - asked < 30
    stopped = _lines(run)
    assert 3 <= stopped < 300 and steps_of(run) == [stopped]
    assert f"stopped at step {stopped} of 300, saved" in errors
    assert not (run / "student").exists()
    assert _here(store, run, "--resume")["step"] == 300
    for name in ("student/model.safetensors", "checkpoints/step-00000300/optimizer.safetensors", "config.yaml"):
        assert (run / name).read_bytes() == (straight / name).read_bytes()
    assert [row["total"] for row in read_metrics(run)] == [row["total"] for row in read_metrics(straight)]


def test_two_processes_make_one_run(store: Path, straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, *COMMAND[1:], *_words(store, run)]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["step"] == 300
    assert [row["step"] for row in read_metrics(run)] == list(range(1, 301))
    assert steps_of(run) == [300]
    assert read_config(run) == read_config(straight)
    # the same but for rounding, which 300 steps in float32 make grow; without any it would have been one process
    totals = [
        (one["total"], other["total"]) for one, other in zip(read_metrics(run), read_metrics(straight), strict=True)
    ]
    assert any(one != other for one, other in totals)
    assert all(one == pytest.approx(other, rel=1e-4) for one, other in totals[:50])
    torch.testing.assert_close(generated(run, store), generated(straight, store), rtol=0, atol=0.05)
    alone, both = (load_tensors(folder / "student" / "model.safetensors")[0] for folder in (straight, run))
    assert set(alone) == set(both)
