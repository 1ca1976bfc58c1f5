"""The best sums of K exponentials for a teacher's paths, and for those of a Gaussian of the same moments.

    python benchmarks/path_rates.py digits-edm

No network is trained: the images are free for every path, only the rates are shared. What a student of the method `modes`
misses beyond this it misses because its images are functions of the noise. The Gaussian's paths start from the same noise.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

import koopstep as ks
from koopstep.core.noise import gaussian
from koopstep.operators.variable_projection import fit_exponentials
from koopstep.teachers.gaussian_path import gaussian_path


def shown(rates: Tensor) -> str:
    """Numbers of a row, rounded."""
    return ", ".join(f"{value:.2f}" for value in rates.tolist())


def main() -> None:
    """Print rates and what they leave unexplained."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    asked.add_argument("teacher", help="a name or a file")
    asked.add_argument("--count", type=int, default=600, help="paths")
    asked.add_argument("--steps", type=int, default=12)
    asked.add_argument("--modes", type=int, nargs="+", default=[1, 2])
    given = asked.parse_args()
    torch.set_num_threads(1)
    teacher = ks.load_teacher(given.teacher)
    noise = gaussian(5, range(given.count), teacher.shape)
    states = teacher.path(noise, steps=given.steps).double().flatten(2)
    data, levels = states[-1], torch.tensor(teacher.levels(given.steps), dtype=torch.float64)
    same = gaussian_path(data.mean(dim=0), data.T.cov(), levels, states[0])
    progress = torch.linspace(0, 1, given.steps + 1, dtype=torch.float64)
    for modes in given.modes:
        for name, paths in (("teacher", states), ("Gaussian of its moments", same)):
            fit = fit_exponentials(paths, progress, modes)
            print(
                f"K = {modes}, {name}: growth {shown(fit.alpha[1:])} (the last is the remainder's); rotation "
                f"{shown(fit.beta[1:-1].abs())}; unexplained at most {float(fit.unexplained.max()):.2%}"
            )
    moving = states - states.mean(dim=1, keepdim=True)
    apart = (states - same).square().sum(dim=(1, 2)) / moving.square().sum(dim=(1, 2))
    print(f"the Gaussian's path misses the teacher's by {shown(100 * apart.sqrt())} % along u")


if __name__ == "__main__":
    main()
