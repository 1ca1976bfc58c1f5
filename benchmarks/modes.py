r"""One-step quality and the states on the way, method by method and seed by seed, on rows that no training and no choice saw.

Each method trains with its preset's settings for the number of steps given with it; the table says what it cost in seconds of
the processor, so that methods can be compared at equal time. Finished runs are kept; the same command goes on where it
stopped.

    koopstep collect checkerboard-edm --out data/board --count 110000 --steps 12 --hold-out 10000 --keep all
    koopstep collect checkerboard-edm --out data/board-fresh --count 20000 --seed 1 --steps 12 --hold-out 10000 --keep all
    python benchmarks/modes.py checkerboard --data data/board --fresh data/board-fresh --out runs/modes-board \
        --steps kdm=1600,hkd=1100,modes=1600 --seeds 3
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from koopstep import Run, Store
from koopstep.data.digits import load as load_digits
from koopstep.evaluation.frechet import frechet_distance
from koopstep.evaluation.moments import moments
from koopstep.evaluation.path import share

BATCH = 1000


def train(arguments: argparse.Namespace, method: str, steps: int, seed: int, folder: Path) -> float:
    """Train through the command line; seconds of the processor.

    Raises:
        SystemExit: if it fails, after what it said.
    """
    options = [f"training.steps={steps}", f"training.seed={seed}", *arguments.o]
    words = [arguments.preset, "--method", method, "--data", arguments.data, "--out", str(folder)]
    command = [
        sys.executable,
        "-m",
        "koopstep",
        "train",
        *words,
        *(word for option in options for word in ("-o", option)),
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@torch.no_grad()
def measure(run: Run, fresh: Store) -> dict[str, Any]:
    """Errors on all rows of ``fresh``: of the sample, and of the states on the way where the student reads them."""
    model = run.student.model.eval()
    batch = fresh.batch(range(fresh.count))
    labels, rows = batch.class_labels, range(0, fresh.count, BATCH)
    parts = [slice(start, start + BATCH) for start in rows]

    def chosen(part: slice) -> torch.Tensor | None:
        return None if labels is None else labels[part]

    made = torch.cat([model.generate(batch.noise[part], chosen(part)) for part in parts])
    found: dict[str, Any] = {
        "pair_mse": float((made - batch.data).square().mean()),
        "standing_still": [float(share(batch.data - state, state)) for state in batch.states],
        "end": float(share(made - batch.data, batch.data)),
    }
    if fresh.manifest.shape == (1, 8, 8):
        real = moments([load_digits().images])
        found["frechet"] = frechet_distance(moments([made]), real)
        found["frechet_teacher"] = frechet_distance(moments([batch.data]), real)
    if model.codec.reads_path:
        path = torch.cat([model.path(batch.noise[part], batch.progress, chosen(part)) for part in parts], dim=1)
        found["unexplained"] = [
            float(share(read - state, state)) for read, state in zip(path, batch.states, strict=True)
        ]
    if run.recipe.student.kind == "modes":
        growth, rotation = model.operators[0].mode_rates()
        found["rates"] = {"growth": growth.tolist(), "rotation": rotation.tolist()}
        found["unseen"] = list(run.recipe.objective.held_out(len(batch.states)))
    return found


def run_one(arguments: argparse.Namespace, method: str, steps: int, seed: int) -> dict[str, Any]:
    """Train and measure, or read what was measured before."""
    folder = Path(arguments.out) / f"{arguments.name or method}-{steps}-{seed}"
    done = folder / "modes.json"
    if done.is_file():
        kept: dict[str, Any] = json.loads(done.read_text())
        return kept
    seconds = train(arguments, method, steps, seed, folder)
    result = {"method": arguments.name or method, "steps": steps, "seed": seed, "seconds": seconds}
    result |= measure(Run.open(folder), Store.open(arguments.fresh))
    done.write_text(json.dumps(result))
    return result


def table(results: list[dict[str, Any]]) -> str:
    """A line a run, and under it the states on the way."""
    lines = [
        "| | seed | steps | seconds | pair MSE | Fréchet | end | at u < 1 | standing still | rates |",
        "|---" * 10 + "|",
    ]
    for found in results:
        way = found.get("unexplained", [])[1:-1]
        unseen = {index - 1 for index in found.get("unseen", [])}
        states = ", ".join(f"**{100 * v:.1f}**" if i in unseen else f"{100 * v:.1f}" for i, v in enumerate(way))
        still = ", ".join(f"{100 * v:.0f}" for v in found["standing_still"][1:-1])
        rates = found.get("rates", {"growth": [], "rotation": []})
        pairs = ", ".join(
            f"{a:.2f} ± {b:.2f}i" for a, b in zip(rates["growth"][1:], rates["rotation"][1:], strict=True)
        )
        cells = [
            f"`{found['method']}`",
            str(found["seed"]),
            f"{found['steps']:,}",
            f"{found['seconds']:.0f}",
            f"{found['pair_mse']:.3g}",
            f"{found['frechet']:.4f}" if "frechet" in found else "",
            f"{100 * found['end']:.1f} %",
            f"{states} %" if states else "",
            f"{still} %",
            pairs,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--data", required=True, help="store to train on")
    parser.add_argument("--fresh", required=True, help="store of another seed to measure on")
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", required=True, help="method=steps, separated by commas")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--name", default="", help="of the run in the table, where -o changes what the method is")
    parser.add_argument("-o", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    results = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for pair in arguments.steps.split(","):
            method, steps = pair.split("=")
            results.append(run_one(arguments, method, int(steps), seed))
            print(table(results), flush=True)


if __name__ == "__main__":
    main()
