"""``input_cdf``: Gaussian inputs through their distribution function, so that the tail lies beside the bulk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from koopstep.nets.mlp import MLP, MLPConfig

CONFIG = MLPConfig(width=16, depth=2, fourier=1, input_octaves=2)


def twins() -> tuple[MLP, MLP]:
    """Two networks of the same weights, with and without."""
    torch.manual_seed(0)
    with_cdf = MLP(CONFIG.model_copy(update={"input_cdf": True}), 3, 2).double()
    without = MLP(CONFIG, 3, 2).double()
    without.load_state_dict(with_cdf.state_dict())
    return with_cdf, without


def stretched(x: Tensor) -> Tensor:
    return 2 * torch.special.erf(x / 2**0.5)  # 4 Phi(x) - 2


def test_it_is_the_same_network_on_stretched_inputs() -> None:
    with_cdf, without = twins()
    x, level = 2 * torch.randn(64, 3, dtype=torch.float64), torch.rand(64, dtype=torch.float64)
    torch.testing.assert_close(with_cdf(x, level), without(stretched(x), level))
    assert float((with_cdf(x, level) - without(x, level)).detach().abs().max()) > 0.01


def test_the_first_layer_sees_an_even_spread_within_two() -> None:
    with_cdf, _ = twins()
    seen: list[Tensor] = []
    with_cdf.first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, :3]))
    x = torch.randn(20_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with_cdf(x, torch.zeros(len(x), dtype=torch.float64))
    (inputs,) = seen
    assert float(inputs.abs().max()) <= 2.0
    even = torch.linspace(-2, 2, 9, dtype=torch.float64)
    found = torch.quantile(inputs[:, 0], torch.linspace(0, 1, 9, dtype=torch.float64))
    torch.testing.assert_close(found, even, rtol=0, atol=0.05)


def test_the_far_tail_is_finite_and_says_the_same() -> None:
    with_cdf, _ = twins()
    level = torch.zeros(2, dtype=torch.float64)
    far = with_cdf(torch.tensor([[40.0] * 3, [1e6] * 3], dtype=torch.float64), level)
    assert bool(torch.isfinite(far).all())
    torch.testing.assert_close(far[0], far[1])


def test_it_adds_no_weights_and_is_off_by_default() -> None:
    assert not MLPConfig().input_cdf
    counts = [sum(p.numel() for p in nn.Module.parameters(net)) for net in twins()]
    assert counts[0] == counts[1]
