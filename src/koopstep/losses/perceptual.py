"""The perceptual distance of KDM Eqs. 5 and 7: LPIPS in a frozen network, optionally with squared error of pixels."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.pixels import DataRange, in_plain_range
from koopstep.losses.distances import Distance, Known, mse
from koopstep.students.student import DataFacts


class PerceptualNetwork(Protocol):
    """What LPIPS (arXiv 1801.03924) is to a loss: features of an image, and how far two images' features are apart."""

    def features(self, x: Tensor) -> list[Tensor]:
        """Feature maps of images (B, 1 or 3, H, W) in [-1, 1], a tensor a layer."""

    def compare(self, features_a: list[Tensor], features_b: list[Tensor]) -> Tensor:
        """The distance of each row, (B,)."""

    def to(self, device: torch.device) -> Any:
        """The same network on ``device``, moved in place."""


class InRange:
    """A network that looks at images of another range than [-1, 1]."""

    def __init__(self, network: PerceptualNetwork, data_range: DataRange) -> None:
        self._network, self._range = network, data_range

    def features(self, x: Tensor) -> list[Tensor]:
        """Feature maps of images (B, 1 or 3, H, W) in the range, a tensor a layer."""
        return self._network.features(in_plain_range(x, self._range))

    def compare(self, features_a: list[Tensor], features_b: list[Tensor]) -> Tensor:
        """The distance of each row, (B,)."""
        return self._network.compare(features_a, features_b)

    def to(self, device: torch.device) -> InRange:
        """The same network on ``device``, moved in place."""
        self._network.to(device)
        return self


def perceptual(network: PerceptualNetwork, pixel: float = 0.0) -> Distance:
    """``LPIPS + pixel * MSE``, at the images' own resolution; the target goes through the network once.

    Args:
        network: frozen, on the device of the batches. Its features may be computed under autocast; they are compared in
            float32, as squared differences of near features vanish in fewer digits.
        pixel: weight of the mean squared error over pixels; 0 as published.
    """

    def distance(prediction: Tensor, target: Tensor, known: Known) -> Tensor:
        if "features" not in known:
            with torch.no_grad():
                known["features"] = _full(network.features(target))
        features = network.features(prediction)
        with torch.autocast(prediction.device.type, enabled=False):
            value = network.compare(_full(features), known["features"]).mean()
            return value + pixel * mse(prediction.to(target.dtype), target) if pixel else value

    return distance


def check_images(network: PerceptualNetwork, facts: DataFacts, device: torch.device, what: str) -> None:
    """Refuse data that the network cannot see.

    Raises:
        UsageError: if samples are no images of one or three planes, or too small for its layers.
    """
    shape = facts.shape
    if not facts.is_image or shape[0] not in (1, 3):
        no_range = "" if facts.data_range else " and a data_range of None"
        raise UsageError(f"{what} is for images of one or three planes, this data has shape {shape}{no_range}")
    try:
        with torch.no_grad():
            network.features(torch.zeros(1, *shape, device=device))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise UsageError(f"{what} cannot look at images of shape {shape}: {reason}") from error


def _full(features: list[Tensor]) -> list[Tensor]:
    return [part.to(torch.promote_types(part.dtype, torch.float32)) for part in features]
