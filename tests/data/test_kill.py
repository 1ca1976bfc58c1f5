"""kill -9 at random times never leaves a bad committed unit, and the finished bytes are the same.

One warm process is forked again and again, so that a hundred kills fit into seconds. It runs apart from the
test process: forking needs a process without threads.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import forks

KILLS = 100
UNITS = 16


def _collect(folder: Path) -> None:
    from linear_teacher import LinearTeacher

    from koopstep.data.collect import CollectSettings, collect

    settings = CollectSettings(count=80, steps=3, keep="all", unit_size=5, micro_batch=3)
    for _ in collect(LinearTeacher((4,), 3), folder, settings):
        pass


def _start(folder: Path) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _collect(folder)
            code = 0
        finally:
            os._exit(code)
    return pid


def _units(folder: Path) -> int:
    return len(list((folder / "shards").glob("*.json")))


def _in_child(folder: Path, further_units: int | None = None, seconds: float = 0.0) -> bool:
    """Collect in a child; kill it some seconds after it committed so many further units. True when it finished by itself."""
    wanted = None if further_units is None else _units(folder) + further_units
    pid = _start(folder)
    if wanted is not None:
        deadline = time.monotonic() + 60
        while _units(folder) < min(wanted, UNITS) and time.monotonic() < deadline:
            time.sleep(0.0002)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise RuntimeError("collect failed by itself")
    return os.WIFEXITED(status)


def _check_committed(folder: Path, good: dict[str, bytes]) -> int:
    """Each committed unit has the bytes of the uninterrupted run; returns how many units there are."""
    records = sorted((folder / "shards").glob("*.json")) if (folder / "shards").exists() else []
    for record in records:
        for name in (f"shards/{record.name}", f"shards/{record.stem}.safetensors"):
            if (folder / name).read_bytes() != good[name]:
                raise RuntimeError(f"{name} is damaged")
    return len(records)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def zygote(base: Path) -> None:
    """Everything below happens in one process without threads."""
    import torch

    torch.set_num_threads(1)
    from koopstep.data.store import Store

    chance = random.Random(0)
    start = time.monotonic()
    _in_child(base / "good")
    whole = time.monotonic() - start
    good = _contents(base / "good")
    kills = finished = interrupted = partial = 0
    folder = base / "killed"
    while kills < KILLS or interrupted < 5:
        done = _in_child(folder, chance.randint(0, 4), chance.uniform(0.0, 0.1 * whole))
        kills += not done
        partial += 0 < _check_committed(folder, good) < UNITS
        if not done and kills % 8 != 0:
            continue
        _in_child(folder)  # go on, now undisturbed
        interrupted += 1
        if _contents(folder) != good:
            raise RuntimeError("the finished store differs from the uninterrupted one")
        if Store.open(folder).verify():
            raise RuntimeError("the finished store is damaged")
        finished += 1
        shutil.rmtree(folder)
    children = [_start(base / "race") for _ in range(3)]  # the same units at the same time
    if any(os.waitpid(pid, 0)[1] for pid in children) or _contents(base / "race") != good:
        raise RuntimeError("processes that made the same units did each other harm")
    print(json.dumps({"kills": kills, "finished": finished, "partial": partial, "seconds": whole}))


@forks.needs_fork
def test_a_hundred_kills(tmp_path: Path) -> None:
    report = json.loads(forks.start(__file__, tmp_path, timeout=600).splitlines()[-1])
    assert report["kills"] >= KILLS
    assert report["finished"] >= 5
    assert report["partial"] >= 30  # kills follow what was committed, so that they hit the middle on any machine


if __name__ == "__main__":
    zygote(Path(sys.argv[1]))
