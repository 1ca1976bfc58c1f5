"""kill -9 while a store grows leaves the old store or the new one, and the finished bytes are the same."""

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

KILLS = 10


def _collect(folder: Path, count: int) -> None:
    from linear_teacher import LinearTeacher

    from koopstep.data.collect import CollectSettings, collect

    settings = CollectSettings(count=count, steps=3, keep="all", unit_size=5, micro_batch=3, hold_out=4)
    for _ in collect(LinearTeacher((4,), 3), folder, settings):
        pass


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _killed(folder: Path, count: int, seconds: float) -> bool:
    """Collect in a child that is killed after some seconds; whether it was before its end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _collect(folder, count)
            code = 0
        finally:
            os._exit(code)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("collect failed by itself")
    return os.WIFSIGNALED(status)


def zygote(base: Path) -> None:
    import torch

    torch.set_num_threads(1)
    from koopstep.data.store import Store

    chance = random.Random(0)
    _collect(base / "small", 23)
    shutil.copytree(base / "small", base / "good")
    start = time.monotonic()
    _collect(base / "good", 53)
    whole = time.monotonic() - start
    good = _contents(base / "good")
    known = {Store.open(base / name).root: count for name, count in (("small", 23), ("good", 53))}
    kills = finished = between = 0
    folder = base / "killed"
    while kills < KILLS or finished < 2:
        if not folder.exists():
            shutil.copytree(base / "small", folder)
        kills += _killed(folder, 53, chance.uniform(0.0, whole))
        store = Store.open(folder)
        if known[store.root] != store.count or store.verify():
            raise RuntimeError("a kill left neither the old store nor the new one")
        store.batch(store.training_rows())
        between += (folder / "growing.json").exists()
        if kills % 4 == 3:
            _collect(folder, 53)
            if _contents(folder) != good:
                raise RuntimeError("the finished store differs from the uninterrupted one")
            finished += 1
            shutil.rmtree(folder)
            kills += 1
    print(json.dumps({"kills": kills, "finished": finished, "between": between}))


@forks.needs_fork
def test_kills_while_a_store_grows(tmp_path: Path) -> None:
    report = json.loads(forks.start(__file__, tmp_path, timeout=300).splitlines()[-1])
    assert report["kills"] >= KILLS and report["finished"] >= 2
    assert report["between"] >= 3  # of the kills hit a growth half way


if __name__ == "__main__":
    zygote(Path(sys.argv[1]))
