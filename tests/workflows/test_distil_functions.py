"""Functions of one's own as teachers, of every kind of shape: the student follows its noise after a few steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import koopstep as ks


def mixture(shape: tuple[int, ...], spread: float = 0.15) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """The exact denoiser of three Gaussians far apart in any number of dimensions."""
    means = 0.7 * torch.randn(3, math.prod(shape), generator=torch.Generator().manual_seed(0))

    def denoiser(x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> Tensor:
        flat, variance = x.flatten(1), (sigma**2 + spread**2)[:, None]
        shares = (-(flat[:, None] - means).square().sum(2) / (2 * variance)).softmax(1)
        mean = shares @ means
        return (mean + spread**2 / variance * (flat - mean)).view_as(x)

    return denoiser


def distilled(shape: tuple[int, ...], out: Path, count: int, steps: int, **more: object) -> float:
    """Pair MSE of a student of the mixture, over that of wrong partners."""
    images = len(shape) == 3 and shape[0] != 4
    sigma = 80.0 if len(shape) == 3 else 20.0
    data_range = (-2.0, 2.0) if images else None
    teacher = ks.from_denoiser(mixture(shape), shape, sigma_max=sigma, data_scale=0.7, data_range=data_range)
    run = ks.distil(teacher, out, count=count, steps=steps, quiet=True, **more)  # type: ignore[arg-type]
    assert run.student.sample(3).shape == (3, *shape)
    scores = run.evaluate(quiet=True).metrics
    assert set(scores) == {"pair_mse", "pair_mse_permuted"}
    left_out = run.evaluation.left_out
    assert "sliced_wasserstein" in left_out and all("--reference" in reason for reason in left_out.values())
    return scores["pair_mse"] / scores["pair_mse_permuted"]


@pytest.mark.filterwarnings("ignore:the teacher")  # three pictures do not fill a range
@pytest.mark.parametrize(("shape", "steps"), [((32,), 30)])
def test_vectors(shape: tuple[int, ...], steps: int, tmp_path: Path) -> None:
    small = {"training.batch_size": 256, "student.latent": 64}
    assert distilled(shape, tmp_path / "run", 1000, steps, changes=small) < 0.6


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:the teacher")
@pytest.mark.parametrize("method", ["kdm", "hkd"])
@pytest.mark.parametrize(
    "shape", [(2,), (8,), (64,), (512,), (1, 8, 8), (4, 8, 8), (1, 28, 28), (3, 16, 16), (1, 9, 9)]
)
def test_any_shape(shape: tuple[int, ...], method: str, tmp_path: Path) -> None:
    assert distilled(shape, tmp_path / "run", 4000, 80, method=method) < 0.6
