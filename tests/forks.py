"""Processes for tests that need several: forked from one that has imported everything once, which saves seconds each.

Forking needs a process without threads, so a test file starts itself as a script (:func:`start`), and that script forks
(:func:`processes`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def start(script: str, *arguments: object, timeout: float) -> str:
    """Run a test file as a script, with its own folder on the path and one thread; what it printed, once it has succeeded."""
    path = os.pathsep.join([str(Path(script).parent), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def processes(world: int, work: Callable[[], object]) -> None:
    """Run ``work`` in ``world`` forked processes that know each other, as under torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sys.stdout.flush()
    pids = []
    for rank in range(world):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.environ |= {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(world),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                }
                work()
                sys.stdout.flush()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    while pids:
        pid, end = os.wait()
        pids.remove(pid)
        if end:
            for other in pids:  # it would wait for the failed one for ever
                os.kill(other, signal.SIGKILL)
                os.waitpid(other, 0)
            raise RuntimeError(f"one of {world} processes failed")
