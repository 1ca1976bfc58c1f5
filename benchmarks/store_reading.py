"""Random batches of 128 CIFAR-sized pairs: the trajectory store against one .npz a pair, in one run; prints JSON.

python benchmarks/store_reading.py
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from koopstep.data.collect import CollectSettings, collect
from koopstep.data.importers import import_source
from koopstep.data.store import Store
from koopstep.teachers.functions import from_denoiser

COUNT, BATCH, BATCHES, SHAPE = 4000, 128, 40, (3, 32, 32)


def seconds_a_batch(read: Callable[[np.ndarray], object]) -> float:
    """Median of the batches, page cache warm."""
    order = np.random.default_rng(0)
    times = []
    for _ in range(BATCHES):
        rows = order.integers(0, COUNT, BATCH)
        started = time.perf_counter()
        read(rows)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def main() -> None:
    """Write the same pairs three times, read each, print the ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        teacher = from_denoiser(lambda x, sigma, labels: torch.tanh(x / 80), SHAPE)
        for _ in collect(teacher, folder / "collected", CollectSettings(count=COUNT, steps=2, hold_out=0)):
            pass
        collected = Store.open(folder / "collected")
        everything = collected.batch(np.arange(COUNT))
        (folder / "pairs").mkdir()
        for row in range(COUNT):
            np.savez(folder / "pairs" / f"{row:05d}.npz", arr_0=everything.states[:, row].numpy())
        np.save(folder / "paths.npy", everything.states.numpy())
        import_source(folder / "paths.npy", folder / "imported", 0, "auto")
        imported = Store.open(folder / "imported")

        def one_file_a_pair(rows: np.ndarray) -> torch.Tensor:
            pairs = [np.load(folder / "pairs" / f"{row:05d}.npz")["arr_0"] for row in rows]
            return torch.from_numpy(np.stack(pairs))

        files = seconds_a_batch(one_file_a_pair)
        stored, recomputed = seconds_a_batch(imported.batch), seconds_a_batch(collected.batch)
        result = {
            "milliseconds": {"npz": files * 1e3, "store": stored * 1e3, "store, noise recomputed": recomputed * 1e3},
            "ratios": {"store": files / stored, "store, noise recomputed": files / recomputed},
        }
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
