"""How far few steps of a DDPM network end from 80, for each choice of timesteps; prints JSON.

The packaged digits teacher, asked for the noise on DDPM's linear schedule: mean squared differences of 256 samples, and the
share of pixels beyond 1.02. The table in docs/diffusers.md.

python benchmarks/timesteps.py
"""

from __future__ import annotations

import json
from typing import get_args

import torch
from torch import Tensor

from koopstep.core.levels import ddpm_sigmas
from koopstep.core.noise import gaussian
from koopstep.teachers.files import load_teacher
from koopstep.teachers.functions import from_epsilon
from koopstep.teachers.timesteps import Spacing

ALPHAS = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


def main() -> None:
    """Make the reference by 80 evenly spaced timesteps, then compare."""
    digits, sigmas = load_teacher("digits-edm").model, ddpm_sigmas(ALPHAS)

    def epsilon(x: Tensor, timestep: Tensor, class_labels: Tensor | None) -> Tensor:
        sigma = sigmas[timestep].to(x)
        level = sigma.reshape(-1, 1, 1, 1)
        noisy = x * (1 + level**2).sqrt()
        return (noisy - digits(noisy, sigma, class_labels)) / level

    noise = gaussian(0, range(256), (1, 8, 8))

    def ends(spacing: Spacing, solver: str, steps: int) -> Tensor:
        teacher = from_epsilon(epsilon, (1, 8, 8), alphas_cumprod=ALPHAS, timesteps=spacing, solver=solver)
        return teacher.path(noise, steps=steps)[-1]

    exact = ends("linspace", "heun", 80)
    found = {}
    for solver in ("heun", "euler"):
        for steps in (12, 20):
            for spacing in get_args(Spacing):
                made = ends(spacing, solver, steps)
                outside = float((made.abs() > 1.02).float().mean())
                error = float((made - exact).square().mean())
                found[f"{solver}, {steps} steps, {spacing}"] = {"error": round(error, 5), "outside": round(outside, 3)}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
