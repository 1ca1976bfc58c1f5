"""EDM's four factors against the conditions they were derived from (EDM App. B.6), and what the network is shown."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from koopstep.nets.preconditioning import EDMDenoiser, VelocityModel, edm_scales

SIGMAS = torch.tensor([0.002, 0.05, 0.5, 3.0, 80.0], dtype=torch.float64)


class Recorder(nn.Module):
    """Remembers what it was called with and returns a fixed multiple of its input."""

    def __init__(self, gain: float = 0.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.seen: tuple[Tensor, Tensor, Tensor | None] | None = None

    def forward(self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None = None) -> Tensor:
        self.seen = (x, noise_labels, class_labels)
        return self.gain * x


@pytest.mark.parametrize("spread", [0.5, 2.566])
def test_input_and_target_have_unit_variance(spread: float) -> None:
    scales = edm_scales(SIGMAS, spread)
    torch.testing.assert_close(scales.into**2 * (spread**2 + SIGMAS**2), torch.ones(5).double())
    # target of F: (data - c_skip (data + noise)) / c_out
    variance = ((1 - scales.skip) ** 2 * spread**2 + scales.skip**2 * SIGMAS**2) / scales.out**2
    torch.testing.assert_close(variance, torch.ones(5).double())
    for nearby in (scales.skip * 1.01 + 1e-3, scales.skip * 0.99 - 1e-3):  # c_skip amplifies errors of F least
        assert bool(((1 - nearby) ** 2 * spread**2 + nearby**2 * SIGMAS**2 > scales.out**2).all())
    torch.testing.assert_close(scales.noise, SIGMAS.log() / 4)


def test_denoiser_formula_and_what_the_network_sees() -> None:
    network = Recorder(gain=0.7)
    denoiser = EDMDenoiser(network, 0.5)
    x, labels = torch.randn(5, 3, 4, 4), torch.arange(5)
    denoised = denoiser(x, SIGMAS, labels)
    assert network.seen is not None
    shown, level, classes = network.seen
    s = SIGMAS.float()[:, None, None, None]
    torch.testing.assert_close(shown, x / (s**2 + 0.25).sqrt())
    torch.testing.assert_close(level, SIGMAS.float().log() / 4)
    assert classes is labels
    by_hand = 0.25 / (s**2 + 0.25) * x + s * 0.5 / (s**2 + 0.25).sqrt() * 0.7 * shown
    torch.testing.assert_close(denoised, by_hand)
    torch.testing.assert_close(denoiser(x[:1], SIGMAS[0]), denoised[:1])  # one level for all rows
    assert denoiser(x.double(), SIGMAS).dtype == torch.float32  # computed in the dtype of the weights


def test_a_silent_network_is_the_best_linear_guess_only_where_it_should_be() -> None:
    denoiser, x = EDMDenoiser(Recorder(), 0.5), torch.randn(2, 2)
    torch.testing.assert_close(denoiser(x, torch.tensor(1e-4)), x, rtol=1e-5, atol=1e-6)  # nothing to denoise
    assert float(denoiser(x, torch.tensor(1e3)).detach().abs().max()) < 1e-5  # nothing left but the mean


@pytest.mark.parametrize("spread", [0.5, 2.566])
def test_velocity_model_works_in_unit_sizes(spread: float) -> None:
    network = Recorder(gain=1.0)
    model = VelocityModel(network, spread)
    t = torch.tensor([0.0, 0.3, 1.0])
    generator = torch.Generator().manual_seed(0)
    noise, data = (torch.randn(3, 20_000, generator=generator) for _ in range(2))
    time = t[:, None]
    velocity = model((1 - time) * noise + time * spread * data, t)
    assert network.seen is not None
    torch.testing.assert_close(network.seen[0].std(dim=1), torch.ones(3), rtol=0.02, atol=0)
    # an output of unit size stands for a target (data - noise) of its true size
    torch.testing.assert_close(velocity.detach().std(dim=1), torch.full((3,), math.hypot(1, spread)), rtol=0.02, atol=0)
    torch.testing.assert_close(network.seen[1], t)
