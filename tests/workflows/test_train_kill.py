"""A training that is killed again and again ends with the bits of one that was not; SIGTERM loses no step.

One warm process without threads is forked for every attempt, so that a hundred kills fit into seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

import forks

TERMINATIONS = 10
STEPS = 40
EVERY = 4
VARIANTS = {
    "adam": ("training.optimizer=adam", "training.schedule=cosine"),
    "adamw": ("training.optimizer=adamw", "training.weight_decay=0.01", "training.gradient_clip=1.0"),
    "muon": (
        "training.optimizer=muon",
        "training.micro_batch=4",
        "student.encoder.width=32",
        "student.decoder.width=32",
        "student.encoder.depth=3",
    ),
    "discriminator": ("objective.adversarial=0.1", "training.warmup_steps=5"),
}


def _train(variant: str, store: Path, out: Path) -> None:
    from tiny_way import tiny_recipe

    from jobs import quiet_job
    from koopstep.cli.signals import stop_on_signals
    from koopstep.workflows.train import train_student

    settings = (*VARIANTS[variant], f"training.steps={STEPS}", f"training.checkpoint_every={EVERY}")
    with stop_on_signals() as stop:
        train_student(tiny_recipe(*settings), store, out, resume=True, job=quiet_job(stop))


def _attempt(variant: str, store: Path, out: Path, seconds: float | None, number: int = signal.SIGKILL) -> int | None:
    """Train in a child that gets a signal after some seconds; its exit code, or None when the signal ended it."""
    from koopstep.core.errors import KoopstepError

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _train(variant, store, out)
            code = 0
        except KoopstepError as error:
            print(error, file=sys.stderr, flush=True)
            code = error.exit_code
        finally:
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, number)
    _, status = os.waitpid(pid, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None


def _contents(run: Path) -> dict[str, bytes]:
    """Everything that training leaves; of the metrics all but the seconds, of the checkpoints the last."""
    files = [run / "config.yaml", *(run / "student").iterdir(), *(run / "checkpoints" / f"step-{STEPS:08d}").iterdir()]
    found = {str(path.relative_to(run)): path.read_bytes() for path in files}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return found | {"metrics": json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode()}


def _newest(run: Path) -> int:
    """The step of the newest checkpoint, after a look at every byte of it; 0 where there is none."""
    found = sorted((run / "checkpoints").glob("step-*")) if (run / "checkpoints").exists() else []
    if not found:
        return 0
    described = json.loads((found[-1] / "state.json").read_text())
    for name, digest in described["files"].items():
        if hashlib.sha256((found[-1] / f"{name}.safetensors").read_bytes()).hexdigest() != digest:
            raise RuntimeError(f"{found[-1]} is broken")
    return int(described["step"])


def _last_line(run: Path) -> int:
    """The last step of metrics.jsonl that was written to its end."""
    if not (run / "metrics.jsonl").exists():
        return 0
    lines = (run / "metrics.jsonl").read_text().split("\n")[:-1]
    return int(json.loads(lines[-1])["step"]) if lines else 0


def _same(variant: str, run: Path, good: dict[str, bytes]) -> None:
    found = _contents(run)
    different = [name for name in {*found, *good} if found.get(name) != good.get(name)]
    different += [str(path) for path in run.rglob("*") if ".tmp-" in path.name]
    if different:
        raise RuntimeError(f"{variant}: {different} differ from the uninterrupted run's")


def _kill_often(
    variant: str, base: Path, kills: int, good: dict[str, bytes], whole: float, chance: random.Random
) -> dict[str, int]:
    counted = {"kills": 0, "completed": 0, "amid": 0, "saving": 0}
    run = base / f"{variant}-killed"
    while counted["kills"] < kills or counted["completed"] < 3:
        code = _attempt(variant, base / "store", run, chance.uniform(0.0, 0.4 * whole))
        if code is None:
            counted["kills"] += 1
            newest = _newest(run)
            counted["amid"] += 0 < newest < STEPS
            counted["saving"] += run.exists() and any((run / "checkpoints").glob(".step-*"))
            if _last_line(run) - newest > EVERY:
                raise RuntimeError(f"{variant}: more than the steps since the last checkpoint were lost")
            if counted["kills"] % 10:
                continue
            code = _attempt(variant, base / "store", run, None)
        if code != 0:
            raise RuntimeError(f"{variant}: training failed by itself with {code}")
        _same(variant, run, good)
        counted["completed"] += 1
        shutil.rmtree(run)
    return counted


def _terminate_often(base: Path, good: dict[str, bytes], whole: float, chance: random.Random) -> int:
    """SIGTERM at random times: each ends with 75 and a checkpoint of the very step that was reached."""
    run, stopped = base / "terminated", 0
    while stopped < TERMINATIONS:
        before = _last_line(run)
        code = _attempt("adam", base / "store", run, chance.uniform(0.1, 0.5) * whole, signal.SIGTERM)
        if code == 75:
            stopped += 1
            if not before < _newest(run) == _last_line(run) < STEPS:
                raise RuntimeError("the checkpoint is not of the step that was reached")
        elif code == 0:
            _same("adam", run, good)
            shutil.rmtree(run)
        elif code is not None or _last_line(run) != before:  # None: before the handler was set
            raise RuntimeError(f"SIGTERM ended in {code}")
    return stopped


def zygote(base: Path, kills: int) -> None:
    """Everything below happens in processes without threads."""
    import torch

    torch.set_num_threads(1)
    from tiny_way import tiny_store

    tiny_store(base / "store")
    os.fsync = lambda descriptor: None  # slow, and it guards against power cuts: a kill loses nothing that was written
    for variant in VARIANTS:  # what torch imports when it first trains
        _train(variant, base / "store", base / f"{variant}-warm")
    chance = random.Random(0)
    report: dict[str, object] = {}
    good: dict[str, bytes] = {}
    whole = 0.0
    for variant in VARIANTS:
        started = time.monotonic()
        if _attempt(variant, base / "store", base / variant, None) != 0:
            raise RuntimeError(f"{variant} cannot be trained")
        whole = time.monotonic() - started
        good = _contents(base / variant)
        counted = _kill_often(variant, base, kills // len(VARIANTS), good, whole, chance)
        report[variant] = counted | {"whole": round(whole, 2), "seconds": round(time.monotonic() - started, 1)}
    started = time.monotonic()
    report["terminated"] = _terminate_often(base, _contents(base / "adam"), whole, chance)
    report["terminated_seconds"] = round(time.monotonic() - started, 1)
    print(json.dumps(report))


@forks.needs_fork
@pytest.mark.parametrize("kills", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_kills_change_no_bit(tmp_path: Path, kills: int) -> None:
    report = json.loads(forks.start(__file__, tmp_path, kills, timeout=600 + 2.5 * kills).splitlines()[-1])
    print(report)
    assert sum(report[variant]["kills"] for variant in VARIANTS) >= kills
    assert all(report[variant]["completed"] >= 3 and report[variant]["amid"] >= 3 for variant in VARIANTS)
    assert report["terminated"] >= TERMINATIONS


if __name__ == "__main__":
    zygote(Path(sys.argv[1]), int(sys.argv[2]))
