"""Training losses: drawn as published, least for the true denoiser, the same in every unit."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from koopstep.nets.mlp import MLPConfig
from koopstep.teachers.edm import EDMConfig, build_edm, edm_loss
from koopstep.teachers.flow import FlowConfig, build_flow, flow_loss

NETWORK = MLPConfig(width=8, depth=1)
COUNT = 20_000
Function = Callable[[Tensor, Tensor], Tensor]


class Model(nn.Module):
    """A function as a model; remembers what it was shown."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        self.seen: tuple[Tensor, Tensor, Tensor | None] | None = None

    def forward(self, x: Tensor, level: Tensor, class_labels: Tensor | None = None) -> Tensor:
        self.seen = (x, level, class_labels)
        return self.function(x, level[:, None])


def drawn(spread: float = 1.0, mean: float = 0.0) -> tuple[Tensor, Tensor]:
    """Gaussian data (COUNT, 2) and the standard normal numbers (COUNT, 3) of a loss."""
    generator = torch.Generator().manual_seed(5)
    data = mean + spread * torch.randn(COUNT, 2, generator=generator, dtype=torch.float64)
    return data, torch.randn(COUNT, 3, generator=generator, dtype=torch.float64)


def edm_value(spread: float, mean: float, function: Function) -> float:
    data, draw = drawn(spread, mean)
    config = EDMConfig(shape=(2,), network=NETWORK, sigma_data=spread)
    return float(edm_loss(config, Model(function), data, None, draw))  # type: ignore[arg-type]


def flow_value(spread: float, mean: float, function: Function) -> float:
    data, draw = drawn(spread, mean)
    config = FlowConfig(shape=(2,), network=NETWORK, data_scale=spread)
    return float(flow_loss(config, Model(function), data, None, draw))  # type: ignore[arg-type]


@pytest.mark.parametrize("spread", [0.5, 2.566])
def test_edm_draws_levels_and_noise_as_published(spread: float) -> None:
    data, draw = drawn(spread)
    model, labels = Model(lambda x, sigma: 0 * x), torch.zeros(COUNT, dtype=torch.int64)
    config = EDMConfig(shape=(2,), network=NETWORK, sigma_data=spread)
    value = float(edm_loss(config, model, data, labels, draw))  # type: ignore[arg-type]
    assert model.seen is not None
    x, sigma, classes = model.seen
    shift = math.log(spread / 0.5)  # 0 for EDM's images
    torch.testing.assert_close(sigma.log(), -1.2 + shift + 1.2 * draw[:, 0])
    torch.testing.assert_close(x, data + sigma[:, None] * draw[:, 1:])
    assert classes is labels
    weight = (sigma**2 + spread**2) / (sigma * spread) ** 2
    assert value == pytest.approx(float((weight[:, None] * data**2).mean()))


def test_flow_draws_times_evenly() -> None:
    data, draw = drawn()
    model = Model(lambda x, t: 0 * x)
    flow_loss(FlowConfig(shape=(2,), network=NETWORK), model, data, None, draw)  # type: ignore[arg-type]
    assert model.seen is not None
    x, t, _ = model.seen
    torch.testing.assert_close(x, (1 - t[:, None]) * draw[:, 1:] + t[:, None] * data)
    ranks = torch.linspace(0, 1, COUNT, dtype=torch.float64)
    assert float((t.sort().values - ranks).abs().max()) < 0.02  # Kolmogorov and Smirnov's distance to uniform


@pytest.mark.parametrize(("spread", "mean"), [(0.5, 0.0), (2.0, -1.0)])
def test_edm_loss_is_least_for_the_true_denoiser(spread: float, mean: float) -> None:
    def true(x: Tensor, sigma: Tensor) -> Tensor:
        return mean + spread**2 / (spread**2 + sigma**2) * (x - mean)

    def other(shift: float, gain: float) -> Function:
        return lambda x, sigma: true(x, sigma) + spread * shift + gain * (x - mean) * sigma / (sigma + spread)

    least = edm_value(spread, mean, true)
    for shift, gain in ((0.05, 0.0), (-0.05, 0.0), (0.0, 0.05), (0.0, -0.05)):
        assert edm_value(spread, mean, other(shift, gain)) > least * 1.002


@pytest.mark.parametrize(("spread", "mean"), [(0.5, 0.0), (2.0, -1.0)])
def test_flow_loss_is_least_for_the_true_velocity(spread: float, mean: float) -> None:
    def true(x: Tensor, t: Tensor) -> Tensor:
        slope = (t * spread**2 - (1 - t)) / ((1 - t) ** 2 + (t * spread) ** 2)
        return mean + slope * (x - t * mean)

    def other(shift: float, gain: float) -> Function:
        return lambda x, t: true(x, t) + shift + gain * (x - t * mean)

    least = flow_value(spread, mean, true)
    for shift, gain in ((0.2, 0.0), (-0.2, 0.0), (0.0, 0.2), (0.0, -0.2)):
        assert flow_value(spread, mean, other(shift, gain)) > least * 1.002


@pytest.mark.parametrize("unit", [0.01, 1.0, 100.0])
def test_losses_do_not_depend_on_the_unit_of_the_data(unit: float) -> None:
    def skip_only(x: Tensor, sigma: Tensor) -> Tensor:  # EDM's denoiser around a network that says 0
        return unit**2 / (unit**2 + sigma**2) * x

    assert edm_value(unit, 0.0, skip_only) == pytest.approx(1.0, rel=0.02)
    assert edm_value(unit, 0.0, skip_only) == pytest.approx(edm_value(1.0, 0.0, lambda x, s: x / (1 + s**2)), rel=1e-6)
    assert flow_value(unit, 0.0, lambda x, t: 0 * x) == pytest.approx(1.0, rel=0.03)


def test_a_step_down_the_gradient_lowers_the_loss() -> None:
    data, draw = (tensor[:256].float() for tensor in drawn(0.5))
    edm, flow = EDMConfig(shape=(2,), network=NETWORK), FlowConfig(shape=(2,), network=NETWORK)
    torch.manual_seed(0)
    for model, loss in (
        (build_edm(edm), lambda model: edm_loss(edm, model, data, None, draw)),
        (build_flow(flow), lambda model: flow_loss(flow, model, data, None, draw)),
    ):
        before = loss(model)
        before.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad  # type: ignore[operator]
        assert float(loss(model).detach()) < float(before.detach())
