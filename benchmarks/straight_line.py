"""What a student of whole paths misses of the states, beside the straight line from the noise to an end.

    python benchmarks/straight_line.py runs/digits-modes digits-edm

The line is straight in the noise level, ``x = end + (sigma / sigma_T) (x_T - end)`` (in t for flows): to the student's own end,
which any one-step student can draw, and to the teacher's, which is how straight the paths are. Fresh noise, unexplained shares.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

import koopstep as ks

SEED = 994


def unexplained(states: Tensor, told: Tensor) -> str:
    """Root mean square of what is missed at each u, over the states' spread between rows, in per cent."""
    missed = (told - states).square().flatten(1).mean(dim=1)
    spread = (states - states.mean(dim=1, keepdim=True)).square().flatten(1).mean(dim=1)
    return " ".join(f"{100 * float(one):5.1f}" for one in (missed / spread).sqrt())


def line(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """States (N, B, *shape) on straight lines, of which ``share`` (N,) is the start's."""
    return end + share.view(-1, *[1] * start.ndim) * (start - end)


def main() -> None:
    """Print a line each."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    asked.add_argument("run", help="a run of modes or hkd+")
    asked.add_argument("teacher", help="its teacher: a name or a file")
    asked.add_argument("--count", type=int, default=600)
    asked.add_argument("--steps", type=int, default=12)
    given = asked.parse_args()
    torch.set_num_threads(1)
    student, teacher = ks.Student.load(given.run), ks.load_teacher(given.teacher)
    noise = student.noise(given.count, seed=SEED)
    states, u = teacher.path(noise, steps=given.steps), torch.linspace(0, 1, given.steps + 1)
    levels = torch.tensor(teacher.levels(given.steps))
    share = levels / levels[0] if levels[0] > levels[-1] else 1 - levels
    own = student.path(noise, u)
    print("student                   ", unexplained(states, own))
    print("line to the student's end ", unexplained(states, line(states[0], own[-1], share)))
    print("line to the teacher's end ", unexplained(states, line(states[0], states[-1], share)))


if __name__ == "__main__":
    main()
