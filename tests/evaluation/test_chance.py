"""What chance makes of a metric, told from halves of one set of samples."""

from __future__ import annotations

import torch

from koopstep.evaluation.chance import same, spreads
from koopstep.evaluation.metrics import evaluate
from koopstep.evaluation.samples import Samples

NAMES = ("frechet_pixel", "sliced_wasserstein")


def drawn(seed: int, count: int) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))


def test_the_spread_is_that_of_independent_sets() -> None:
    real = drawn(0, 500) + 0.5  # what is compared lies apart, so that values are far from their floor
    values = [evaluate(Samples(drawn(seed, 200), reference=real), NAMES) for seed in range(1, 17)]
    told = [spreads(Samples(drawn(seed, 200), reference=real), NAMES) for seed in range(1, 5)]
    for name in NAMES:
        wanted = float(torch.tensor([value[name] for value in values]).std())
        assert 0.4 < sum(one[name] for one in told) / len(told) / wanted < 2.5
    assert same(1.0, 1.1, 0.05) and not same(1.0, 1.2, 0.05)


def test_what_tells_none_has_none() -> None:
    samples = Samples(drawn(1, 100), target=drawn(2, 100), reference=drawn(3, 100))
    assert set(spreads(samples, ("pair_mse", *NAMES))) == {"sliced_wasserstein"}  # 100 rows are few for Fréchet
    assert spreads(Samples(drawn(1, 10), reference=drawn(3, 100)), NAMES) == {}
