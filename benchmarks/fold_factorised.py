"""Measures KDM-F at inference: the folded d x d map against the lifted formula as published.

Prints both times and their ratio. (The published code names P and P_inv the other way round and builds its blocks anew at
each call; the arithmetic is the same.) Run: python benchmarks/fold_factorised.py [d] [batch] [repetitions]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from koopstep.operators.factorised import FactorisedConfig, FactorisedOperator


def block(real: Tensor, imag: Tensor) -> Tensor:
    """The real 2d x 2d matrix of a complex d x d one (KDM App. C)."""
    return torch.cat([torch.cat([real, -imag], dim=1), torch.cat([imag, real], dim=1)])


def blocks(operator: FactorisedOperator) -> tuple[Tensor, Tensor, Tensor]:
    """P, Lambda and P_inv as real 2d x 2d matrices."""
    real, imag = operator.controlled_eigenvalues()
    return (
        block(operator.forward_real, operator.forward_imag),
        block(torch.diag(real), torch.diag(imag)),
        block(operator.inverse_real, operator.inverse_imag),
    )


def lifted(latent: Tensor, forward: Tensor, diagonal: Tensor, inverse: Tensor) -> Tensor:
    """First d entries of P_inv Lambda P [z; 0] (KDM App. C)."""
    augmented = torch.cat([latent, torch.zeros_like(latent)], dim=1)
    return (augmented @ forward.T @ diagonal.T @ inverse.T)[:, : latent.shape[1]]


def seconds(function: Callable[[], Tensor], repetitions: int) -> float:
    """Median time of one call."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Measures and prints."""
    given = [int(text) for text in sys.argv[1:4]]
    dimension, batch, repetitions = given + [1024, 128, 30][len(given) :]
    generator = torch.Generator().manual_seed(0)
    operator = FactorisedOperator(FactorisedConfig(), (dimension,), generator).eval()
    latent = torch.randn(batch, dimension, generator=generator)
    with torch.no_grad():
        kept = blocks(operator)
        difference = float((operator.evolve(latent) - lifted(latent, *kept)).abs().max())
        rebuilt = seconds(lambda: lifted(latent, *blocks(operator)), repetitions)
        prepared = seconds(lambda: lifted(latent, *kept), repetitions)
        folded = seconds(lambda: operator.evolve(latent), repetitions)
    print(f"d = {dimension}, batch = {batch}, {torch.get_num_threads()} threads; difference {difference:.1e}")
    print(f"folded:                               {folded * 1e3:8.2f} ms")
    print(f"lifted, blocks built at each call:    {rebuilt * 1e3:8.2f} ms, ratio {rebuilt / folded:.1f}")
    print(f"lifted, blocks built once beforehand: {prepared * 1e3:8.2f} ms, ratio {prepared / folded:.1f}")


if __name__ == "__main__":
    main()
