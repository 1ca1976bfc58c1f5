"""Print the table of docs/verify.md: which eigenvalues pass at which threshold, true ones and shifted ones.

Random linear systems of three pairs, their states with noise added; observables are the state's numbers.

    python scripts/verify_threshold.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from koopstep.analysis import verify_criterion
from koopstep.analysis.verify import judge_student
from koopstep.core.records import Batch
from koopstep.nets.linear import LinearConfig
from koopstep.operators.block import BlockOperator
from koopstep.students.hkd import HKDConfig
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import build_student

SYSTEMS, ROWS = 40, 200
STEPS = tuple(index / 6 for index in range(7))
THRESHOLDS, NOISES = (0.02, 0.05, 0.1, 0.2, 0.5), (0.0, 0.01, 0.03, 0.1)


def student_of(rates: torch.Tensor) -> KoopmanStudent:
    """A student whose pairs grow and turn at ``rates`` (3,)."""
    facts = DataFacts(shape=(6,), progress=STEPS, levels=STEPS)
    student = build_student(HKDConfig(network=LinearConfig(), latent=6, observables="linear"), facts)
    (operator,) = student.operators
    assert isinstance(operator, BlockOperator)
    operator.alpha.data = rates.real.float().view(3, 1, 1)
    operator.beta.data = rates.imag.float().view(3, 1, 1)
    return student.eval().requires_grad_(False)


def shares(threshold: float, noise: float) -> torch.Tensor:
    """Shares that pass: true rates, rates moved by N(0, 1) each way, rates shifted as in the control."""
    verify_criterion.THRESHOLD = threshold
    found = torch.zeros(3)
    for seed in range(SYSTEMS):
        draw = torch.Generator().manual_seed(seed)
        rates = torch.complex(4 * torch.rand(3, generator=draw) - 3, 2 * torch.randn(3, generator=draw))
        true, start = student_of(rates), torch.randn(ROWS, 6, generator=draw)
        states = torch.stack([true.operators[0].evolve(start, u) for u in STEPS])
        spread = (states - states.mean(dim=1, keepdim=True)).std(dim=1, keepdim=True)
        states = states + noise * spread * torch.randn(states.shape, generator=draw)
        batch = Batch(start, states, torch.tensor(STEPS))
        moved = student_of(rates + torch.complex(*torch.randn(2, 3, generator=draw)))
        (own,), (other,) = (judge_student(student, batch)[1] for student in (true, moved))
        assert own is not None and other is not None
        found += torch.stack([part.float().mean() for part in (own.passed, other.passed, own.control)])
    return found / SYSTEMS


def main() -> None:
    """Print a row for each threshold."""
    for threshold in THRESHOLDS:
        by_noise = [shares(threshold, noise) for noise in NOISES]
        true = ", ".join(f"{100 * float(one[0]):.0f}" for one in by_noise)
        print(
            f"| {threshold:g} | {true} % | {100 * float(by_noise[0][1]):.2g} % | {100 * float(by_noise[0][2]):.2g} % |"
        )


if __name__ == "__main__":
    main()
