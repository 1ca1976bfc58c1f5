"""Count what the big presets cost, and write the table of docs/costs.md. Usage: .venv/bin/python scripts/make_cost_table.py

Disk and memory follow from shapes and counts. Work is counted by running each network once without numbers (PyTorch's
FlopCounterMode on the meta device; an addition and a multiplication are two operations). Hours divide the work by a speed
that is assumed, not measured.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from koopstep.features.lpips import _vgg  # noqa: E402
from koopstep.recipes.recipe import Recipe, load_recipe  # noqa: E402
from koopstep.students.student import DataFacts, KoopmanStudent  # noqa: E402
from koopstep.students.table import build_student  # noqa: E402
from koopstep.teachers.table import TEACHERS  # noqa: E402

ROWS = (
    *(("cifar10", method) for method in ("kdm", "hkd")),
    ("cifar10-cond", "kdm"),
    ("cifar10-fm", "kdm"),
    *((preset, method) for preset in ("ffhq64", "afhqv2-64") for method in ("kdm", "hkd")),
)
SPEEDS = (100e12, 20e12)  # operations a second: a third and a fifteenth of what an A100 does in bfloat16 at best
BEGIN, END = "<!-- made by scripts/make_cost_table.py -->", "<!-- end -->"


def table() -> str:
    """The table in Markdown."""
    head = "| preset | method | paths | disk | teacher calls | collect, hours | weights, EMA, Adam | train, hours |"
    return "\n".join([head, "|---" * 8 + "|", *(_row(preset, method) for preset, method in ROWS)])


def _row(preset: str, method: str) -> str:
    recipe = load_recipe(preset, method)
    shape, collect = _model(recipe).shape, recipe.collect
    with torch.device("meta"):
        teacher, student = TEACHERS[_model(recipe).kind].build(_model(recipe)), _student(recipe)
    if method == "hkd":  # its schedule is numbers, which the meta device does not have
        student.codec.path = student.facts.schedule()  # type: ignore[assignment]
        assert all(student.codec.schedule().at(u) for u in (0.0, 1.0))  # worked out here, and kept
    with torch.device("meta"), torch.no_grad():
        sample = torch.empty(1, *shape)
        labels = torch.zeros(1, dtype=torch.int64) if student.facts.num_classes else None
        once = _work(lambda: teacher(sample, torch.ones(1), labels))
        there = _work(lambda: student.encode(sample, 0.0, labels))
        latent = student.encode(sample, 0.0, labels)
        back = _work(lambda: student.decode(latent, 1.0, labels))
        seen = _work(lambda: _vgg()[0](sample.expand(1, 3, *shape[1:])))
    calls = TEACHERS[_model(recipe).kind].teacher(_model(recipe), teacher, preset, "").evaluations(collect.steps)
    encoded, decoded = passes(recipe)
    of_student = 3 * (encoded * there + decoded * back)  # backward costs twice forward
    of_lpips = (1 + 2 * decoded) * seen if recipe.objective.distance == "perceptual" else 0.0
    rows = recipe.training.steps * recipe.training.batch_size
    numbers = sum(p.numel() for p in student.parameters())
    cells = [
        preset, method, f"{collect.count:,}", disk(recipe), str(calls),
        _hours(collect.count * calls * once), f"{4 * 4 * numbers / 1e9:.1f} GB", _hours(rows * (of_student + of_lpips)),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def disk(recipe: Recipe) -> str:
    """Of all paths, in words."""
    numbers = states(recipe) * math.prod(_model(recipe).shape) * recipe.collect.count
    return f"{numbers * {'float32': 4, 'float16': 2}[recipe.collect.dtype] / 1e9:.0f} GB"


def states(recipe: Recipe) -> int:
    """States of a path on disk: the noise is a function of seed and row, and is not stored."""
    keep = recipe.collect.keep
    return {"ends": 1, "all": recipe.collect.steps}.get(str(keep)) or int(keep) - 1


def passes(recipe: Recipe) -> tuple[int, int]:
    """How often a row of a batch goes through the encoder and the decoder."""
    objective = recipe.objective
    within = objective.trajectory_points if objective.trajectory else 0
    clean = bool(objective.reconstruction or objective.latent)
    return 1 + clean + within, bool(objective.prediction) + bool(objective.reconstruction) + within


def _model(recipe: Recipe):  # type: ignore[no-untyped-def]
    assert recipe.teacher.model is not None
    return recipe.teacher.model


def _student(recipe: Recipe) -> KoopmanStudent:
    return build_student(recipe.student, DataFacts(shape=_model(recipe).shape, num_classes=_model(recipe).num_classes))


def _work(run) -> float:  # type: ignore[no-untyped-def]
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def _hours(operations: float) -> str:
    fast, slow = (operations / speed / 3600 for speed in SPEEDS)
    return f"{fast:.0f} to {slow:.0f}" if fast >= 2 else f"{fast:.1f} to {slow:.0f}"


if __name__ == "__main__":
    page = ROOT / "docs" / "costs.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(table())
