"""EDM's four factors against the conditions they were derived from (EDM App. B.6), and what the network is shown."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.nets.preconditioning import (
    PRECONDITIONINGS,
    EDMDenoiser,
    PreconditioningName,
    VelocityModel,
    edm_scales,
)

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


def improved_ddpm_levels() -> list[float]:
    """By the product of the schedule's ratios, of which only the first is cut off."""
    kept = [math.sin(0.5 * math.pi * j / (1000 * 1.008)) ** 2 for j in range(1001)]
    levels = [math.sqrt(kept[-1] / kept[j] - 1) for j in range(1, 1001)]
    return [math.sqrt((levels[0] ** 2 + 1) / 0.001 - 1), *levels]


def by_hand(name: str, x: float, sigma: float, gain: float) -> tuple[float, float]:
    """D(x, sigma) for the network ``F(x) = gain x``, and the noise label, from EDM's Table 1."""
    if name == "ve":
        return x + sigma * gain * x, math.log(sigma / 2)
    told = (math.sqrt(0.1**2 + 2 * 19.9 * math.log(1 + sigma**2)) - 0.1) / 19.9 * 999
    if name == "iddpm":
        distances = [abs(level - sigma) for level in improved_ddpm_levels()]
        told = 999 - distances.index(min(distances))
    return x - sigma * gain * x / math.sqrt(sigma**2 + 1), told


@pytest.mark.parametrize("name", ["vp", "ve", "iddpm"])
def test_the_older_preconditionings(name: PreconditioningName) -> None:
    network = Recorder(gain=0.7).double()
    denoiser = EDMDenoiser(network, 0.5, name)
    x = torch.tensor([[0.3, -2.0], [1.5, 0.1], [0.7, 40.0], [-1.0, 9.0], [100.0, -60.0]]).double()
    denoised = denoiser(x, SIGMAS)
    assert network.seen is not None
    for row, sigma in enumerate(SIGMAS.tolist()):
        pairs = [by_hand(name, value, sigma, float(network.gain.detach())) for value in x[row].tolist()]
        assert denoised[row].tolist() == pytest.approx([value for value, _ in pairs], rel=1e-6)
        assert float(network.seen[1][row]) == pytest.approx(pairs[0][1], rel=1e-6, abs=1e-7)
    kept = EDMDenoiser(network, 123.0, name)(x, SIGMAS)  # the data's size is no matter here
    assert torch.equal(kept, denoised)


def test_the_ranges_of_the_preconditionings() -> None:
    bounds = {name: (line.sigma_min, line.sigma_max) for name, line in PRECONDITIONINGS.items()}
    levels = improved_ddpm_levels()
    assert bounds["edm"] == (0.0, math.inf)
    assert bounds["ve"] == (0.02, 100.0)
    assert bounds["vp"] == pytest.approx((math.sqrt(math.expm1(1e-6 + 9.95e-10)), math.sqrt(math.expm1(10.05))))
    assert bounds["iddpm"] == pytest.approx((levels[999], levels[0]), rel=1e-6)


def test_improved_ddpm_tells_whole_timesteps() -> None:
    denoiser = EDMDenoiser(Recorder(), 0.5, "iddpm")
    assert denoiser.u is not None
    assert (denoiser.u.shape, denoiser.u.dtype) == ((1001,), torch.float32)
    assert "u" not in denoiser.state_dict()  # a constant
    for index in (0, 1, 8, 500, 999):
        around = denoiser.u[index] * torch.tensor([0.9999, 1.0, 1.0001])
        assert denoiser.scales(around).noise.tolist() == [999.0 - index] * 3
    assert float(denoiser.scales(torch.tensor(1e9)).noise) == 999


def test_improved_ddpm_s_variance_is_left_out() -> None:
    class Both(Recorder):
        def forward(self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None = None) -> Tensor:
            return torch.cat([x * self.gain, x + math.nan], dim=1)

    x = torch.randn(2, 3, 4, 4)
    denoised = EDMDenoiser(Both(gain=0.7), 0.5, "iddpm")(x, torch.tensor([0.5, 3.0]))
    assert torch.equal(denoised, EDMDenoiser(Recorder(gain=0.7), 0.5, "iddpm")(x, torch.tensor([0.5, 3.0])))


@pytest.mark.parametrize("make", [EDMDenoiser, VelocityModel])
def test_augmentation_labels_reach_the_networks_that_take_them(make: type[EDMDenoiser] | type[VelocityModel]) -> None:
    class Told(Recorder):
        augment_channels = 2

        def forward(  # type: ignore[override]
            self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None = None
        ) -> Tensor:
            self.told = augment_labels
            return self.gain * x

    network, labels = Told(1.0), torch.randn(3, 2)
    model = make(network, 0.5)
    model(torch.randn(3, 4), torch.full((3,), 0.5), None, labels)
    assert network.told is labels
    model(torch.randn(3, 4), torch.full((3,), 0.5))
    assert network.told is None
    with pytest.raises(UsageError, match="is not conditioned on augmentation"):
        make(Recorder(1.0), 0.5)(torch.randn(3, 4), torch.full((3,), 0.5), None, labels)


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
