"""What the operator, the path and the hierarchy buy, each alone: many short trainings on one store, mean and spread over seeds.

Every run sends the same number of rows through the network, so that rows of the table differ in what they learn from and not in
cost. Finished runs are kept; the same command goes on where it stopped.

    koopstep collect digits-edm --out data/digits-paths --count 28000 --steps 12 --hold-out 4000 --keep all
    python benchmarks/ablation.py --preset digits --data data/digits-paths --out runs/ablation --steps 400 --seeds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from koopstep.core.console import Quiet
from koopstep.core.devices import prepare
from koopstep.core.job import Job
from koopstep.recipes.recipe import load_recipe
from koopstep.sampling.fewstep import Stepping
from koopstep.workflows.evaluate import evaluate
from koopstep.workflows.train import train_student

PLAIN = [
    "student.lift=null",
    "objective.trajectory_every=1",
    "objective.adversarial=0",
    "objective.adversarial_within=0",
]
"""Whatever a preset adds to its students is taken away again: every row says what it has."""
PATH = ["objective.prediction=0.5", "objective.trajectory=0.5", "objective.trajectory_points=1"]
ENDS = ["objective.prediction=1", "objective.trajectory=0"]
READ = ["student.decoder_condition=target", "objective.intermediate=0.25"]
ROWS: dict[str, tuple[str, list[str]]] = {
    "hierarchy": ("trajectory", ENDS),
    "operator, hierarchy": ("hkd", ENDS),
    "operator, path": ("hkd", [*PATH, "student.levels=bottleneck"]),
    "operator, path, hierarchy (HKD)": ("hkd", PATH),
    "path, hierarchy": ("trajectory", PATH),
    "HKD, rates of the state": ("hkd", [*PATH, "student.operator.modulation=local"]),
    "HKD, maps": ("hkd", [*PATH, "student.maps=true"]),
    "HKD, linear path": ("hkd", [*PATH, "objective.linearity=0.1"]),
    "HKD, path that can be read": ("hkd", [*PATH, *READ]),
    "HKD, adversarial loss": ("hkd", [*PATH, "objective.adversarial=0.02"]),
    "HKD, state carried": ("hkd", [*PATH, "student.observables=carried"]),
    "HKD, observables normalised": ("hkd", [*PATH, "student.observables=normalised"]),
    "HKD, rates shared by pixels": ("hkd", [*PATH, "student.operator.sharing=channel"]),
    "all together (hkd+)": (
        "hkd",
        [*PATH, *READ, "student.operator.modulation=local", "objective.linearity=0.1", "objective.adversarial=0.02"],
    ),
}
"""Name -> method and changes. Rows of ends only take twice the steps: a step of theirs sends half the rows."""


def passes(changes: list[str]) -> int:
    """Rows through the network for each row of the batch, in halves of a pass: an encoder and a decoder."""
    return 4 if "objective.trajectory=0" not in changes else 2


def run_one(arguments: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Train and measure, or read what was measured before."""
    folder = Path(arguments.out) / f"{name.replace(',', '').replace(' ', '-')}-{seed}"
    done = folder / "ablation.json"
    if done.is_file():
        result: dict[str, Any] = json.loads(done.read_text())
        return result
    method, changes = ROWS[name]
    steps = arguments.steps * 4 // passes(changes)
    settings = [
        f"training.steps={steps}",
        f"training.seed={seed}",
        f"training.warmup_steps={steps // 20}",
        *PLAIN,
        *changes,
    ]
    recipe = load_recipe(arguments.preset, method, [*settings, *arguments.o])
    job = Job(prepare(), Quiet())
    trained = train_student(recipe, Path(arguments.data), folder, resume=True, job=job)
    metrics = arguments.metrics.split(",")
    measured = {}
    ways = [Stepping()] if "objective.trajectory=0" in changes else [Stepping(), Stepping(2)]
    if "student.decoder_condition=target" in changes:
        ways.append(Stepping(2, "path"))
    for stepping in ways:
        found = evaluate(
            folder,
            data=Path(arguments.held_out or arguments.data),
            count=arguments.count,
            metrics=metrics,
            job=job,
            steps=stepping.steps,
            between=stepping.between,
        )
        name_of_way = "1" if stepping.steps == 1 else f"{stepping.steps} by {stepping.between}"
        measured[name_of_way] = {**found.metrics} | {f"teacher_{key}": value for key, value in found.teacher.items()}
    result = {"name": name, "seed": seed, "seconds": trained.seconds, "steps": steps, "by_steps": measured}
    done.write_text(json.dumps(result))
    return result


def table(results: list[dict[str, Any]], metrics: list[str]) -> str:
    """Mean and spread (standard deviation over seeds) of each row, as markdown."""
    lines = ["| | steps | " + " | ".join(metrics) + " | seeds |", "|---|---|" + "---|" * (len(metrics) + 1)]
    for name in dict.fromkeys(result["name"] for result in results):
        of_name = [result for result in results if result["name"] == name]
        for count in of_name[0]["by_steps"]:
            cells = []
            for metric in metrics:
                values = [result["by_steps"][count][metric] for result in of_name]
                spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.4f}{spread}")
            lines.append(f"| {name} | {count} | {' | '.join(cells)} | {len(of_name)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--data", required=True, help="store with states within the paths")
    parser.add_argument("--held-out", help="another store, whose held-out rows are measured; else those of --data")
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, help="held-out rows; else all")
    parser.add_argument("--metrics", default="pair_mse,frechet_pixel")
    parser.add_argument("--rows", help="numbers of the rows to run, as in 0,3; else all")
    parser.add_argument("-o", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    names = list(ROWS) if arguments.rows is None else [list(ROWS)[int(number)] for number in arguments.rows.split(",")]
    results = []
    for seed in range(arguments.seeds):
        for name in names:
            results.append(run_one(arguments, name, seed))
            print(table(results, arguments.metrics.split(",")), flush=True)


if __name__ == "__main__":
    main()
