"""KDM's operators against each other: the same pairs, networks and steps, three seeds each; mean and spread of every metric.

The seed reaches every initial weight, the operator's included, and the order of the data. Everything goes through the
command line; finished runs are kept, so the same command goes on where it stopped.

    python benchmarks/operators.py --preset digits --out runs/operators-digits --count 24000 --steps 1000
    python benchmarks/operators.py --preset checkerboard --out runs/operators-board --count 60000 --steps 1500
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

METHODS = ("kdm", "kdm-f", "kdm-spectral", "direct")
METRICS = {"checkerboard": ("pair_mse", "in_cell", "sliced_wasserstein"), "digits": ("pair_mse", "frechet_pixel")}
TEACHERS = {"checkerboard": "checkerboard-edm", "digits": "digits-edm"}
HELD_OUT = 4000


def koopstep(*words: str | Path) -> dict[str, Any]:
    """Run one command; its JSON.

    Raises:
        SystemExit: if it fails, after what it said.
    """
    command = [sys.executable, "-m", "koopstep", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_one(arguments: argparse.Namespace, data: Path, method: str, seed: int) -> dict[str, Any]:
    """Train and measure, or read what was measured before."""
    folder = Path(arguments.out) / f"{method}-{seed}"
    done = folder / "measured.json"
    if done.is_file():
        kept: dict[str, Any] = json.loads(done.read_text())
        return kept
    changes = {"training.steps": arguments.steps, "training.seed": seed}
    options = [word for name, value in changes.items() for word in ("-o", f"{name}={value}")]
    koopstep("train", arguments.preset, "--method", method, "--data", data, "--out", folder, *options)
    metrics = METRICS[arguments.preset]
    found = koopstep("evaluate", folder, "--metrics", ",".join(metrics))
    result = {
        "method": method,
        "metrics": {name: found["metrics"][name] for name in metrics},
        "teacher": {name: found["teacher"][name] for name in metrics if name in found["teacher"]},
    }
    done.write_text(json.dumps(result))
    return result


def table(results: list[dict[str, Any]], metrics: tuple[str, ...]) -> str:
    """Mean and standard deviation over seeds of each method, as Markdown; the teacher above them."""
    lines = ["| | " + " | ".join(metrics) + " | seeds |", "|---" * (len(metrics) + 2) + "|"]
    teacher = results[0]["teacher"]
    lines.append("| teacher | " + " | ".join(f"{teacher[m]:.4f}" if m in teacher else "" for m in metrics) + " | |")
    for method in METHODS:
        of_method = [result["metrics"] for result in results if result["method"] == method]
        if not of_method:
            continue
        cells = []
        for metric in metrics:
            values = [found[metric] for found in of_method]
            spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.4g}{spread}")
        lines.append(f"| `{method}` | {' | '.join(cells)} | {len(of_method)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(METRICS), required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--count", type=int, default=24_000, help="paths to train on")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default=",".join(METHODS))
    arguments = parser.parse_args()
    data = Path(arguments.out) / "pairs"
    size = ("--count", str(arguments.count + HELD_OUT), "--hold-out", str(HELD_OUT), "--steps", "12", "--keep", "ends")
    koopstep("collect", TEACHERS[arguments.preset], "--out", data, *size)
    results = []
    for seed in range(arguments.seeds):
        for method in arguments.methods.split(","):
            results.append(run_one(arguments, data, method, seed))
            print(table(results, METRICS[arguments.preset]), flush=True)


if __name__ == "__main__":
    main()
