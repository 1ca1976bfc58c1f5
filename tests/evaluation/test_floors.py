"""The floors of frechet_pixel on the digits, as its docstring states them. Run as a script it prints them."""

from __future__ import annotations

import pytest
import torch

from koopstep.core.noise import integers, permutation
from koopstep.data import digits
from koopstep.evaluation.frechet import frechet_distance
from koopstep.evaluation.moments import Moments, moments

pytest.importorskip("sklearn")


def halves(seed: int) -> float:
    images = digits.load().images
    order = torch.as_tensor(permutation(seed, len(images)))
    middle = len(images) // 2
    return frechet_distance(moments([images[order[:middle]]]), moments([images[order[middle:]]]))


def redrawn(seed: int, count: int, real: Moments) -> float:
    images = digits.load().images
    return frechet_distance(moments([images[integers(seed, range(count), len(images))]]), real)


def test_two_halves() -> None:
    assert halves(0) == pytest.approx(0.290, abs=4 * 0.031)


@pytest.mark.parametrize(("count", "floor", "spread"), [(2000, 0.065, 0.007), (10000, 0.0132, 0.0015)])
def test_draws_with_replacement(count: int, floor: float, spread: float) -> None:
    real = moments([digits.load().images])
    assert redrawn(0, count, real) == pytest.approx(floor, abs=4 * spread)


def main() -> None:
    values = torch.tensor([halves(seed) for seed in range(20)])
    print(f"halves: {values.mean():.4f} ± {values.std():.4f}")
    real = moments([digits.load().images])
    print(f"trace: {real.covariance.trace():.2f}")
    for count in (1797, 2000, 5000, 10000, 20000):
        values = torch.tensor([redrawn(seed, count, real) for seed in range(20)])
        print(f"{count} draws: {values.mean():.4f} ± {values.std():.4f}")


if __name__ == "__main__":
    main()
